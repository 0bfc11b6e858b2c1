"""octavo run with all options of a call: masks, sinks, slopes, lengths, varlen sequences, composed recipes."""

import array
import math
import unittest

from command import (AttentionTest, D, DV, HKV, HQ, M, N, SHAPE, attention, normal, read_npy, relative_l2, write_npy,
                     write_safetensors)


class Options(AttentionTest):
    def options(self, **tensors):
        """--flag FILE:NAME of each tensor (dtype, shape, bytes)."""
        write_safetensors(self.path("options.safetensors"), tensors)
        file = self.path("options.safetensors:")
        return [x for name in tensors for x in ("--" + name.replace("_", "-"), file + name)]

    def check(self, arguments, rows=SHAPE, **definition):
        """O and LSE of `exact` match the definition; int8 accepts the same flags and is close."""
        expected, expected_lse = attention(self.q, self.k, self.v, rows, **definition)
        for recipe, tolerance, lse_tolerance in (("exact", 1e-4, 1e-4), ("int8", 0.05, 0.1)):
            self.ok("run", *self.files, *arguments, "--recipe", recipe, "--out", self.path("o.npy"), "--lse",
                    self.path("lse.npy"))
            _, values = read_npy(self.path("o.npy"))
            self.assertLess(relative_l2(values, expected), tolerance, recipe)
            _, values = read_npy(self.path("lse.npy"))
            for actual, wanted in zip(values, expected_lse, strict=True):
                self.assertTrue(actual == wanted or abs(actual - wanted) < lse_tolerance, (recipe, actual, wanted))

    def test_bool_mask(self):
        mask = [(i * 7 + j * 3) % 4 != 0 and i != 2 for i in range(M) for j in range(N)]
        self.check(self.options(mask=("BOOL", (M, N), bytes(mask))),
                   score=lambda h, i, j, s: s if mask[i * N + j] else None)

    def test_float_masks(self):
        mask = array.array("f", normal(HQ * N, 4))
        mask[3] = -math.inf
        self.check(self.options(mask=("F32", (HQ, 1, N), mask.tobytes())),
                   score=lambda h, i, j, s: s + mask[h * N + j] if mask[h * N + j] > -math.inf else None)

    def test_sinks(self):
        sinks = array.array("f", [-1, 0, 1, 4])
        self.check(self.options(sinks=("F32", (HQ,), sinks.tobytes())), sinks=sinks)

    def test_slopes_of_any_float_type(self):
        slopes = [0.5, 0.25, 0.125, 0.0625]
        for dtype, data in (("F32", array.array("f", slopes).tobytes()), ("F64", array.array("d", slopes).tobytes()),
                            ("BF16", bytes([0x00, 0x3F, 0x80, 0x3E, 0x00, 0x3E, 0x80, 0x3D]))):
            self.check([*self.options(alibi_slopes=(dtype, (HQ,), data)), "--causal"], causal=True,
                       score=lambda h, i, j, s: s + slopes[h] * (j - (i + N - M)))

    def test_symmetric_slopes(self):
        slopes = [0.5, 0.25, -0.125, 0.0625]
        file = self.options(alibi_slopes=("F32", (HQ,), array.array("f", slopes).tobytes()))
        self.check([*file, "--alibi", "symmetric"], score=lambda h, i, j, s: s - slopes[h] * abs(j - (i + N - M)))
        self.check([*file, "--alibi", "causal"], score=lambda h, i, j, s: s + slopes[h] * (j - (i + N - M)))
        self.fails(2, "--alibi both; allowed are causal and symmetric", "run", *self.files, *file, "--alibi", "both")
        self.fails(2, "alibi is symmetric and alibi_slopes are missing", "run", *self.files, "--alibi", "symmetric")

    def test_lengths(self):
        for code, dtype in (("i", "I32"), ("q", "I64")):
            lens = array.array(code, [6])
            self.check([*self.options(kv_lens=(dtype, (1,), lens.tobytes())), "--causal"],
                       score=lambda h, i, j, s: s if j <= i + 6 - M else None)

    def test_diagonals_windows_and_softcap(self):
        self.check(["--causal=top_left"], score=lambda h, i, j, s: s if j <= i else None)
        self.check(["--window", "2,1"], score=lambda h, i, j, s: s if -2 <= j - (i + N - M) <= 1 else None)
        self.check(["--causal", "--window", "1,-1", "--softcap", "0.5"],
                   score=lambda h, i, j, s: 0.5 * math.tanh(s / 0.5) if -1 <= j - (i + N - M) <= 0 else None)

    def test_packed_sequences(self):
        for name, shape in (("q", (M, HQ, D)), ("k", (N, HKV, D)), ("v", (N, HKV, DV))):
            write_npy(self.path(name + ".npy"), shape, getattr(self, name))
        flags = self.options(cu_seqlens_q=("I32", (3,), array.array("i", [0, 2, M]).tobytes()),
                             cu_seqlens_k=("I32", (3,), array.array("i", [0, 4, N]).tobytes()))
        # Two sequences without a key of the other's: one call with a mask of two blocks.
        self.check(flags, score=lambda h, i, j, s: s if (i < 2) == (j < 4) else None)

    def test_the_files_are_in_the_json(self):
        flags = self.options(mask=("BOOL", (N,), bytes([1] * N)))
        parameters = self.json("run", *self.files, *flags, "--softcap", "2")["parameters"]
        self.assertEqual(parameters["files"]["mask"], self.path("options.safetensors:mask"))
        self.assertEqual((parameters["softcap"], parameters["scale"]), (2, "1/sqrt(head_dim)"))
        self.assertEqual(set(parameters["files"]), {"q", "k", "v", "mask"})

    def test_recipes(self):
        for text in ("int8,smooth_q=off,key_block=64", "int8,hadamard=off", "exact", "int_flash"):
            result = self.json("run", *self.files, "--recipe", text)
            self.assertEqual(result["parameters"]["recipe"], text)
        self.assertEqual(self.json("run", *self.files, "--recipe", "int8,smooth_q=on")["parameters"]["recipe"], "int8")
        self.assertEqual(self.json("run", *self.files, "--recipe", "sage2_8b", "--implementation", "reference")
                         ["implementation"], "reference")
        for text, words in (("int9", ["int9", "int8"]), ("int8,smooth=off", ["smooth", "smooth_q"]),
                            ("int8,key_block=many", ["many"]), ("int8,smooth_q=maybe", ["maybe", "on"]),
                            ("int8,row_sum=codes", ["row_sum", "v_scale"]), ("", ["int8"])):
            self.fails(2, words, "run", *self.files, "--recipe", text)
        self.fails(3, "accumulator", "run", *self.files, "--recipe", "sage2_8b,accumulator=sm90")

    def test_refusals(self):
        self.fails(2, ["mask", "[5, 8]"], "run", *self.files, *self.options(mask=("BOOL", (M, 8), bytes(M * 8))))
        self.fails(2, "mask", "run", *self.files, *self.options(mask=("I32", (N,), bytes(4 * N))))
        self.fails(2, "sinks", "run", *self.files, *self.options(sinks=("F32", (3,), bytes(12))))
        lens = array.array("i", [N + 1]).tobytes()
        self.fails(2, ["kv_lens", str(N + 1)], "run", *self.files, *self.options(kv_lens=("I32", (1,), lens)))
        self.fails(2, "cu_seqlens", "run", *self.files,
                   *self.options(cu_seqlens_q=("I32", (2,), array.array("i", [0, M]).tobytes())))
        self.fails(2, "--window", "run", *self.files, "--window", "3")
        self.fails(2, "window", "run", *self.files, "--window", "-2,0")
        self.fails(2, "--causal", "run", *self.files, "--causal=bottom_left")
        self.fails(2, "softcap", "run", *self.files, "--softcap", "-1")
        self.fails(2, "scale", "run", *self.files, "--scale", "inf")
        self.fails(2, "mmx", "run", *self.files, "--implementation", "mmx")
        self.fails(3, "CUDA", "run", *self.files, "--device", "cuda")
        self.fails(4, "mask.npy", "run", *self.files, "--mask", self.path("mask.npy"))
        self.options(x=("F32", (1,), bytes(4)))
        self.fails(4, "nothing", "run", *self.files, "--mask", self.path("options.safetensors:nothing"))


if __name__ == "__main__":
    unittest.main()
