"""octavo run: attention on files against its definition, in both formats and layouts."""

import array
import os
import unittest

from command import (AttentionTest, D, DV, HKV, HQ, M, N, SHAPE, attention, normal, read_npy, read_safetensors,
                     relative_l2, swapped, write_npy, write_safetensors)


class Run(AttentionTest):
    def test_exact_is_the_definition(self):
        for causal in (False, True):
            self.ok("run", *self.files, "--recipe", "exact", *(["--causal"] if causal else []), "--out",
                    self.path("o.npy"), "--lse", self.path("lse.npy"))
            out, lse = attention(self.q, self.k, self.v, SHAPE, causal)
            shape, values = read_npy(self.path("o.npy"))
            self.assertEqual(shape, (1, M, HQ, DV))
            self.assertLess(relative_l2(values, out), 1e-4)
            shape, values = read_npy(self.path("lse.npy"))
            self.assertEqual(shape, (1, HQ, M))
            self.assertLess(relative_l2(values, lse), 1e-4)

    def test_layouts_and_missing_batch_axes(self):
        expected, lse = attention(self.q, self.k, self.v, SHAPE)
        for name, rows, heads, dim, values in (("q", M, HQ, D, self.q), ("k", N, HKV, D, self.k),
                                               ("v", N, HKV, DV, self.v)):
            write_npy(self.path(name + ".npy"), (heads, rows, dim), swapped(values, rows, heads, dim))
        self.ok("run", *self.files, "--layout", "HND", "--recipe", "exact", "--out", self.path("o.npy"), "--lse",
                self.path("lse.npy"))
        shape, values = read_npy(self.path("o.npy"))
        self.assertEqual(shape, (HQ, M, DV))
        self.assertLess(relative_l2(swapped(values, HQ, M, DV), expected), 1e-4)
        shape, values = read_npy(self.path("lse.npy"))
        self.assertEqual(shape, (HQ, M))
        self.assertLess(relative_l2(values, lse), 1e-4)

    def test_safetensors_in_and_out(self):
        write_safetensors(self.path("all.safetensors"), {
            name: ("F32", shape, array.array("f", values).tobytes())
            for name, shape, values in (("q", (M, HQ, D), self.q), ("k", (N, HKV, D), self.k),
                                        ("v", (N, HKV, DV), self.v))})
        files = [x for n in "qkv" for x in ("--" + n, self.path("all.safetensors:" + n))]
        self.ok("run", *files, "--recipe", "exact", "--out", self.path("o.safetensors"))
        tensors, _ = read_safetensors(self.path("o.safetensors"))
        dtype, shape, data = tensors["o"]
        self.assertEqual((dtype, shape), ("F32", [M, HQ, DV]))
        self.assertLess(relative_l2(array.array("f", data).tolist(), attention(self.q, self.k, self.v, SHAPE)[0]), 1e-4)

    def test_int8_is_near(self):
        result = self.json("run", *self.files, "--recipe", "int8_fast", "--out", self.path("o.npy"))
        self.assertEqual(result["parameters"]["recipe"], "int8_fast")
        _, values = read_npy(self.path("o.npy"))
        error = relative_l2(values, attention(self.q, self.k, self.v, SHAPE)[0])
        self.assertLess(error, 0.03)
        self.assertGreater(error, 1e-5)

    def test_scale_and_out_dtype(self):
        self.ok("run", *self.files, "--recipe", "exact", "--scale", "0", "--out", self.path("o.npy"))
        _, values = read_npy(self.path("o.npy"))
        means = [sum(self.v[(j * HKV + h // 2) * DV + d] for j in range(N)) / N for h in range(HQ) for d in range(DV)]
        self.assertLess(relative_l2(values, means * M), 1e-5)
        self.ok("run", *self.files, "--out-dtype", "bf16", "--out", self.path("o.safetensors"))
        self.assertEqual(read_safetensors(self.path("o.safetensors"))[0]["o"][0], "BF16")

    def test_an_output_has_a_file_of_its_own(self):
        """Otherwise the last write would overwrite O, the LSE or the input."""
        out, lse, q = self.path("o.npy"), self.path("lse.npy"), self.path("q.npy")
        os.symlink(q, self.path("link.npy"))
        os.link(q, self.path("hard.npy"))
        with open(q, "rb") as file:
            before = file.read()
        twice = self.path("folder/../o.npy")
        for words, flags in (
                (["--out " + out, "--lse " + out], ("--out", out, "--lse", out)),
                (["--out " + out, "--lse " + twice], ("--out", out, "--lse", twice)),
                (["--json " + lse, "--lse " + lse], ("--lse", lse, "--json", lse)),
                (["--out " + q, "--q " + q], ("--out", q)),
                (["--lse " + self.path("link.npy"), "--q " + q], ("--lse", self.path("link.npy"))),
                (["--out " + self.path("hard.npy"), "--q " + q], ("--out", self.path("hard.npy"))),
                (["--out", "--v "], ("--out", os.path.relpath(self.path("v.npy")))),
                (["--json " + q, "--q " + q], ("--json", q))):
            self.fails(2, [*words, "would overwrite", "a separate file"], "run", *self.files, *flags)
        with open(q, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertFalse(os.path.exists(out) or os.path.exists(lse))
        self.ok("run", *self.files, "--out", out, "--lse", lse)
        self.ok("run", *self.files, "--out", out, "--lse", lse)  # what a call before left is no input

    def test_outputs_that_lead_nowhere_are_not_one_file(self):
        os.symlink(self.path("loop"), self.path("loop"))
        out, lse = self.path("loop/o.npy"), self.path("loop/lse.npy")
        self.fails(4, out, "run", *self.files, "--out", out, "--lse", lse)

    def test_an_output_is_no_tensor_of_an_input_file(self):
        file = self.path("all.safetensors")
        write_safetensors(file, {
            name: ("F32", shape, array.array("f", values).tobytes())
            for name, shape, values in (("q", (M, HQ, D), self.q), ("k", (N, HKV, D), self.k),
                                        ("v", (N, HKV, DV), self.v))})
        files = [x for n in "qkv" for x in ("--" + n, file + ":" + n)]
        self.fails(2, ["--out " + file, "--q " + file], "run", *files, "--out", file)

    def test_numbers(self):
        for flag in ("--scale", "--softcap"):
            for value in ("nan", "inf", "-inf", "1x", "1e999", "--1"):
                self.fails(2, [flag, f"'{value}' is not a finite number"], "run", *self.files, f"{flag}={value}")
        for value in ("+0.5", "5e-1", ".5"):
            self.assertEqual(self.json("run", *self.files, "--scale", value)["parameters"]["scale"], 0.5)
        for value in ("1.5", "x", "-1", "1025"):
            self.fails(2, f"--threads: '{value}' is no whole number in 0..1024", "run", *self.files,
                       f"--threads={value}")

    def test_refusals(self):
        self.fails(2, "o.txt", "run", *self.files, "--out", self.path("o.txt"))
        self.fails(2, "layout", "run", *self.files, "--layout", "DHN")
        self.fails(4, "No such file", "run", *self.files[:4], "--v", self.path("none.npy"))
        self.fails(4, "nowhere", "run", *self.files, "--out", self.path("nowhere/o.npy"))
        write_npy(self.path("k.npy"), (1, N, HKV, D + 1), normal(N * HKV * (D + 1), 2))
        self.fails(2, str(D + 1), "run", *self.files)
        write_npy(self.path("k.npy"), (D,), normal(D, 2))
        self.fails(2, "--k", "run", *self.files)


if __name__ == "__main__":
    unittest.main()
