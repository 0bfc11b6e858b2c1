#!/usr/bin/env python3
"""Prints the README's examples of one language unchanged, so that tests run them.

    readme_examples.py python|c|cpp|shell [PAGE]   all blocks of that language, one after the other; PAGE: README.md
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LANGUAGES = ("python", "c", "cpp", "shell")


def examples(language, page="README.md"):
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    if not blocks:
        sys.exit(f"{page} has no ```{language} block")
    return "\n".join(blocks)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in LANGUAGES:
        sys.exit(__doc__)
    sys.stdout.write(examples(*sys.argv[1:]))
