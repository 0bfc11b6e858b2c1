"""--device: a build without CUDA says so; on the emulated GPU the command gives the results of the CPU."""

import unittest

import command
from command import AttentionTest, SHAPE, attention, normal, read_npy, relative_l2, write_npy

EMULATED = command.os.environ["OCTAVO_EMULATED_TOOL"]
SMALL = ("--heads", 2, "--seqlen-q", 20, "--seqlen-k", 40, "--head-dim", 16, "--repeat", 2, "--threads", 1)


class Device(AttentionTest):
    def setUp(self):
        super().setUp()
        self.built, command.TOOL = command.TOOL, EMULATED
        self.addCleanup(setattr, command, "TOOL", self.built)

    def test_run_writes_what_the_cpu_writes(self):
        mask = self.path("sinks.npy")
        sinks = normal(SHAPE[2], 7)
        write_npy(mask, (SHAPE[2],), sinks)
        for device in ("cuda", "cuda:0"):
            out, lse = self.path("o.npy"), self.path("lse.npy")
            result = self.json("run", *self.files, "--recipe", "int8_fast", "--causal", "--sinks", mask, "--device",
                               device, "--out", out, "--lse", lse)
            self.assertEqual(result["implementation"], "sm80")
            self.assertEqual(result["parameters"]["device"], device)
            expected, expected_lse = attention(self.q, self.k, self.v, SHAPE, causal=True, sinks=sinks)
            self.assertLess(relative_l2(read_npy(out)[1], expected), 0.03)
            self.assertLess(relative_l2(read_npy(lse)[1], expected_lse), 0.01)

    def test_codes_move_too(self):
        codes, out, on_cpu = self.path("k.safetensors"), self.path("o.npy"), self.path("cpu.npy")
        self.ok("quantize", self.path("k.npy"), "--role", "k", "--recipe", "int8_fast", "--out", codes)
        files = self.files[:2] + ["--k", codes] + self.files[4:]
        self.ok("run", *files, "--recipe", "int8_fast", "--out", on_cpu)
        self.ok("run", *files, "--recipe", "int8_fast", "--device", "cuda", "--out", out)
        self.assertLess(relative_l2(read_npy(out)[1], read_npy(on_cpu)[1]), 0.01)

    def test_bench(self):
        result = self.json("bench", "attention", *SMALL, "--device", "cuda", "--recipe", "int8_fast")
        self.assertEqual(result["implementation"], "sm80")
        self.assertEqual(result["parameters"]["device"], "cuda")
        self.assertLess(0, result["gops"])
        beforehand = self.json("bench", "attention", *SMALL, "--device", "cuda", "--recipe", "int8_fast",
                               "--with-quantization", "false")
        self.assertFalse(beforehand["with_quantization"])
        shape = ("--heads", 4, "--kv-heads", 2, "--seqlen-k", 200, "--head-dim", 64, "--repeat", 1, "--threads", 1)
        decode = self.json("bench", "decode", *shape, "--device", "cuda")
        self.assertEqual((decode["implementation"], decode["parameters"]["device"]), ("sm80", "cuda"))
        self.assertLess(0, decode["append_us"]["median"])
        of_floats = self.json("bench", "decode", *shape, "--cache", "f32", "--device", "cuda")
        self.assertEqual(of_floats["implementation"], "sm80")
        self.assertEqual(self.json("bench", "quantize", *SMALL, "--device", "cuda")["implementation"], "sm80")

    def test_refusals(self):
        run = ("run", *self.files, "--recipe", "int8_fast", "--device")
        self.fails(2, ["cuda:1", "sees 1 CUDA devices"], *run, "cuda:1")
        for device in ("gpu", "cuda0", "cuda:", "cuda:-1", "cuda:x"):
            self.fails(2, [device, "cuda:INDEX"], *run, device)
        self.fails(2, ["scalar", "CPU"], *run, "cuda", "--implementation", "scalar")
        self.fails(3, "CPU tensors only", "compare", "int8_fast", "exact", *self.files, "--device",
                   "cuda")

    def test_a_build_without_cuda(self):
        command.TOOL = self.built
        for arguments in (("run", *self.files), ("bench", "attention", *SMALL), ("bench", "quantize", *SMALL)):
            self.fails(3, ["--device cuda", "CUDA"], *arguments, "--device", "cuda")


if __name__ == "__main__":
    unittest.main()
