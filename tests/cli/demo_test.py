"""octavo demo: the figures of the table, on the repository's capture and on one that the test writes."""

import math
import struct
import unittest

from command import CommandTest, normal, write_safetensors


def f16(values):
    return struct.pack(f"<{len(values)}e", *values)


def bf16(x):
    """To the nearest bf16 number, ties to even."""
    bits, = struct.unpack("<I", struct.pack("<f", x))
    return struct.unpack("<f", struct.pack("<I", bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000))[0]


def attention_row(q, keys, values, rounded):
    """One row from the definition, with the roundings of "bf16 attention" or without."""
    scores = [sum(a * b for a, b in zip(q, key)) / math.sqrt(len(q)) for key in keys]
    weights = [math.exp(score - max(scores)) for score in scores]
    out = [sum(rounded(w) * value[d] for w, value in zip(weights, values)) for d in range(len(values[0]))]
    return [rounded(x / sum(weights)) for x in out]


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
        for row in [*rows.values(), result["bf16_attention"]]:
            for data in ("file", "normal"):
                errors = row[data]
                self.assertTrue(0 < errors["median_relative_l2"] <= errors["worst_relative_l2"] < math.inf, row)
                self.assertTrue(0 < errors["median_cosine"] <= 1 + 1e-12)
        for row in rows.values():
            self.assertGreater(row["time_us"]["min"], 0)
            self.assertTrue(row["implementation"])
        self.assertEqual(len(rows) + len(result["not_in_this_build"]),
                         len(self.json("info")["recipes"]))
        return rows

    def test_the_json_is_not_the_capture(self):
        file = self.capture()
        self.fails(2, ["--json " + file, "the capture " + file], "demo", file, "--json", file)

    def test_the_repositorys_capture(self):
        result = self.json("demo", "--threads", 2)
        rows = self.check(result)
        # The figures of scripts/head_errors.py, which computes this row in NumPy.
        self.assertAlmostEqual(result["bf16_attention"]["file"]["median_relative_l2"], 0.0063, delta=0.0001)
        self.assertAlmostEqual(result["bf16_attention"]["file"]["worst_relative_l2"], 0.0090, delta=0.0001)
        self.assertEqual(result["bf16_attention"]["file"]["worst_head"], "L21.h0")
        self.assertLess(rows["int8"]["file"]["median_relative_l2"], 0.015)
        self.assertLess(rows["int8"]["file"]["worst_relative_l2"], 0.025)
        self.assertEqual(rows["int8"]["calls"], 5)

    def test_a_capture_of_ones_own(self):
        result = self.json("demo", self.capture(), "--repeat", 2)
        rows = self.check(result)
        self.assertRegex(rows["int8"]["file"]["worst_head"], r"^L(2|10)\.h[0-3]$")
        self.assertIn("int8", result["verdict"])

    def test_bf16_attention_is_its_definition(self):
        rows, keys, dim, value_dim = 12, 20, 8, 4
        q, k, v = ([[struct.unpack("<e", f16([x]))[0] for x in normal(width, seed + row)] for row in range(count)]
                   for count, width, seed in ((rows, dim, 100), (keys, dim, 200), (keys, value_dim, 300)))
        tensors = {f"L0.{name}": ("F16", (1, len(x), len(x[0])), f16(sum(x, []))) for name, x in zip("qkv", (q, k, v))}
        write_safetensors(self.path("small.safetensors"), tensors)
        error = norm = 0
        for i in range(rows):
            visible = i + keys - rows + 1
            exact = attention_row(q[i], k[:visible], v[:visible], float)
            q_bf16, k_bf16, v_bf16 = ([[bf16(x) for x in row] for row in operand] for operand in ([q[i]], k, v))
            rounded = attention_row(q_bf16[0], k_bf16[:visible], v_bf16[:visible], bf16)
            error += sum((a - b) ** 2 for a, b in zip(rounded, exact))
            norm += sum(b ** 2 for b in exact)
        result = self.json("demo", self.path("small.safetensors"), "--repeat", 1)["bf16_attention"]["file"]
        expected = math.sqrt(error / norm)
        # Sums in f32 and in double round to another bf16 number in rare elements.
        self.assertAlmostEqual(result["worst_relative_l2"], expected, delta=0.02 * expected)
        self.assertEqual(result["worst_relative_l2"], result["median_relative_l2"])

    def test_markdown(self):
        lines = self.ok("demo", self.capture(), "--repeat", 1, "--markdown").splitlines()
        table = [line for line in lines if line.startswith("|")]
        self.assertGreater(len(table), 3)
        self.assertEqual({line.count("|") for line in table}, {table[0].count("|")})
        self.assertTrue(set(table[1]) <= set("|:-"))
        names = [line.split("|")[1].strip() for line in table]
        self.assertEqual(names.index("bf16 attention"), names.index("exact") + 1)
        self.assertIn("bf16 attention: Q, K, V, P and O rounded to bf16", "".join(lines))

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
