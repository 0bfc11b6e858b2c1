"""torch tensors in, torch tensors out."""

import numpy as np
import pytest
from oracle import relative_error, softmax_attention

import octavo

pytestmark = pytest.mark.torch


@pytest.fixture
def tensors(torch, qkv):
    return tuple(torch.from_numpy(x) for x in qkv)


@pytest.mark.parametrize("recipe", ["exact", "int8"])
def test_same_bits_as_numpy(torch, qkv, tensors, recipe):
    o, lse = octavo.attention(*tensors, recipe=recipe, causal=True, return_lse=True)
    expected, expected_lse = octavo.attention(*qkv, recipe=recipe, causal=True, return_lse=True)
    assert type(o) is torch.Tensor and o.dtype == torch.float32 and o.device.type == "cpu"
    assert lse.dtype == torch.float32 and tuple(lse.shape) == (2, 4, 5)
    assert np.array_equal(o.numpy(), expected) and np.array_equal(lse.numpy(), expected_lse)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_16_bit_types(torch, tensors, name):
    dtype = getattr(torch, name)
    q, k, v = (x.to(dtype) for x in tensors)
    o = octavo.attention(q, k, v, recipe="exact")
    expected = softmax_attention(*(x.float().numpy() for x in (q, k, v)))[0]
    assert o.dtype == dtype and relative_error(o.float().numpy(), expected) < (8e-3 if name == "bfloat16" else 1e-3)
    assert octavo.attention(q, k, v, out_dtype=torch.float32).dtype == torch.float32
    assert octavo.attention(*tensors, out_dtype=dtype).dtype == dtype


def test_against_torchs_own_attention(torch):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4, 60, 32) for _ in range(3))
    o = octavo.attention(q, k, v, recipe="exact", layout="HND", causal=True)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert relative_error(o.numpy(), expected.numpy()) < 1e-4


def test_views(torch, tensors):
    expected = octavo.attention(*tensors)
    transposed = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors)
    assert torch.equal(octavo.attention(*transposed), expected)
    wide = (torch.stack([x, torch.full_like(x, float("nan"))], dim=-1)[..., 0] for x in tensors)
    assert torch.equal(octavo.attention(*wide), expected)
    q, k, v = tensors
    assert torch.equal(
        octavo.attention(q, k[:1].expand_as(k), v[:1].expand_as(v)),
        octavo.attention(q, k[:1].repeat(2, 1, 1, 1), v[:1].repeat(2, 1, 1, 1)),
    )
    negated = torch.view_as_complex(torch.stack([torch.zeros_like(q), -q], dim=-1)).conj().imag
    assert negated.is_neg() and torch.equal(octavo.attention(negated, k, v), expected)


def test_subclasses(torch, tensors):
    q, k, v = tensors
    o = octavo.attention(torch.nn.Parameter(q, requires_grad=False), k, torch.nn.Buffer(v))
    assert type(o) is torch.Tensor and torch.equal(o, octavo.attention(q, k, v))


def test_out(torch, tensors):
    out = torch.full((2, 5, 4, 24), float("nan"))
    assert octavo.attention(*tensors, out=out) is out and torch.equal(out, octavo.attention(*tensors))
    with pytest.raises(ValueError, match="out.*f16"):
        octavo.attention(*tensors, out=out.half())
    with pytest.raises(ValueError, match="out.*share memory|overlap"):
        octavo.attention(*tensors, out=torch.empty(1, 1, 1, 1).expand(2, 5, 4, 24))


def test_gradients_are_refused(torch, tensors):
    q, k, v = tensors
    needs = k.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="k requires grad.*no_grad"):
        octavo.attention(q, needs, v)
    with pytest.raises(RuntimeError, match="x requires grad"):
        octavo.quantize(needs, role="k")
    expected = octavo.attention(q, k, v)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(octavo.attention(q, needs, v), expected)
    assert torch.equal(octavo.attention(q, needs.detach(), v), expected)


def test_other_places(torch, tensors):
    q, k, v = tensors
    with pytest.raises(RuntimeError, match="q is on meta"):
        octavo.attention(q.to("meta"), k, v)
    if torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="k is on cuda:0.*no CUDA"):
            octavo.attention(q, k.cuda(), v)
    with pytest.raises(ValueError, match="v: layout torch.sparse"):
        octavo.attention(q, k, v.to_sparse())
    for dtype, words in ((torch.float64, "f64"), (torch.complex64, "complex64"), (torch.int32, "s32")):
        with pytest.raises(ValueError, match=words):
            octavo.attention(q.to(dtype), k, v)


def test_tensors_without_memory(torch, tensors):
    from torch._subclasses.fake_tensor import FakeTensorMode

    q, k, v = tensors
    with pytest.raises(RuntimeError, match="q is a Tensor without memory, as inside torch.vmap"):
        torch.vmap(lambda x: octavo.attention(x[None], k, v))(q)
    with FakeTensorMode(), pytest.raises(RuntimeError, match="q is a FakeTensor without memory"):
        octavo.attention(torch.empty(2, 5, 4, 32), k, v)


@pytest.mark.parametrize("name", ["scale", "softcap"])
def test_tensors_that_are_no_number(torch, tensors, name):
    for value in (torch.ones(2), torch.tensor(1j)):
        with pytest.raises(ValueError, match=f"^{name}: tensor.* is not a number; a float or an integer is allowed"):
            octavo.attention(*tensors, **{name: value})


def test_default_device_does_not_matter(torch, tensors):
    with torch.device("meta"):
        o = octavo.attention(*tensors)
    assert o.device.type == "cpu"


def test_quantized(torch, tensors, qkv):
    for x, array, role in zip(tensors, qkv, "qkv"):
        made, expected = octavo.quantize(x, role=role), octavo.quantize(array, role=role)
        assert made.codes.dtype == torch.int8 and np.array_equal(made.codes.numpy(), expected.codes)
        assert made.scales.dtype == torch.float32 and np.array_equal(made.scales.numpy(), expected.scales)
        assert isinstance(made.dequantize(), torch.Tensor) and made.nbytes == expected.nbytes
        again = octavo.Quantized.from_dict(made.to_dict())
        assert torch.equal(again.dequantize(torch.bfloat16), made.dequantize("bfloat16"))
    operands = [octavo.quantize(x, role=role) for x, role in zip(tensors, "qkv")]
    assert isinstance(octavo.attention(*operands), torch.Tensor)
    assert octavo.quantize(tensors[2], role="v", recipe="sage2_8b").codes.dtype == torch.float8_e4m3fn
    assert octavo.quantize(tensors[0], role="q", recipe="int4").codes.dtype == torch.uint8


def test_merge_and_extras(implementation, torch, tensors):
    q, k, v = tensors
    mask = torch.rand(4, 5, 9) < 0.8
    whole = octavo.attention(q, k, v, recipe="exact", mask=mask)
    a = octavo.attention(q, k[:, :4], v[:, :4], recipe="exact", mask=mask[..., :4], return_lse=True)
    b = octavo.attention(q, k[:, 4:], v[:, 4:], recipe="exact", mask=mask[..., 4:].numpy(), return_lse=True)
    o, lse = octavo.merge_state(*a, *b)
    assert isinstance(o, torch.Tensor) and isinstance(lse, torch.Tensor)
    assert relative_error(o.numpy(), whole.numpy()) < 1e-6
    lens = octavo.attention(q, k, v, kv_lens=torch.tensor([4, 9]))
    assert torch.equal(lens, octavo.attention(q, k, v, kv_lens=np.array([4, 9], np.int32)))
