"""The command `octavo` of a wheel: starts the program that lies in the package `octavo`.

A package of its own, so that the command does not import octavo, and with it NumPy.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys
from typing import NoReturn


def main() -> NoReturn:
    package = importlib.util.find_spec("octavo")
    assert package is not None and package.origin is not None
    program = pathlib.Path(package.origin).parent / "bin" / "octavo"
    if not program.exists():
        sys.exit("octavo: this package was built without the command, which needs CLI11 and nlohmann-json")
    os.execv(program, ["octavo", *sys.argv[1:]])
