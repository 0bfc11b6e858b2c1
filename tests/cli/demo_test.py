"""octavo demo: the figures of the table, on the repository's capture and on one that the test writes."""

import math
import struct
import unittest

from command import CommandTest, normal, write_safetensors


def f16(values):
    return struct.pack(f"<{len(values)}e", *values)


class Demo(CommandTest):
    def capture(self, layers=(2, 10), kv_rows=80):
        tensors = {}
        for layer in layers:
            for name, heads, rows, dim in (("q", 4, 64, 32), ("k", 2, kv_rows, 32), ("v", 2, kv_rows, 16)):
                tensors[f"L{layer}.{name}"] = ("F16", (heads, rows, dim), f16(normal(heads * rows * dim, layer)))
        write_safetensors(self.path("capture.safetensors"), tensors)
        return self.path("capture.safetensors")

    def check(self, result):
        rows = {row["name"]: row for row in result["recipes"]}
        self.assertLess(rows["exact"]["file"]["worst_relative_l2"], 5e-4)
        self.assertEqual(rows["exact"]["speed_over_exact"], 1)
        for row in rows.values():
            for data in ("file", "normal"):
                errors = row[data]
                self.assertTrue(0 < errors["median_relative_l2"] <= errors["worst_relative_l2"] < math.inf, row)
                self.assertTrue(0 < errors["median_cosine"] <= 1 + 1e-12)
            self.assertGreater(row["time_us"]["min"], 0)
            self.assertTrue(row["implementation"])
        self.assertEqual(len(rows) + len(result["not_in_this_build"]),
                         len(self.json("info")["recipes"]))
        return rows

    def test_the_json_is_not_the_capture(self):
        file = self.capture()
        self.fails(2, ["--json " + file, "the capture " + file], "demo", file, "--json", file)

    def test_the_repositorys_capture(self):
        rows = self.check(self.json("demo", "--threads", 2))
        self.assertLess(rows["int8"]["file"]["median_relative_l2"], 0.015)
        self.assertLess(rows["int8"]["file"]["worst_relative_l2"], 0.025)
        self.assertEqual(rows["int8"]["calls"], 5)

    def test_a_capture_of_ones_own(self):
        result = self.json("demo", self.capture(), "--repeat", 2)
        rows = self.check(result)
        self.assertRegex(rows["int8"]["file"]["worst_head"], r"^L(2|10)\.h[0-3]$")
        self.assertIn("int8", result["verdict"])

    def test_markdown(self):
        lines = self.ok("demo", self.capture(), "--repeat", 1, "--markdown").splitlines()
        table = [line for line in lines if line.startswith("|")]
        self.assertGreater(len(table), 3)
        self.assertEqual({line.count("|") for line in table}, {table[0].count("|")})
        self.assertTrue(set(table[1]) <= set("|:-"))

    def test_an_implementation_can_be_named(self):
        result = self.json("demo", self.capture(), "--repeat", 1, "--implementation", "reference")
        self.assertEqual({row["implementation"] for row in result["recipes"]}, {"reference"})
        self.assertEqual(result["not_in_this_build"], [])

    def test_refusals(self):
        self.fails(4, "none.safetensors", "demo", self.path("none.safetensors"))
        write_safetensors(self.path("other.safetensors"), {"weight": ("F32", (1,), bytes(4))})
        self.fails(4, "L<layer>.q", "demo", self.path("other.safetensors"))
        write_safetensors(self.path("partial.safetensors"), {"L0.q": ("F16", (1, 1, 2), bytes(4))})
        self.fails(4, "L0.k", "demo", self.path("partial.safetensors"))
        write_safetensors(self.path("odd.safetensors"), {"L0." + n: ("F16", (1, 2), bytes(4)) for n in "qkv"})
        self.fails(4, "[1, 2]", "demo", self.path("odd.safetensors"))


if __name__ == "__main__":
    unittest.main()
