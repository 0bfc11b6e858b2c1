"""Every error: its type and its message."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import octavo

F32 = np.float32


def ones(*shape, dtype=F32):
    return np.ones(shape, dtype)


Q, K, V = ones(2, 5, 4, 16), ones(2, 9, 2, 16), ones(2, 9, 2, 24)


def test_the_call_itself_is_legal():
    assert octavo.attention(Q, K, V).shape == (2, 5, 4, 24)


@pytest.mark.parametrize(
    "q, k, v, message",
    [
        (ones(5, 4, 16), K, V, "q .*4 axes"),
        (ones(2, 5, 4, 16, 1), K, V, "q: rank 5"),
        (F32(1), K, V, "q: rank 0"),
        (ones(16), K, V, "q "),
        (ones(3, 5, 4, 16), K, V, "batch"),
        (ones(2, 5, 3, 16), K, V, "heads"),
        (ones(2, 5, 4, 17), K, V, "head_dim"),
        (Q, K, ones(2, 8, 2, 24), "rows"),
        (Q, K, ones(2, 9, 1, 24), "heads"),
        (ones(2, 5, 4, 0), ones(2, 9, 2, 0), V, "head_dim"),
        (ones(2, 5, 0, 16), K, V, "heads"),
        (Q.astype(np.float16), K, V, "one dtype"),
        (Q.astype(np.float64), K.astype(np.float64), V.astype(np.float64), "f64"),
        (Q.astype(np.int8), K.astype(np.int8), V.astype(np.int8), "s8"),
        (Q.astype(np.int64), K, V, "s64"),
        (Q.astype(bool), K, V, "bool"),
        (Q.astype(np.complex64), K, V, "q: dtype complex64"),
        (Q.astype(np.longdouble), K, V, "q: dtype (float128|longdouble)"),
        (Q.astype("U4"), K, V, "q: dtype <U4"),
        (Q.astype(object), K, V, "q: dtype object"),
        (Q, K.astype(">f4"), V, "k: dtype >f4.*byte order"),
        (Q.astype(ml_dtypes.float8_e4m3fn), K, V, "e4m3"),
    ],
)  # fmt: skip
def test_operands(q, k, v, message):
    with pytest.raises(ValueError, match=message):
        octavo.attention(q, k, v)


@pytest.mark.parametrize("value", [[[1.0]], None, 1.0, "q", {"a": 1}, object()])
def test_not_an_array(value):
    for operands, name in (((value, K, V), "q"), ((Q, value, V), "k"), ((Q, K, value), "v")):
        # A string and a number are no arrays either, whatever protocol they have.
        with pytest.raises(TypeError, match=f"^{name}: a .* is not an array"):
            octavo.attention(*operands)
    with pytest.raises(TypeError, match="x: "):
        octavo.quantize(value, role="q")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"recipe": "int9"}, "int9"),
        ({"recipe": 8}, "recipe: 8"),
        ({"recipe": "int8,key_block=77"}, "key_block"),
        ({"recipe": "int8\0"}, r'recipe "int8\\x00" is unknown; recipes are int8'),
        ({"recipe": "int8\ud800"}, r'recipe "int8\\ud800" is unknown; recipes are int8'),
        ({"recipe": "int8,key_block=64,key_block=128"}, 'field key_block stands twice in "int8,key_block=64,'),
        ({"causal": "left"}, "causal: 'left'.*top_left"),
        ({"causal": 2}, "causal: 2"),
        ({"causal": [True]}, "causal"),
        ({"scale": float("nan")}, "scale: NaN"),
        ({"scale": float("inf")}, "scale.*inf"),
        ({"scale": 10**400}, "scale: 1000.*; numbers up to 1.8e308 are allowed"),
        ({"scale": -(10**5000)}, "scale: an integer of 16610 bits; numbers"),
        ({"softcap": Fraction(10**400)}, r"softcap: Fraction.*\.\.\..*; numbers"),
        ({"window": (-2, 0)}, "window.*-2"),
        ({"window": (-(2**80), 0)}, "window"),
        ({"window": 3}, "window: 3"),
        ({"window": (1,)}, "window"),
        ({"window": (1.5, 2)}, "window"),
        ({"window": np.array([1, 2, 3])}, r"window: array\(\[1, 2, 3\]\); a pair of integers"),
        ({"window": np.array([1.0, 2.0])}, "window: array.*a pair of integers"),
        ({"window": (10**5000, "x")}, "window: a tuple; a pair of integers"),
        ({"softcap": -1.0}, "softcap.*-1"),
        ({"softcap": float("inf")}, "softcap"),
        ({"mask": ones(5, 9, dtype=np.int32)}, "mask.*s32"),
        ({"mask": ones(5, 9, dtype=np.uint8)}, "mask.*u8"),
        ({"mask": ones(5, 9, dtype=np.complex64)}, "mask: dtype complex64 .*allowed: bool, float32.* and float64"),
        ({"mask": ones(5, 9, dtype=np.longdouble)}, "mask: dtype (float128|longdouble) .*allowed: bool.* and float64"),
        ({"sinks": ones(4, dtype=np.complex64)}, "sinks: dtype complex64 .*allowed: float32.* and float64"),
        ({"kv_lens": ones(2, dtype=np.complex64)}, "kv_lens: dtype complex64 .*allowed: int32 and int64"),
        ({"mask": np.array(True)}, "mask: rank 0"),
        ({"mask": ones(1, 2, 4, 5, 9)}, "mask: rank 5"),
        ({"mask": ones(5, 8)}, "mask.*broadcast"),
        ({"sinks": ones(3)}, "sinks"),
        ({"sinks": ones(4, dtype=np.int32)}, "sinks.*s32"),
        ({"alibi_slopes": ones(3)}, "alibi_slopes"),
        ({"alibi": "both", "alibi_slopes": ones(4)}, "alibi: 'both'; 'causal' and 'symmetric' are allowed"),
        ({"alibi": "symmetric"}, "alibi is symmetric and alibi_slopes are missing"),
        ({"alibi_slopes": [1.0, 2.0]}, r"alibi_slopes has shape \[2\]"),
        ({"sinks": ["a", "b", "c", "d"]}, r"sinks: \['a', .*; an array or a list of numbers is allowed"),
        ({"sinks": [[1.0], [2.0, 3.0]]}, "sinks: .*; an array or a list of numbers is allowed"),
        ({"kv_lens": [1.5, 2.0]}, "kv_lens is f64; allowed are s32 and s64"),
        ({"kv_lens": [True, False]}, "kv_lens is bool; allowed are s32 and s64"),
        ({"kv_lens": [2**70, 1]}, "kv_lens: dtype object .*allowed: int32 and int64"),
        ({"kv_lens": []}, r"kv_lens has shape \[0\]; it must be \[batch\]"),
        ({"kv_lens": [1, 10]}, "kv_lens.*10"),
        ({"kv_lens": np.array([1, 10])}, "kv_lens.*10"),
        ({"kv_lens": np.array([1, -1])}, "kv_lens.*-1"),
        ({"kv_lens": np.array([1])}, "kv_lens"),
        ({"kv_lens": ones(2)}, "kv_lens.*f32"),
        ({"layout": "BSHD"}, "layout: 'BSHD'.*HND"),
        ({"layout": "HND"}, "."),
        ({"out_dtype": "float64"}, "out_dtype.*float64"),
        ({"out_dtype": np.int8}, "out_dtype"),
        ({"out": ones(2, 5, 4, 23)}, "out .*shape"),
        ({"out": ones(2, 5, 4, 24, dtype=np.float16)}, "out.*f16"),
        ({"out": ones(2, 5, 4, 24), "out_dtype": "float16"}, "out.*f32.*f16"),
        ({"out": np.broadcast_to(F32(1), (2, 5, 4, 24))}, "out.*read-only"),
        ({"workspace": ones(4)}, "workspace.*f32"),
        ({"stream": 1}, "stream"),
        ({"stream": "default"}, "stream"),
        ({"cu_seqlens_q": np.array([0, 5])}, "cu_seqlens_k"),
        ({"key_mask": np.ones((2, 9), np.uint8)}, "key_mask is u8; it must be bool"),
        ({"key_mask": np.ones((2, 8), bool)}, r"key_mask has shape \[2, 8\]; it must be \[2, 9\]"),
    ],
)  # fmt: skip
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        octavo.attention(Q, K, V, **options)


@pytest.mark.parametrize("name", ["scale", "softcap"])
@pytest.mark.parametrize("value", ["0.5", b"1", "big", 1j, np.complex64(1), [1.0], np.ones(2)])
def test_numbers(name, value):
    with pytest.raises(ValueError, match=f"^{name}: .* is not a number; a float or an integer is allowed"):
        octavo.attention(Q, K, V, **{name: value})


def test_numbers_of_other_libraries():
    expected = octavo.attention(Q, K, V, scale=0.5, softcap=2.0, window=(1, 2))
    for half, two in ((np.float32(0.5), np.int8(2)), (np.array(0.5), np.array(2)), (Fraction(1, 2), Fraction(2))):
        for window in ([1, 2], np.array([1, 2]), (np.int64(1), np.uint8(2)), range(1, 3)):
            assert np.array_equal(octavo.attention(Q, K, V, scale=half, softcap=two, window=window), expected)


@pytest.mark.parametrize("name", ["mask", "key_mask", "out", "workspace"])
def test_options_that_are_no_arrays(name):
    with pytest.raises(TypeError, match=f"{name}: a list is not an array"):
        octavo.attention(Q, K, V, **{name: [1, 2]})


def test_out_overlaps_an_input():
    q = ones(2, 5, 4, 16)
    with pytest.raises(ValueError, match="out.*overlap|overlap.*out"):
        octavo.attention(q, K, K, out=q)


def test_small_workspace():
    size = octavo.workspace_size(Q, K, V)
    if size == 0:
        pytest.skip("this implementation needs no scratch memory")
    with pytest.raises(ValueError, match="workspace"):
        octavo.attention(Q, K, V, workspace=np.empty(8, np.uint8))


def test_packed():
    q, k, starts = ones(5, 4, 16), ones(9, 2, 16), np.array([0, 5])
    with pytest.raises(ValueError, match="4 axes"):
        octavo.attention(q, k, k)
    with pytest.raises(ValueError, match="3 axes"):
        octavo.attention(Q, K, V, cu_seqlens_q=starts, cu_seqlens_k=starts)
    with pytest.raises(ValueError, match="cu_seqlens_k ends with 5.*9"):
        octavo.attention(q, k, k, cu_seqlens_q=starts, cu_seqlens_k=starts)
    with pytest.raises(ValueError, match="cu_seqlens_q begins with 1"):
        octavo.attention(q, k, k, cu_seqlens_q=np.array([1, 5]), cu_seqlens_k=np.array([0, 9]))
    with pytest.raises(ValueError, match="kv_lens and cu_seqlens"):
        octavo.attention(q, k, k, cu_seqlens_q=starts, cu_seqlens_k=np.array([0, 9]), kv_lens=np.array([9]))


def test_unsupported_is_not_an_argument_error():
    wide = ones(1, 2, 1, 577)
    with pytest.raises(NotImplementedError, match="577.*576"):
        octavo.attention(wide, wide, wide)


def test_errors_leave_out_alone():
    out = np.full((2, 5, 4, 24), 7, F32)
    with pytest.raises(ValueError):
        octavo.attention(Q, K, V, out=out, softcap=-1)
    assert np.all(out == 7)


class OnCuda:
    def __dlpack_device__(self):
        return (2, 1)

    def __dlpack__(self, **keymessage):
        raise AssertionError("a tensor on another device is refused before its memory is asked for")


class OnMetal(OnCuda):
    def __dlpack_device__(self):
        return (8, 0)


def test_other_devices():
    # Whatever this build and this machine lack: CUDA, a driver, a device.
    why = octavo._core.no_devices() or "one device"
    with pytest.raises(RuntimeError, match=f"q is on cuda:1.*{why}"):
        octavo.attention(OnCuda(), K, V)
    with pytest.raises(RuntimeError, match=f"x is on cuda:1.*{why}"):
        octavo.quantize(OnCuda(), role="q")
    with pytest.raises(RuntimeError, match=f"lse_b is on cuda:1.*{why}"):
        octavo.merge_state(np.zeros((1, 2, 3, 4), F32), np.zeros((1, 3, 2), F32), np.zeros((1, 2, 3, 4), F32), OnCuda())
    with pytest.raises(RuntimeError, match="mask is on cuda:1"):
        octavo.attention(Q, K, V, mask=OnCuda())
    with pytest.raises(RuntimeError, match="v is on DLPack device 8"):
        octavo.attention(Q, K, OnMetal())


class Producer:
    """An array that reports the CPU as its device and has configurable DLPack methods."""

    def __init__(self, give, device=lambda: (1, 0)):
        self.give, self.device = give, device

    def __dlpack_device__(self):
        return self.device()

    def __dlpack__(self, **keymessage):
        return self.give()


def raises(error):
    def give():
        raise error

    return give


@pytest.mark.parametrize("error", [KeyError("boom"), TypeError("boom"), BufferError("boom")])
def test_a_producer_that_raises(error):
    kind = type(error).__name__
    with pytest.raises(RuntimeError, match=f"^k: __dlpack__ of this Producer raised {kind}: .*boom") as refusal:
        octavo.attention(Q, Producer(raises(error)), V)
    assert refusal.value.__cause__ is error
    with pytest.raises(RuntimeError, match=f"^k: __dlpack_device__ of this Producer raised {kind}: .*boom") as refusal:
        octavo.attention(Q, Producer(Q.__dlpack__, raises(error)), V)
    assert refusal.value.__cause__ is error


def test_a_producer_without_memory():
    error = MemoryError("boom")
    answers = iter([BufferError("read-only"), error])

    def at_the_second_call():
        raise next(answers)

    for producer in (Producer(raises(error)), Producer(K.__dlpack__, raises(error)), Producer(at_the_second_call)):
        with pytest.raises(MemoryError) as refusal:
            octavo.attention(Q, producer, V)
        assert refusal.value is error


def test_a_producer_is_interrupted():
    with pytest.raises(KeyboardInterrupt):
        octavo.attention(Q, Producer(raises(KeyboardInterrupt())), V)


def test_a_producer_of_something_else():
    used = K.__dlpack__()
    np.from_dlpack(Producer(lambda: used))
    for garbage in (None, 3, "x", object(), (1, 2), K, used):
        with pytest.raises(TypeError, match="^k: __dlpack__ of this Producer returned .*; allowed is an unused"):
            octavo.attention(Q, Producer(lambda: garbage), V)
    for garbage in (None, 3, "cpu", (1,), (1, 0, 0), (1, None), ("cpu", 0)):
        with pytest.raises(TypeError, match="^k: __dlpack_device__ of this Producer returned .*; allowed is a pair"):
            octavo.attention(Q, Producer(K.__dlpack__, lambda: garbage), V)
    assert octavo.attention(Q, Producer(K.__dlpack__), V).shape == (2, 5, 4, 24)


@pytest.mark.torch
def test_nested_tensors(torch):
    for layout in (torch.strided, torch.jagged):
        nested = torch.nested.nested_tensor([torch.ones(5, 2, 16), torch.ones(9, 2, 16)], layout=layout)
        with pytest.raises(NotImplementedError, match="^k: nested tensors are not supported.*cu_seqlens_k.*kv_lens"):
            octavo.attention(Q, nested, V)
