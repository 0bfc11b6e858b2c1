"""octavo bench: figures are consistent with times, and flags take effect."""

import os
import resource
import unittest

from command import CommandTest

SMALL = ("--batch", 2, "--heads", 4, "--kv-heads", 2, "--seqlen-q", 40, "--seqlen-k", 70, "--head-dim", 16,
         "--value-head-dim", 24, "--repeat", 3, "--threads", 1)


class Bench(CommandTest):
    def attention(self, *arguments):
        result = self.json("bench", "attention", *SMALL, *arguments)
        self.assertEqual(result["schema_version"], 1)
        time = result["time_us"]
        self.assertLess(0, time["min"])
        self.assertLessEqual(time["min"], time["median"])
        self.assertLessEqual(time["median"], time["max"])
        self.assertIn("processor", result["machine"])
        self.assertEqual(result["machine"]["system"], os.uname().sysname)  # and no release: results are published
        return result

    def pairs(self, *arguments):
        """gops * time, back to visible pairs."""
        result = self.attention(*arguments)
        return result["gops"] * result["time_us"]["median"] * 1e3 / (2 * 2 * 4 * (16 + 24))

    def test_gops_count_visible_pairs(self):
        self.assertAlmostEqual(self.pairs(), 40 * 70, places=3)
        self.assertAlmostEqual(self.pairs("--causal"), sum(i + 31 for i in range(40)), places=3)
        self.assertAlmostEqual(self.pairs("--causal=top_left"), sum(i + 1 for i in range(40)), places=3)
        self.assertAlmostEqual(self.pairs("--causal", "--window", "7,0"), 40 * 8, places=3)
        self.assertAlmostEqual(self.pairs("--window", "2,1"), sum(min(69, i + 31) - (i + 28) + 1 for i in range(40)),
                               places=3)

    def test_choose_times_every_implementation(self):
        shape = ("--heads", 2, "--seqlen-q", 64, "--head-dim", 32, "--repeat", 3, "--threads", 1)
        result = self.json("bench", "choose", *shape, "--recipes", "int8", "exact", "--tolerance", 1000)
        known = {entry["name"] for entry in self.json("info")["implementations"] if entry["supported"]}
        self.assertEqual([entry["recipe"] for entry in result["recipes"]], ["int8", "exact"])
        for entry in result["recipes"]:
            times = {name: time["median"] for name, time in entry["time_us"].items()}
            self.assertLessEqual(set(times), known - {"reference"})
            self.assertIn(entry["chosen"], times)
            self.assertEqual(entry["fastest"], min(times, key=times.get))
            self.assertAlmostEqual(entry["ratio"], times[entry["chosen"]] / min(times.values()), places=6)
        self.fails(2, ["--implementation"], "bench", "choose", "--implementation", "scalar")
        self.fails(2, ["nothing"], "bench", "choose", *shape, "--recipes", "nothing")

    def test_workspace_grows_with_keys(self):
        of_keys = lambda keys: self.json("bench", "attention", "--heads", 1, "--seqlen-q", 8, "--seqlen-k", keys,
                                         "--head-dim", 16, "--repeat", 1, "--threads", 1)["workspace_bytes"]
        # A code of one byte for each channel of a key and of a value, at the least.
        self.assertLessEqual(2048 * 2 * 16, of_keys(4096) - of_keys(2048))

    def test_parameters_are_reported(self):
        result = self.attention("--recipe", "int8,smooth_q=off", "--dtype", "bf16", "--implementation", "scalar")
        self.assertEqual(result["implementation"], "scalar")
        self.assertTrue(result["with_quantization"])
        parameters = result["parameters"]
        self.assertEqual(parameters["recipe"], "int8,smooth_q=off")
        self.assertEqual(parameters["dtype"], "bf16")
        self.assertEqual([parameters[key] for key in ("batch", "heads", "kv_heads", "seqlen_q", "seqlen_k", "head_dim",
                                                      "value_head_dim", "threads")], [2, 4, 2, 40, 70, 16, 24, 1])

    def test_operands_can_be_quantized_beforehand(self):
        result = self.attention("--with-quantization", "false")
        self.assertFalse(result["with_quantization"])
        self.assertFalse(self.attention("--recipe", "exact", "--with-quantization", "false")["with_quantization"])

    def test_quantize(self):
        for role in "qkv":
            result = self.json("bench", "quantize", *SMALL, "--role", role)
            self.assertEqual(result["parameters"]["role"], role)
            self.assertGreater(result["input_gbs"], 0)

    def test_decode(self):
        result = self.json("bench", "decode", *SMALL[:-4], "--repeat", 3, "--threads", 1, "--cache", "f16")
        self.assertEqual((result["schema_version"], result["kind"]), (1, "decode"))
        for times in (result["time_us"], result["append_us"]):
            self.assertTrue(0 < times["min"] <= times["median"] <= times["max"])
        parameters = result["parameters"]
        self.assertEqual([parameters[key] for key in ("cache", "seqlen_q", "seqlen_k", "kv_heads", "page_size")],
                         ["f16", 40, 70, 2, 0])
        self.assertNotIn("recipe", parameters)
        self.assertAlmostEqual(result["cache_gbs"], result["cache_bytes"] / result["time_us"]["median"] / 1e3)
        # 70 tokens, in strips of 16, of 2 sequences and 2 heads; 24 channels of V are stored as 32.
        self.assertGreaterEqual(result["cache_bytes"], 2 * 2 * 80 * 2 * (16 + 32))
        self.assertLess(result["cache_bytes"], 2 * 2 * 80 * 2 * (16 + 32) + 4096)

    def test_decode_formats(self):
        of = lambda *options: self.json("bench", "decode", "--seqlen-k", 2000, "--repeat", 1, "--threads", 1, *options)
        default = of()
        shape = [default["parameters"][key] for key in ("cache", "heads", "kv_heads", "seqlen_q", "head_dim")]
        self.assertEqual(shape, ["s8", 32, 8, 1, 128])
        tokens = 2000 * 8 * 256
        self.assertLess(4 * tokens, of("--cache", "f32")["cache_bytes"])
        self.assertLess(default["cache_bytes"], 1.2 * tokens)
        self.assertLess(of("--kept-keys", "false")["cache_bytes"], default["cache_bytes"])
        self.assertEqual(of("--page-size", 64)["parameters"]["page_size"], 64)
        self.fails(2, "--cache s16; allowed are s8, s4, e4m3, f32, f16 and bf16", "bench", "decode", "--cache", "s16")
        self.fails(2, "page_size is 20", "bench", "decode", "--page-size", 20)
        self.fails(2, "--page-size", "bench", "decode", "--page-size", -16)
        self.fails(3, "more memory than any machine has", "bench", "decode", "--seqlen-k", 10**11)

    def test_peak(self):
        result = self.json("bench", "peak", "--threads", 1)
        self.assertEqual(result["parameters"]["threads"], 1)
        self.assertGreater(result["dram_gbs"], 0.1)
        for key in ("vnni_gops", "bf16_gflops", "f16_gflops", "f32_gflops", "amx_int8_gops", "amx_bf16_gflops"):
            self.assertIn(key, result)
            self.assertEqual(result[key] is None, result["instructions"][key.rsplit("_", 1)[0]] is None)
            if result[key] is not None:
                self.assertGreater(result[key], 0.1)

    def test_peak_beside_a_call(self):
        result = self.attention("--peak")
        share, peak = result["fraction_of_vnni_peak"], result["vnni_gops"]
        self.assertEqual([x is None for x in (share, result["vnni_cpu_share"])], [peak is None] * 2)
        if peak is not None:
            self.assertAlmostEqual(share, result["gops"] / peak)
            self.assertGreater(result["vnni_cpu_share"], 0)
        self.assertNotIn("vnni_gops", self.attention())

    @unittest.skipIf("ASAN_OPTIONS" in os.environ, "a sanitizer's shadow memory alone is more than the limit")
    def test_peak_of_more_threads_than_there_can_be(self):
        """Address space for a few stacks only."""
        few = 1 << 30
        self.fails(3, ["of 1000 could not be started", "--threads"], "bench", "peak", "--threads", 1000,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (few, few)))

    def test_refusals(self):
        self.fails(2, ["nonsense", "int8"], "bench", "attention", *SMALL, "--recipe", "nonsense")
        self.fails(2, "--window", "bench", "attention", *SMALL, "--window", "3")
        self.fails(2, "--causal", "bench", "attention", *SMALL, "--causal=sideways")
        self.fails(2, "f8", "bench", "attention", *SMALL, "--dtype", "f8")
        self.fails(2, "--batch", "bench", "attention", "--batch", "0")
        self.fails(2, ["mmx", "reference"], "bench", "attention", *SMALL, "--implementation", "mmx")
        self.fails(2, "OCTAVO_NUM_THREADS", "bench", "attention", *SMALL[:-2], env={"OCTAVO_NUM_THREADS": "many"})
        self.fails(3, "CUDA", "bench", "attention", *SMALL, "--device", "cuda")
        self.fails(3, "exact", "bench", "quantize", *SMALL, "--recipe", "exact")
        self.fails(2, "--repeat: '1.5' is no whole number in 1..", "bench", "attention", "--repeat", "1.5")
        self.fails(2, "--scale: 'nan' is not a finite number", "bench", "attention", *SMALL, "--scale", "nan")

    def test_memory_that_is_not_there(self):
        huge = ("--seqlen-q", 10**12, "--head-dim", 512)
        self.fails(3, ["out of memory", "tensor 'q' [1, 1000000000000, 8, 512]"], "bench", "attention", *huge)
        self.fails(3, ["out of memory", "tensor 'x'"], "bench", "quantize", *huge)


if __name__ == "__main__":
    unittest.main()
