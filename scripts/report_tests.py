#!/usr/bin/env python3
"""Sums test results: a line per suite, every failure and skip by name, and `N passed, M failed` at the end.

    report_tests.py [--strict] [--check NAME=0|1]... JUNIT_XML...

JUnit files come from ctest and pytest. --strict takes a skipped test for a failed one, unless it says that the
processor lacks what the test is about. --check adds a check that has no JUnit file, with its exit status. Exit status:
0 when nothing failed.
"""

import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

# The only reasons to skip that --strict accepts are missing features of the machine: the library's message for an
# implementation that cannot run, or a test's message that no such implementation can.
LACKING = re.compile(r"this processor lacks|no implementation with .+ runs here")

# Lines of a failed test's output that are printed.
EXCERPT = 12


def outcome(case):
    """passed, failed or skipped, with the test's output."""
    said = "\n".join(
        " ".join(filter(None, [part.get("message"), part.text]))
        for tag in ("failure", "error", "skipped", "system-out")
        for part in case.iter(tag)
    )
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed", said
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped", said
    return "passed", said


def read(path):
    """(test name, outcome, output) of every test of a file. A missing or empty file is a failure."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        return [(str(path), "failed", f"no results: {error}")]
    if not cases:
        return [(str(path), "failed", "holds no tests")]
    # ctest gives the same name twice.
    names = [".".join(dict.fromkeys(filter(None, [case.get("classname"), case.get("name")]))) for case in cases]
    return [(name, *outcome(case)) for name, case in zip(names, cases)]


def excerpt(words):
    """The relevant part of a test's output: from its first failed check on, or its last lines."""
    lines = words.strip().splitlines()
    first = next((i for i, line in enumerate(lines) if re.search(r"\bFailure$|: error: |^E  ", line)), None)
    chosen = lines[-EXCERPT:] if first is None else lines[first : first + EXCERPT]
    return "".join(f"\n    {line[:200]}" for line in chosen)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--check", action="append", default=[], metavar="NAME=STATUS")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()

    suites = {path.stem: read(path) for path in arguments.files}
    checks = [check.rsplit("=", 1) for check in arguments.check]
    if checks:
        suites["checks"] = [(name, "passed" if status == "0" else "failed", "see above") for name, status in checks]

    passed = failed = 0
    for suite, tests in suites.items():
        counts = {"passed": 0, "failed": 0, "skipped": 0}
        for name, result, words in tests:
            if result == "skipped" and arguments.strict and not LACKING.search(words):
                result = "failed"
                words = f"was skipped where it should run: {words}"
            counts[result] += 1
            if result != "passed":
                print(f"{result}: {suite}: {name}{excerpt(words)}")
        print(f"{suite}: " + ", ".join(f"{count} {result}" for result, count in counts.items()))
        passed += counts["passed"]
        failed += counts["failed"]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
