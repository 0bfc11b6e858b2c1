#!/usr/bin/env python3
"""The pages of docs/study show the results that octavo study wrote into docs/study/results.

    study_pages.py [--write]

A page has its answer in the lines below its title, and marks around everything else that is generated:

    <!-- octavo study NAME: PART -->
    ...
    <!-- end of PART -->

Both are taken from docs/study/results/NAME.md. Without --write prints the pages that differ and exits with 1 if there
are any.
"""

import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "study"
PART = re.compile(r"<!-- octavo study (\w+): (\w+) -->\n(.*?)<!-- end of \2 -->\n", re.DOTALL)


def parts_of(text):
    """(study, part) -> what stands between its marks."""
    return {(study, part): body for study, part, body in PART.findall(text)}


def wrapped(body):
    """Prose in lines of 120 columns; tables, pictures and lists as they are."""
    blocks = body.strip("\n").split("\n\n")
    return "\n\n".join(block if block.startswith(("|", "!", "- ")) else textwrap.fill(block, 120) for block in blocks)


def rewritten(text, results):
    """The page with the parts of its results. A part that the results lack is an error."""
    title, _, rest = text.partition("\n")
    answers = [body for (_, part), body in results.items() if part == "answer"]
    if not title.startswith("# ") or len(answers) != 1:
        raise SystemExit(f"{title!r}: a page needs a title and one answer; there are {len(answers)}")
    _, gap, rest = rest.partition("\n\n")
    text = f"{title}\n{wrapped(answers[0])}{gap}{rest}"

    def put(match):
        study, part, _ = match.groups()
        if (study, part) not in results:
            raise SystemExit(f"{title!r}: the results have no part {part!r} of the study {study!r}")
        return f"<!-- octavo study {study}: {part} -->\n{wrapped(results[study, part])}\n<!-- end of {part} -->\n"

    return PART.sub(put, text)


def pages():
    """Path -> its text with the committed results."""
    found = {}
    for path in sorted((PAGES / "results").glob("*.md")):
        page = PAGES / path.name
        found[page] = rewritten(page.read_text(), parts_of(path.read_text()))
    return found


def main():
    write, differ = "--write" in sys.argv[1:], []
    for path, text in pages().items():
        if path.read_text() == text:
            continue
        differ.append(path)
        if write:
            path.write_text(text)
    for path in differ:
        print(f"{path.relative_to(ROOT)}: {'written' if write else 'differs from its results; run with --write'}")
    return 1 if differ and not write else 0


if __name__ == "__main__":
    sys.exit(main())
