"""The Python package over an emulated GPU: arrays of a producer with DLPack, as CuPy's, on a device."""

import ctypes
import importlib.util
import os
import sys
import unittest

import numpy as np

spec = importlib.util.spec_from_file_location("octavo._core", os.environ["OCTAVO_EMULATED_CORE"])
sys.modules["octavo._core"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["octavo._core"])
import octavo  # noqa: E402
from octavo import _core  # noqa: E402

DTYPES = {
    np.dtype(np.float32): _core.DType.f32,
    np.dtype(np.float16): _core.DType.f16,
    np.dtype(np.int8): _core.DType.s8,
    np.dtype(np.int64): _core.DType.s64,
    np.dtype(np.bool_): _core.DType.bool,
}


class Namespace:
    @staticmethod
    def from_dlpack(x):
        return Gpu.from_dlpack(x)


class Gpu:
    """An array on device 0, whose memory is the host's here."""

    def __init__(self, shape, dtype):
        self.made = _core.device_array(0, dtype, shape)
        self.shape = tuple(shape)
        self.dtype = next(numpy_dtype for numpy_dtype, name in DTYPES.items() if name == dtype)
        self.nbytes = self.dtype.itemsize * int(np.prod(self.shape))

    @classmethod
    def of(cls, x):
        made = cls(x.shape, DTYPES[x.dtype])
        ctypes.memmove(made.made.view.data, np.ascontiguousarray(x).ctypes.data, made.nbytes)
        return made

    @classmethod
    def from_dlpack(cls, exported):
        """From an object with DLPack; not from a bare capsule, which neither the standard nor JAX takes."""
        assert exported.__dlpack_device__() == (2, 0)
        tensor = _core.from_dlpack(exported.__dlpack__())
        made = cls(tensor.shape, tensor.dtype)
        ctypes.memmove(made.made.view.data, tensor.data, made.nbytes)
        return made

    def numpy(self):
        x = np.empty(self.shape, self.dtype)
        ctypes.memmove(x.ctypes.data, self.made.view.data, self.nbytes)
        return x

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream=None, **options):
        assert stream == 1, "the consumer's stream is the legacy default stream"
        return self.made.dlpack()

    def __array_namespace__(self):
        return Namespace

    @property
    def __cuda_array_interface__(self):
        return {"data": (self.made.view.data, False), "shape": self.shape, "typestr": self.dtype.str, "version": 3}


def rows(*shape, seed, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def relative_l2(a, b):
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))


class Attention(unittest.TestCase):
    def setUp(self):
        self.q, self.k, self.v = rows(1, 20, 4, 32, seed=1), rows(1, 40, 2, 32, seed=2), rows(1, 40, 2, 32, seed=3)
        self.on_gpu = [Gpu.of(x) for x in (self.q, self.k, self.v)]

    def test_results_are_the_producers(self):
        o, lse = octavo.attention(*self.on_gpu, recipe="int8_fast", causal=True, return_lse=True)
        self.assertEqual(octavo.info()["last_implementation"], "sm80")
        expected, expected_lse = octavo.attention(self.q, self.k, self.v, recipe="int8_fast", causal=True,
                                                  return_lse=True)
        self.assertIs(type(o), Gpu)
        self.assertLess(relative_l2(o.numpy(), expected), 5e-3)
        self.assertLess(relative_l2(lse.numpy(), expected_lse), 1e-4)

    def test_out_and_stream(self):
        out = Gpu.of(np.zeros_like(self.q))
        result = octavo.attention(*self.on_gpu, recipe="int8_fast", out=out, stream=0)
        self.assertIs(result, out)
        np.testing.assert_array_equal(out.numpy(), octavo.attention(*self.on_gpu, recipe="int8_fast").numpy())

    def test_one_place(self):
        with self.assertRaisesRegex(RuntimeError, "k is on the CPU and q on cuda:0"):
            octavo.attention(self.on_gpu[0], self.k, self.v)


class VarlenCodes(unittest.TestCase):
    def setUp(self):
        self.starts = np.array([0, 5, 5, 150, 190])
        self.q, self.k, self.v = rows(190, 4, 32, seed=1), rows(190, 2, 32, seed=2), rows(190, 2, 32, seed=3)

    def quantized(self, x, role, recipe):
        here = octavo.quantize(x, role=role, recipe=recipe, cu_seqlens=self.starts)
        there = octavo.quantize(Gpu.of(x), role=role, recipe=recipe, cu_seqlens=Gpu.of(self.starts))
        return here, there

    def test_codes_and_results_are_the_cpus(self):
        for recipe in ("int8_fast", "int8_block,smooth_q=on"):
            here, there = zip(*(self.quantized(x, role, recipe) for x, role in zip((self.q, self.k, self.v), "qkv")))
            for a, b in zip(here, there):
                np.testing.assert_array_equal(b.codes.numpy(), a.codes)
                np.testing.assert_array_equal(b.scales.numpy()[:, : a.scales.shape[1]], a.scales)
                self.assertEqual(b.dequantize().numpy().tobytes(), a.dequantize().tobytes())
            np.testing.assert_array_equal(there[0].mean.numpy()[:, : here[0].mean.shape[1]], here[0].mean)
            expected = octavo.attention(*here, recipe=recipe, cu_seqlens_q=self.starts, cu_seqlens_k=self.starts)
            starts = Gpu.of(self.starts)
            o = octavo.attention(*there, recipe=recipe, cu_seqlens_q=starts, cu_seqlens_k=starts)
            self.assertLess(relative_l2(o.numpy(), expected), 5e-3)

    def test_refusals(self):
        with self.assertRaisesRegex(ValueError, "cu_seqlens is on the CPU and x on CUDA device 0"):
            octavo.quantize(Gpu.of(self.k), role="k", cu_seqlens=self.starts)


class PaddedCodes(unittest.TestCase):
    def test_codes_and_results_are_the_cpus(self):
        x, q = rows(2, 150, 2, 32, seed=1), rows(2, 20, 2, 32, seed=2)
        lens, exists = np.array([90, 150]), np.random.default_rng(3).random((2, 150)) < 0.8
        recipe = "int8_fast,smooth_q=off"
        padding = {"kv_lens": lens, "key_mask": exists}
        on_gpu = {"kv_lens": Gpu.of(lens), "key_mask": Gpu.of(exists)}
        here, there = [], []
        for role in "kv":
            here.append(octavo.quantize(x, role=role, recipe=recipe, **padding))
            there.append(octavo.quantize(Gpu.of(x), role=role, recipe=recipe, **on_gpu))
            np.testing.assert_array_equal(there[-1].codes.numpy(), here[-1].codes)
            np.testing.assert_array_equal(there[-1].scales.numpy(), here[-1].scales)
        np.testing.assert_array_equal(there[0].mean.numpy(), here[0].mean)
        expected = octavo.attention(q, *here, recipe=recipe, **padding)
        o = octavo.attention(Gpu.of(q), *there, recipe=recipe, **on_gpu)
        self.assertLess(relative_l2(o.numpy(), expected), 5e-3)


class Cache(unittest.TestCase):
    def setUp(self):
        self.k, self.v = rows(2, 150, 2, 64, seed=1), rows(2, 150, 2, 64, seed=2)
        self.host = octavo.KVCache(2, 2, 64, capacity=256)
        self.cache = octavo.KVCache(2, 2, 64, capacity=256, device="cuda")
        self.host.append(self.k, self.v)
        self.cache.append(Gpu.of(self.k), Gpu.of(self.v))

    def test_attention_is_the_cpus(self):
        self.assertEqual((self.cache.device, self.host.device), ("cuda:0", "cpu"))
        self.assertEqual(self.cache.lengths, [150, 150])
        q = rows(2, 2, 8, 64, seed=3)
        expected, expected_lse = self.host.attend(q, return_lse=True)
        o, lse = self.cache.attend(Gpu.of(q), return_lse=True)
        self.assertIs(type(o), Gpu)
        self.assertLess(relative_l2(o.numpy(), expected), 1e-4)
        self.assertLess(relative_l2(lse.numpy(), expected_lse), 1e-5)
        out = Gpu.of(np.zeros_like(q))
        self.assertIs(octavo.attention(Gpu.of(q), self.cache, causal=True, out=out, stream=0), out)
        np.testing.assert_array_equal(out.numpy(), o.numpy())
        for cache in (self.host, self.cache):
            cache.trim(0, 100)
            cache.reset([1])
        one = rows(1, 2, 8, 64, seed=4)
        self.assertLess(relative_l2(self.cache.attend(Gpu.of(one), [0]).numpy(), self.host.attend(one, [0])), 1e-4)

    def test_formats_masks_and_packed_queries(self):
        mask, slopes = rows(150, seed=5), rows(8, seed=6)
        q = rows(4, 8, 64, seed=7)
        for name in ("s4", "e4m3", "f16", "bf16", "f32"):
            host = octavo.KVCache(2, 2, 64, capacity=256, format=name)
            cache = octavo.KVCache(2, 2, 64, capacity=256, format=name, device="cuda")
            host.append(self.k, self.v)
            cache.append(Gpu.of(self.k), Gpu.of(self.v))
            options = {"cu_seqlens_q": [0, 1, 4]}
            expected = host.attend(q, mask=mask, alibi_slopes=slopes, **options)
            o = cache.attend(Gpu.of(q), mask=Gpu.of(mask), alibi_slopes=Gpu.of(slopes), **options)
            self.assertLess(relative_l2(o.numpy(), expected), 1e-3 if name == "s4" else 1e-5)

    def test_fork_reorder_save_and_load(self):
        for cache in (self.host, self.cache):
            cache.trim(0, 100)
            cache.fork(1, 0)
            cache.trim(1, 70)
            cache.reorder([1, 0])
        saved = self.cache.save()
        self.assertEqual(saved, self.host.save())
        for device in ("cpu", "cuda:0"):
            loaded = octavo.KVCache.load(saved, device)
            self.assertEqual((loaded.device, loaded.lengths), (device, [70, 150]))
            self.assertEqual(loaded.save(), saved)

    def test_refusals(self):
        with self.assertRaisesRegex(ValueError, "on the CPU and the key-value cache is on CUDA device 0"):
            self.cache.append(self.k[:, :1], self.v[:, :1])
        with self.assertRaisesRegex(ValueError, "on CUDA device 0 and the key-value cache is on the CPU"):
            self.host.append(Gpu.of(self.k[:, :1]), Gpu.of(self.v[:, :1]))
        with self.assertRaisesRegex(ValueError, "CUDA device 3; this process sees 1 device"):
            octavo.KVCache(1, 1, 64, capacity=64, device="cuda:3")
        with self.assertRaisesRegex(ValueError, "device: 'gpu'; 'cpu', 'cuda' and 'cuda:INDEX'"):
            octavo.KVCache(1, 1, 64, capacity=64, device="gpu")
        with self.assertRaisesRegex(NotImplementedError, "keep_first is 1 and 148 tokens would be evicted"):
            self.cache.evict(0, 1, 1)
        with self.assertRaisesRegex(ValueError, "cu_seqlens_q is on a device; it must be on the CPU"):
            starts = Gpu.of(np.array([0, 1, 2]).astype(np.float32))
            self.cache.attend(Gpu.of(rows(2, 8, 64, seed=1)), cu_seqlens_q=starts)
        with self.assertRaisesRegex(ValueError, "tokens is 107; sequence 0 has 150 of 256"):
            self.cache.advance(107)


if __name__ == "__main__":
    unittest.main()
