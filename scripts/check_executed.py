#!/usr/bin/env python3
"""Lists the implementations that the tests executed; fails if one that this machine supports was not.

    check_executed.py OCTAVO CTEST_XML

OCTAVO is the command; its `info` says what this machine can run. The tests `Executed.*` print `executed: NAME...` after
they have run each and compared its results; their output stands in ctest's JUnit file.
"""

import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

SUITES = ("conformance_test.Executed", "simd_test.Executed")


def executed(cases, suite):
    """Names that the passed tests of a suite say they executed."""
    names = set()
    for case in cases:
        if not case.get("name").startswith(suite) or case.get("status") != "run":
            continue
        output = "".join(part.text or "" for part in case.iter("system-out"))
        for line in re.findall(r"^executed:(.*)$", output, re.MULTILINE):
            names |= set(line.split("(")[0].split())
    return names


def main(command, results):
    info = json.loads(subprocess.run([command, "info", "--json", "-"], check=True, capture_output=True).stdout)
    supported = [entry["name"] for entry in info["implementations"] if entry["supported"]]
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    failed = False
    for suite in SUITES:
        names = executed(cases, suite)
        # The reference has no policy.
        passed_over = [name for name in supported
                       if name not in names and not (name == "reference" and "simd" in suite)]
        print(f"{suite}: executed {' '.join(sorted(names)) or 'nothing'}")
        if passed_over:
            print(f"{suite}: did not execute {' '.join(passed_over)}, which this machine supports")
            failed = True
    for entry in info["implementations"]:
        if not entry["supported"]:
            print(f"not supported: {entry['name']}: {entry['reason']}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*map(pathlib.Path, sys.argv[1:])))
