#!/usr/bin/env python3
"""Lines of text and code end at column 120: Markdown, Python, CMake and shell (clang-format keeps C, C++ and CUDA).

In Markdown tables, code, and lines that are one link or picture may be longer. Generated files are not checked.
Prints each violation as file:line and exits with 1 when there is one.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
WIDTH = 120
SUFFIXES = {".md", ".py", ".cmake", ".sh", ".toml"}
NAMES = {"CMakeLists.txt", "run"}
GENERATED = ("docs/study/results/",)
LINK = re.compile(r"!?\[[^]]*\]\([^)]*\)")


def prose(lines):
    """Numbered lines of Markdown outside code, tables and links."""
    fenced = False
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and not line.startswith(("|", "    ")) and not LINK.fullmatch(line):
            yield number, line


def main():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [name for name in listed if pathlib.Path(name).suffix in SUFFIXES or pathlib.Path(name).name in NAMES]
    files = [name for name in files if not name.startswith(GENERATED)]
    problems = []
    for name in files:
        lines = (ROOT / name).read_text().splitlines() if (ROOT / name).is_file() else []
        numbered = prose(lines) if name.endswith(".md") else enumerate(lines, 1)
        problems += [f"{name}:{n}: {len(line)} columns; at most {WIDTH}" for n, line in numbered if len(line) > WIDTH]
    print("\n".join(problems) if problems else f"{len(files)} files have at most {WIDTH} columns")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
