"""The shared library exports what octavo.h declares, under the version of the C interface, and besides that only names
of the C++ namespace. Needs nm, readelf; arguments: the library, octavo.h.
"""

import pathlib
import re
import subprocess
import sys
import unittest

LIBRARY, HEADER = sys.argv[1:3]


def output(*command):
    return subprocess.run([*command, LIBRARY], check=True, capture_output=True, text=True).stdout


def exported():
    lines = output("nm", "--dynamic", "--defined-only", "--with-symbol-versions").splitlines()
    return [tuple(line.split()[-1].split("@@")) for line in lines if not re.search(r" A OCTAVO_", line)]


class Exports(unittest.TestCase):
    def test_functions_of_the_header(self):
        declared = set(re.findall(r"OCTAVO_API [^;]*?\b(octavo_\w+)\(", pathlib.Path(HEADER).read_text()))
        self.assertGreater(len(declared), 30)
        versions = dict(symbol for symbol in exported() if symbol[0].startswith("octavo_"))
        self.assertEqual(set(versions), declared)
        self.assertEqual(set(versions.values()), {"OCTAVO_0.1"})

    def test_everything_else_is_the_namespace(self):
        others = [symbol for symbol in exported() if not symbol[0].startswith("octavo_")]
        self.assertTrue(others)
        for name, version in others:
            self.assertRegex(name, r"^_ZN?K?6octavo")
            self.assertRegex(version, r"^OCTAVO_CXX_\d+\.\d+\.\d+$")

    def test_name_and_flags(self):
        dynamic = output("readelf", "--dynamic", "--wide")
        self.assertRegex(dynamic, r"SONAME.*\[liboctavo\.so\.\d+\]")
        self.assertRegex(dynamic, r"FLAGS_1.*NODELETE")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
