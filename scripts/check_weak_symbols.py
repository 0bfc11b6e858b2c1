#!/usr/bin/env python3
"""Checks that objects compiled for an instruction set define no weak symbols.

The linker keeps one of several weak definitions of a name, whichever comes first: if that one was compiled for AVX-512,
a machine without it dies in code that seems to be portable. Names in an anonymous namespace are local to their object.

    check_weak_symbols.py BUILD_DIR...
"""

import pathlib
import subprocess
import sys

WEAK = set("VvWwu")


def weak_symbols(path):
    command = ["nm", "--demangle", "--defined-only", str(path)]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        _, kind, name = line.split(maxsplit=2)
        if kind in WEAK and "(anonymous namespace)" not in name:
            yield kind, name


def main(builds):
    if not builds:
        print(__doc__)
        return 2
    failed = False
    for build in builds:
        objects = sorted(pathlib.Path(build).glob("**/octavo_objects.dir/cpu/targets/*.o"))
        if not objects:
            print(f"{build}: no objects of src/cpu/targets; build the library first")
            failed = True
        for path in objects:
            symbols = list(weak_symbols(path))
            print(f"{path}: {len(symbols)} weak symbols")
            for kind, name in symbols:
                print(f"  {kind} {name}")
            failed |= bool(symbols)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
