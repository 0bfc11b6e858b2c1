"""octavo compare: metrics of known differences, and the exit code of a check."""

import json
import unittest

from command import CommandTest, normal, run, write_npy, write_safetensors


class Compare(CommandTest):
    def setUp(self):
        super().setUp()
        self.b = normal(600, 4)
        write_npy(self.path("b.npy"), (10, 60), self.b)
        write_npy(self.path("a.npy"), (10, 60), [x * 1.25 for x in self.b])

    def test_metrics(self):
        tensor, = self.json("compare", self.path("a.npy"), self.path("b.npy"))["tensors"]
        self.assertAlmostEqual(tensor["relative_l2"], 0.25, places=6)
        self.assertAlmostEqual(tensor["relative_l1"], 0.25, places=6)
        self.assertAlmostEqual(tensor["bias"], 0.25 * sum(self.b) / 600, places=6)
        self.assertAlmostEqual(tensor["cosine"], 1, places=6)
        self.assertAlmostEqual(tensor["max_abs"], 0.25 * max(map(abs, self.b)), places=6)
        self.assertEqual((tensor["elements"], tensor["not_finite"]), (600, 0))

    def test_equal_files(self):
        tensor, = self.json("compare", self.path("b.npy"), self.path("b.npy"), "--max-relative-l2", 0)["tensors"]
        self.assertEqual((tensor["relative_l2"], tensor["max_abs"]), (0, 0))

    def test_a_check_that_fails_is_exit_code_1(self):
        self.ok("compare", self.path("a.npy"), self.path("b.npy"), "--max-relative-l2", 0.26)
        done = self.json_of_failure("--max-relative-l2", 0.24)
        self.assertAlmostEqual(done["tensors"][0]["relative_l2"], 0.25, places=6)

    def json_of_failure(self, *arguments):
        done = run("compare", self.path("a.npy"), self.path("b.npy"), *arguments, "--json", "-")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("relative L2 above", done.stderr)
        return json.loads(done.stdout)

    def test_a_nan_is_beyond_every_limit(self):
        write_npy(self.path("a.npy"), (10, 60), self.b[:-1] + [float("nan")])
        self.assertEqual(self.json_of_failure("--max-relative-l2", 1000)["tensors"][0]["not_finite"], 1)

    def test_the_sign_of_a_bias(self):
        write_npy(self.path("a.npy"), (10, 60), [x - 0.5 for x in self.b])
        tensor, = self.json("compare", self.path("a.npy"), self.path("b.npy"))["tensors"]
        self.assertAlmostEqual(tensor["bias"], -0.5, places=6)
        self.assertAlmostEqual(tensor["rmse"], 0.5, places=6)
        table = self.ok("compare", self.path("a.npy"), self.path("b.npy"))
        for word in ("relative L2", "relative L1", "cosine", "max abs", "bias", "-5.000e-01"):
            self.assertIn(word, table)

    def test_two_recipes(self):
        for name in "qkv":
            write_npy(self.path(name + ".npy"), (1, 70, 2, 32), normal(70 * 2 * 32, ord(name)))
        files = [x for n in "qkv" for x in ("--" + n, self.path(n + ".npy"))]
        error = {recipe: self.json("compare", recipe, "exact", *files)["tensors"][0]["relative_l2"]
                 for recipe in ("exact", "int8_fast", "int4")}
        self.assertEqual(error["exact"], 0)
        self.assertTrue(1e-4 < error["int8_fast"] < 0.03, error)
        self.assertTrue(error["int8_fast"] < error["int4"] < 0.5, error)
        self.fails(2, "--v", "compare", "int8_fast", "exact", *files[:4])

    def test_the_lse_of_two_recipes(self):
        for name in "qkv":
            write_npy(self.path(name + ".npy"), (1, 70, 2, 32), normal(70 * 2 * 32, ord(name)))
        write_safetensors(self.path("options.safetensors"), {"mask": ("BOOL", (70,), bytes([0] * 9 + [1] * 61))})
        files = [x for n in "qkv" for x in ("--" + n, self.path(n + ".npy"))]
        files += ["--mask", self.path("options.safetensors:mask"), "--causal"]
        o, lse = self.json("compare", "int8_fast", "exact", *files)["tensors"]
        self.assertEqual((o["name"], lse["name"], lse["shape"]), ("o", "lse", "[1, 2, 70]"))
        self.assertTrue(1e-5 < lse["max_abs"] < 0.05, lse)
        self.assertEqual(lse["not_finite"], 0)  # nine rows of -infinity on both sides
        # The limit is O's: the LSE's norm has no natural zero to be relative to.
        self.ok("compare", "int8_fast", "exact", *files, "--max-relative-l2", 0.03)
        self.fails_with_table(1, "relative L2 above", "compare", "int8_fast", "exact", *files, "--max-relative-l2",
                              1e-5)

    def fails_with_table(self, code, word, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(word, done.stderr)
        self.assertIn("lse", done.stdout)

    def test_flags_of_calls_are_errors_for_outputs(self):
        files = (self.path("a.npy"), self.path("b.npy"))
        for flag in ("--causal", "--window=1,1", "--scale=1", "--softcap=2", "--layout=HND", "--threads=1",
                     "--device=cpu", "--implementation=scalar"):
            self.fails(2, [flag.split("=")[0] + ": not allowed if A and B are outputs", "--q"], "compare", *files, flag)
        self.fails(2, "--scale, --softcap: not allowed", "compare", *files, "--softcap", 2, "--scale", 1)
        # Two recipes without operands: what is missing is said, not that no file has the recipe's name.
        self.fails(2, ["--causal", "--q"], "compare", "int8_fast", "exact", "--causal")

    def test_the_json_is_no_file_that_is_compared(self):
        a, b = self.path("a.npy"), self.path("b.npy")
        self.fails(2, ["--json " + a, "A " + a], "compare", a, b, "--json", a)
        self.fails(2, ["--json " + b, "B " + b], "compare", a, b, "--json", b)

    def test_refusals(self):
        self.fails(2, ["--max-relative-l2", "'x' is not a finite number"], "compare", self.path("a.npy"),
                   self.path("b.npy"), "--max-relative-l2", "x")
        write_npy(self.path("c.npy"), (60, 10), self.b)
        self.fails(2, ["[60, 10]", "[10, 60]"], "compare", self.path("c.npy"), self.path("b.npy"))
        self.fails(4, "none.npy", "compare", self.path("none.npy"), self.path("b.npy"))


if __name__ == "__main__":
    unittest.main()
