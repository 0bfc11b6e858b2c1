#!/usr/bin/env python3
"""Prints the README's examples of one language unchanged, so that tests run them.

    readme_examples.py python|c|cpp|shell          all blocks of that language, one after the other
"""

import pathlib
import re
import sys

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
LANGUAGES = ("python", "c", "cpp", "shell")


def examples(language):
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    if not blocks:
        sys.exit(f"{README.name} has no ```{language} block")
    return "\n".join(blocks)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in LANGUAGES:
        sys.exit(__doc__)
    sys.stdout.write(examples(sys.argv[1]))
