"""octavo quantize: the file that is written dequantizes to the tensor that was read."""

import array
import unittest

from command import CommandTest, normal, read_safetensors, relative_l2, write_npy

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

    def test_four_bits_are_written_as_bytes(self):
        self.ok("quantize", self.path("x.npy"), "--role", "k", "--recipe", "int4", "--out", self.path("k.safetensors"))
        tensors, metadata = read_safetensors(self.path("k.safetensors"))
        self.assertEqual(tensors["codes"][:2], ("U8", [1, N, H, D // 2]))
        self.assertEqual(metadata["codes_dtype"], "s4")
        self.assertEqual(metadata["codes_shape"], f"[1, {N}, {H}, {D}]")

    def test_refusals(self):
        self.fails(3, "exact", "quantize", self.path("x.npy"), "--recipe", "exact")
        self.fails(2, "--role", "quantize", self.path("x.npy"), "--role", "p")
        self.fails(2, ".safetensors", "quantize", self.path("x.npy"), "--out", self.path("k.npy"))
        self.fails(4, "none.npy", "quantize", self.path("none.npy"))


if __name__ == "__main__":
    unittest.main()
