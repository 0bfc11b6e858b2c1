"""octavo study: every study by its quick form, the files it writes, the user's own captures, and refusals.

    study_test.py [STUDY ...]: only these
"""

import csv
import os
import re
import struct
import sys
import unittest

from command import CommandTest, normal, run, write_safetensors


class Study(CommandTest):
    def study(self, name, *arguments):
        """The JSON of a quick run; its files are complete and agree with it."""
        out = self.path(name)
        result = self.json("study", name, "--quick", "--threads", 2, "--out", out, *arguments)
        self.assertEqual((result["study"], result["kind"], result["quick"]), (name, "study", True))
        self.assertTrue(result["answer"] and result["method"] and result["tables"])
        self.assertNotIn("nan", (result["answer"] + result["method"]).lower())
        files = os.listdir(out)
        self.assertIn(f"{name}.json", files)
        for table in result["tables"]:
            with open(os.path.join(out, f"{name}_{table['name']}.csv"), newline="") as file:
                rows = list(csv.DictReader(file))
            self.assertEqual([list(row) for row in rows], [list(row) for row in table["rows"]])
            for row, expected in zip(rows, table["rows"]):
                for key, value in expected.items():
                    if isinstance(value, float):
                        self.assertAlmostEqual(float(row[key]), value, delta=1e-8 * abs(value))
        plots = [file for file in files if file.endswith(".svg")]
        self.assertTrue(plots or "--captures" in arguments)
        for plot in plots:
            with open(os.path.join(out, plot)) as file:
                text = file.read()
            self.assertTrue(text.startswith("<svg") and text.endswith("</svg>\n"))
            self.assertNotRegex(text, r"\b(nan|inf)\b")
        with open(os.path.join(out, f"{name}.md")) as file:
            self.assertIn(f"<!-- octavo study {name}: answer -->\n{result['answer']}\n", file.read())
        return result

    def table(self, result, name, *keys):
        """(row[key] for keys) -> the row, of one table."""
        rows = next(table["rows"] for table in result["tables"] if table["name"] == name)
        return {tuple(row[key] for key in keys): row for row in rows}

    def test_paper(self):
        result = self.study("paper")
        rows = self.table(result, "mre", "data", "scheme", "keys")
        half, full, fp8 = (rows["gaussian", scheme, 1024]["relative_l2"]
                           for scheme in ("half-INT8", "full-INT8", "FP8 baseline"))
        self.assertTrue(0.005 < half < full < fp8 < 0.2)
        # Relative to the running maximum some codes vanish, in f16 none.
        self.assertGreater(rows["gaussian", "full-INT8", 2048]["zero_codes"], 0.005)
        self.assertEqual(rows["gaussian", "half-INT8", 2048]["zero_codes"], 0)

    def test_v(self):
        result = self.study("v")
        rows = self.table(result, "errors", "scheme", "data")
        fold = "folded, V rotated (int8_fast)"
        for other in ("tensor", "channel", "block", "block and channel", "token, not folded"):
            self.assertGreater(rows[other, "sink8_tiny"]["relative_l2"], 4 * rows[fold, "sink8_tiny"]["relative_l2"])
        parts = self.table(result, "parts", "scheme", "data")
        alone = [parts[f"token, folded: {part}", "gaussian"]["relative_l2"] for part in ("QK", "P", "V", "all")]
        # The sources are independent: their squares add up to the whole.
        self.assertAlmostEqual(sum(x * x for x in alone[:3]) ** 0.5, alone[3], delta=0.15 * alone[3])
        times = self.table(result, "times", "scheme")
        self.assertEqual(times["tensor",]["with_quantization"], 1)

    def test_qk(self):
        rows = self.table(self.study("qk"), "errors", "scheme", "data")
        for data in ("gaussian", "k_bias", "outliers"):
            for bits in ("s8", "s4"):
                tensor, token = (rows[f"{bits} {g}, none", data]["relative_l2"] for g in ("tensor", "token"))
                self.assertLess(token, tensor)
        # 127 levels or 7.
        self.assertAlmostEqual(rows["s4 token, K", "gaussian"]["relative_l2"] /
                               rows["s8 token, K", "gaussian"]["relative_l2"], 127 / 7, delta=4)
        self.assertLess(rows["s8 token, K", "k_bias"]["relative_l2"], rows["s8 token, none", "k_bias"]["relative_l2"])

    def test_length(self):
        result = self.study("length")
        rows = self.table(result, "keys", "scheme", "keys")
        self.assertGreater(rows["int_flash", 4096]["relative_l2"], 1.2 * rows["int_flash", 1024]["relative_l2"])
        for row in rows.values():
            self.assertAlmostEqual(row["predicted"] / row["relative_l2"], 1, delta=0.25)

    def test_formats(self):
        result = self.study("formats")
        self.assertTrue(all(bar["holds"] for bar in result["bars"]))
        self.assertEqual(result["seeds"], 2)
        rows = self.table(result, "errors", "scheme", "data")
        self.assertLess(rows["s8 (int8)", "gaussian"]["relative_l2"], 0.016)
        self.assertTrue(0.1 < rows["FP4 E2M1, groups of 16", "gaussian"]["relative_l2"] < 0.3)

    def test_overhead(self):
        result = self.study("overhead")
        rows = self.table(result, "bytes", "scheme")
        # Two rows of 128 codes and two f32 scales; K's mean has 128 x 4 bytes for 1024 tokens.
        self.assertEqual(rows["int8",]["codes_128"], 256)
        self.assertEqual(rows["int8",]["scales_128"], 8.5)
        self.assertEqual(rows["int_flash",]["codes_64"], 128)
        self.assertEqual(rows["int_flash_half",]["codes_128"], 384)
        scales = self.table(result, "scales", "group", "scale")
        f32, f16, power = (scales["row", scale]["gaussian"] for scale in ("f32", "f16", "power of two"))
        self.assertAlmostEqual(f16, f32, delta=0.05 * f32)
        self.assertGreater(power, 1.1 * f32)
        memory = self.table(result, "memory", "keys", "scheme")
        self.assertLess(memory[8192, "int8"]["cache_s8"], 0.6 * memory[8192, "int8"]["cache_f16"])

    def test_processors(self):
        result = self.study("processors")
        rows = self.table(result, "here", "implementation", "scheme")
        self.assertGreater(rows["scalar", "int8"]["gops"], 0)
        self.assertEqual(rows["scalar", "exact"]["gain"], 1)
        committed = self.table(result, "committed", "processor", "shape", "scheme")
        self.assertIn(("zen3", "8 heads, 4096 x 4096, D 128", "int8_fast"), committed)

    def test_depth(self):
        rows = self.table(self.study("depth"), "ends", "kind", "scheme")
        for (kind, scheme), row in rows.items():
            self.assertTrue(0 < row["first"] < 1 and 0 < row["last"] < 2 and 0 < row["top1"] <= 1, (kind, scheme, row))
        sinks = "causal, sinks of 8 nats"
        self.assertGreater(rows[sinks, "int_flash"]["last"], 2 * rows[sinks, "int8_fast"]["last"])
        full = rows[sinks, "int_flash"]["last"]
        self.assertLess(rows[sinks, "int_flash, every second layer exact"]["last"], full)

    def test_the_same_seed_gives_the_same_figures(self):
        def errors(*arguments):
            return self.json("study", "formats", "--quick", "--seeds", 1, *arguments)["tables"][0]["rows"]

        self.assertEqual(errors("--seed", 3), errors("--seed", 3))
        self.assertNotEqual(errors("--seed", 3), errors("--seed", 4))

    def captures(self):
        """One causal layer of 2 query heads on one KV head; the file says that it is."""
        tensors = {}
        for name, heads, dim in (("q", 2, 32), ("k", 1, 32), ("v", 1, 32)):
            values = normal(heads * 160 * dim, 7)
            tensors[f"L5.{name}"] = ("F32", (heads, 160, dim), struct.pack(f"<{len(values)}f", *values))
        write_safetensors(self.path("mine.safetensors"), tensors)
        return self.path("mine.safetensors")

    def test_captures_of_ones_own(self):
        file = self.captures()
        for name in ("formats", "v", "qk", "paper"):
            result = self.study(name, "--captures", file)
            self.assertEqual(result["captures"], file)
            for table in result["tables"]:
                for row in table["rows"]:
                    if "samples" in row:
                        self.assertEqual((row["data"], row["samples"]), ("captures", 2))

    def test_refusals(self):
        self.fails(2, ["'nothing'", "formats", "make study-model"], "study", "nothing")
        self.fails(2, "make study-model", "study", "model")
        self.fails(2, ["--captures", "length"], "study", "length", "--captures", "x.safetensors")
        self.fails(4, "none.safetensors", "study", "qk", "--quick", "--captures", self.path("none.safetensors"))
        self.fails(2, "'0'", "study", "qk", "--seeds", 0)
        open(self.path("file"), "w").close()
        self.fails(4, "file", "study", "formats", "--quick", "--seeds", 1, "--out", self.path("file"))

    def test_help_lists_the_studies(self):
        text = run("study", "--help").stdout
        for name in ("paper", "v", "qk", "length", "formats", "overhead", "processors", "depth", "model"):
            self.assertTrue(re.search(rf"^  {name} ", text, re.MULTILINE), name)


if __name__ == "__main__":
    names = [f"Study.test_{name}" for name in sys.argv[1:]]
    unittest.main(argv=sys.argv[:1], defaultTest=names or None)
