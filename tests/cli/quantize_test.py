"""octavo quantize: the written file dequantizes to the input tensor."""

import array
import struct
import unittest

from command import (CommandTest, normal, read_npy, read_safetensors, relative_l2, swapped, write_npy,
                     write_safetensors)

N, H, D = 20, 3, 16


class Quantize(CommandTest):
    def setUp(self):
        super().setUp()
        self.x = normal(N * H * D, 5)
        write_npy(self.path("x.npy"), (1, N, H, D), self.x)

    def test_codes_times_scales_are_the_tensor(self):
        result = self.json("quantize", self.path("x.npy"), "--role", "k", "--recipe", "int_flash", "--out",
                           self.path("k.safetensors"))
        tensors, metadata = read_safetensors(self.path("k.safetensors"))
        self.assertEqual(metadata["recipe"], "int_flash")
        self.assertEqual(metadata["role"], "k")
        self.assertEqual(tensors["codes"][:2], ("I8", [1, N, H, D]))
        self.assertEqual(tensors["scales"][:2], ("F32", [1, H, N]))
        self.assertNotIn("mean", tensors)
        codes = array.array("b", tensors["codes"][2])
        scales = array.array("f", tensors["scales"][2])
        back = [codes[(n * H + h) * D + d] * scales[h * N + n] for n in range(N) for h in range(H) for d in range(D)]
        error = relative_l2(back, self.x)
        self.assertLess(error, 0.01)
        self.assertAlmostEqual(error, result["relative_l2"], places=6)

    def test_means_are_written_where_the_recipe_subtracts_them(self):
        self.ok("quantize", self.path("x.npy"), "--role", "k", "--recipe", "int8", "--out", self.path("k.safetensors"))
        tensors, metadata = read_safetensors(self.path("k.safetensors"))
        self.assertEqual(tensors["mean"][:2], ("F32", [1, H, D]))
        self.assertEqual(metadata["rotated"], "1")

    def test_keys_that_do_not_exist_reach_nothing(self):
        exists = [n % 5 != 0 and n < 17 for n in range(N)]
        junk = array.array("f", self.x)
        for i in range(N * H * D):
            if not exists[i // (H * D)]:
                junk[i] = float("nan") if i % 2 else 1e4
        write_npy(self.path("junk.npy"), (1, N, H, D), junk)
        write_safetensors(self.path("rows.safetensors"), {
            "lens": ("I32", (1,), array.array("i", [17]).tobytes()),
            "mask": ("BOOL", (1, N), bytes(n % 5 != 0 for n in range(N)))})
        rows = ["--kv-lens", self.path("rows.safetensors:lens"), "--key-mask", self.path("rows.safetensors:mask")]
        files = {}
        for name in ("x", "junk"):
            result = self.json("quantize", self.path(name + ".npy"), "--role", "k", *rows, "--out",
                               self.path("k.safetensors"))
            self.assertLess(result["relative_l2"], 0.02)
            files[name] = read_safetensors(self.path("k.safetensors"))[0]
        self.assertEqual(files["x"], files["junk"])
        codes = files["x"]["codes"][2]
        for n in range(N):
            self.assertEqual(any(codes[n * H * D:(n + 1) * H * D]), exists[n])
        self.fails(2, "kv_lens is given for role q", "quantize", self.path("x.npy"), "--role", "q", *rows)

    def test_four_bits_are_written_as_bytes(self):
        self.ok("quantize", self.path("x.npy"), "--role", "k", "--recipe", "int4", "--out", self.path("k.safetensors"))
        tensors, metadata = read_safetensors(self.path("k.safetensors"))
        self.assertEqual(tensors["codes"][:2], ("U8", [1, N, H, D // 2]))
        self.assertEqual(metadata["codes_dtype"], "s4")
        self.assertEqual(metadata["codes_shape"], f"[1, {N}, {H}, {D}]")

    def test_run_takes_the_files(self):
        """Every recipe with codes has the bits of floats, without smooth_q: its bias is made from dequantized keys."""
        values = {name: normal(N * H * D, seed) for name, seed in (("q", 6), ("k", 7), ("v", 8))}
        for name, data in values.items():
            write_npy(self.path(name + ".npy"), (1, N, H, D), data)
        floats = {name: ["--" + name, self.path(name + ".npy")] for name in "qkv"}
        for recipe in ("int8_fast,smooth_q=off", "int8_block", "int4,smooth_q=off", "int_flash", "int_flash_int4",
                       "sage1", "sage2_8b", "sage2_8b,q_group=16,k_group=128", "sage2pp", "fa3_fp8", "fp8_e5m2"):
            call = ["--recipe", recipe, "--causal", "--implementation", "reference"]
            self.ok("run", *floats["q"], *floats["k"], *floats["v"], *call, "--out", self.path("o.npy"), "--lse",
                    self.path("lse.npy"))
            shape, expected = read_npy(self.path("o.npy"))
            _, lse = read_npy(self.path("lse.npy"))
            files = dict(floats)
            for name in "qk" if recipe == "sage1" else "qkv":
                self.ok("quantize", self.path(name + ".npy"), "--role", name, "--recipe", recipe, "--out",
                        self.path(name + ".safetensors"))
                files[name] = ["--" + name, self.path(name + ".safetensors")]
            result = self.json("run", *files["q"], *files["k"], *files["v"], *call, "--out", self.path("o.npy"),
                               "--lse", self.path("lse.npy"))
            self.assertEqual(result["parameters"]["q"], f"[1, {N}, {H}, {D}]")
            self.assertEqual(read_npy(self.path("o.npy"))[0], shape)
            self.assertLess(relative_l2(read_npy(self.path("o.npy"))[1], expected), 1e-6)
            # What K's mean owes the LSE takes q as it is: before rounding, or after it.
            self.assertLess(relative_l2(read_npy(self.path("lse.npy"))[1], lse), 1e-2 if "int4" in recipe else 1e-3)

    def test_packed_sequences(self):
        """Each sequence has the codes that it has alone; run accepts the codes with the same cu_seqlens."""
        borders = [0, 7, 7, N]
        write_safetensors(self.path("cu.safetensors"), {"cu": ("I32", (len(borders),), struct.pack("<4i", *borders))})
        cu = self.path("cu.safetensors") + ":cu"
        write_npy(self.path("packed.npy"), (N, H, D), self.x)
        floats = [x for name in "qkv" for x in ("--" + name, self.path("packed.npy"))]
        for recipe in ("int8_fast,smooth_q=off", "int4,smooth_q=off", "int8_block"):
            call = ["--recipe", recipe, "--implementation", "reference", "--cu-seqlens-q", cu, "--cu-seqlens-k", cu]
            self.ok("run", *floats, *call, "--out", self.path("o.npy"))
            shape, expected = read_npy(self.path("o.npy"))
            codes = []
            for name in "qkv":
                self.ok("quantize", self.path("packed.npy"), "--role", name, "--recipe", recipe, "--cu-seqlens", cu,
                        "--out", self.path(name + ".safetensors"))
                codes += ["--" + name, self.path(name + ".safetensors")]
            tensors, _ = read_safetensors(self.path("k.safetensors"))
            self.assertEqual(tensors["cu_seqlens"][1], [len(borders)])
            self.assertEqual(tensors["mean"][1], [len(borders) - 1, H, D])
            self.ok("run", *codes, *call, "--out", self.path("o.npy"))
            self.assertEqual(read_npy(self.path("o.npy"))[0], shape)
            self.assertLess(relative_l2(read_npy(self.path("o.npy"))[1], expected), 1e-6)

    def test_packed_sequences_need_their_borders(self):
        write_npy(self.path("packed.npy"), (N, H, D), self.x)
        write_safetensors(self.path("cu.safetensors"), {"cu": ("I32", (2,), struct.pack("<2i", 0, N + 1))})
        cu = self.path("cu.safetensors") + ":cu"
        self.fails(2, ["cu_seqlens", str(N + 1)], "quantize", self.path("packed.npy"), "--cu-seqlens", cu)
        self.fails(2, "cu_seqlens", "quantize", self.path("x.npy"), "--cu-seqlens", cu)

    def test_codes_in_another_layout(self):
        write_npy(self.path("hnd.npy"), (1, H, N, D), swapped(self.x, N, H, D))
        for layout, name in (("NHD", "x"), ("HND", "hnd")):
            for role in "qkv":
                self.ok("quantize", self.path(name + ".npy"), "--role", role, "--recipe", "int_flash_int4", "--layout",
                        layout, "--out", self.path(f"{name}_{role}.safetensors"))
        call = ["--recipe", "int_flash_int4", "--implementation", "reference", "--out", self.path("o.npy")]
        self.ok("run", *(x for r in "qkv" for x in ("--" + r, self.path(f"x_{r}.safetensors"))), *call)
        shape, expected = read_npy(self.path("o.npy"))
        mixed = ["--q", self.path("hnd_q.safetensors"), "--k", self.path("x_k.safetensors"),
                 "--v", self.path("hnd_v.safetensors")]
        self.ok("run", *mixed, *call)
        self.assertEqual(read_npy(self.path("o.npy")), (shape, expected))
        self.ok("run", *mixed, "--layout", "HND", *call)
        self.assertEqual(read_npy(self.path("o.npy")), ((1, H, N, D), swapped(expected, N, H, D)))
        self.ok("compare", "int_flash_int4", "int_flash_int4,key_block=64", *mixed)

    def test_codes_of_somebody_else(self):
        """A file of codes with an odd head size, and invalid files."""
        heads, rows, dim = 2, 6, 5
        codes = bytes((3 * i) % 256 & 0x77 for i in range(rows * heads * 3))
        good = {"codes": ("U8", (1, rows, heads, 3), codes),
                "scales": ("F32", (1, heads, rows), array.array("f", [0.1] * heads * rows).tobytes())}
        words = {"recipe": "int_flash_int4", "role": "k", "layout": "NHD", "rotated": "0",
                 "codes_shape": f"[1, {rows}, {heads}, {dim}]"}
        x = normal(rows * heads * dim, 3)
        write_npy(self.path("y.npy"), (1, rows, heads, dim), x)
        call = ["run", "--q", self.path("y.npy"), "--k", self.path("k.safetensors"), "--v", self.path("y.npy"),
                "--recipe", "int_flash_int4"]
        write_safetensors(self.path("k.safetensors"), good, words)
        self.ok(*call)
        write_safetensors(self.path("k.safetensors"), good, {**words, "codes_shape": f"[1,{rows},{heads},{dim}]"})
        self.ok(*call)
        self.fails(2, ["quantized_v", "k"], *call[:3], "--k", self.path("y.npy"), "--v", self.path("k.safetensors"),
                   "--recipe", "int_flash_int4")
        self.fails(2, ["scores=s4", "scores=s8"], *call[:-1], "int_flash")
        for key, value, code in (("recipe", "int9", 4), ("recipe", "", 4), ("layout", "DHN", 4), ("rotated", "yes", 4),
                                 ("rotated", "1", 2), ("role", "p", 4), ("codes_shape", "[1, 6, 2, 8]", 4),
                                 ("codes_shape", "[5", 4), ("codes_shape", ",", 4), ("codes_shape", "[1, 6, 2, -5]", 4),
                                 ("codes_shape", "[1, 6, 2, 5, 5, 5, 5,", 4),  # on the heap, nothing after it
                                 ("codes_shape", "[1, 6, 2, 9223372036854775807]", 4)):
            write_safetensors(self.path("k.safetensors"), good, {**words, key: value})
            self.fails(code, key if code == 4 and value else "", *call)

    def test_an_output_has_a_file_of_its_own(self):
        write_safetensors(self.path("x.safetensors"), {"x": ("F32", (1, N, H, D), array.array("f", self.x).tobytes())})
        x = self.path("x.safetensors")
        self.fails(2, ["--out " + x, "the tensor's file " + x], "quantize", x + ":x", "--out", x)
        self.fails(2, ["--json " + x, "the tensor's file " + x], "quantize", x, "--json", x)
        write_npy(self.path("packed.npy"), (N, H, D), self.x)
        write_safetensors(self.path("cu.safetensors"), {"cu": ("I32", (2,), struct.pack("<2i", 0, N))})
        cu = self.path("cu.safetensors")
        self.fails(2, ["--out " + cu, "--cu-seqlens " + cu], "quantize", self.path("packed.npy"), "--cu-seqlens",
                   cu + ":cu", "--out", cu)
        self.ok("quantize", x + ":x")  # as it was

    def test_refusals(self):
        self.fails(3, "exact", "quantize", self.path("x.npy"), "--recipe", "exact")
        self.fails(2, "--role", "quantize", self.path("x.npy"), "--role", "p")
        self.fails(2, ".safetensors", "quantize", self.path("x.npy"), "--out", self.path("k.npy"))
        self.fails(4, "none.npy", "quantize", self.path("none.npy"))


if __name__ == "__main__":
    unittest.main()
