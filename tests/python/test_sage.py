"""octavo.sage: SageAttention's signatures, each argument honoured or refused, and the module in its place."""

import importlib.util
import inspect
import sys

import pytest
from oracle import relative_error

import octavo

pytestmark = pytest.mark.torch

DENSE = ["q", "k", "v", "tensor_layout"]
SIGNATURES = {
    "sageattn": [*DENSE, "is_causal", "sm_scale", "return_lse"],
    "sageattn_qk_int8_pv_fp16_triton": [*DENSE, "quantization_backend", "is_causal", "sm_scale", "smooth_k",
                                        "return_lse"],
    "sageattn_qk_int8_pv_fp16_cuda": [*DENSE, "is_causal", "qk_quant_gran", "sm_scale", "pv_accum_dtype", "smooth_k",
                                      "smooth_v", "return_lse"],
    "sageattn_qk_int8_pv_fp8_cuda": [*DENSE, "is_causal", "qk_quant_gran", "sm_scale", "pv_accum_dtype", "smooth_k",
                                     "smooth_v", "return_lse"],
    "sageattn_qk_int8_pv_fp8_cuda_sm90": [*DENSE, "is_causal", "qk_quant_gran", "sm_scale", "pv_accum_dtype",
                                          "smooth_k", "return_lse"],
    "sageattn_varlen": ["q", "k", "v", "cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k", "is_causal",
                        "sm_scale", "smooth_k"],
}  # fmt: skip
RECIPES = {
    ("sageattn", ()): "int8",
    ("sageattn_qk_int8_pv_fp16_triton", ()): "sage1",
    ("sageattn_qk_int8_pv_fp16_triton", ("quantization_backend", "cuda")): "sage1",
    ("sageattn_qk_int8_pv_fp16_cuda", ()): "sage1,q_scale=thread,k_scale=thread,key_block=64",
    ("sageattn_qk_int8_pv_fp16_cuda", ("qk_quant_gran", "per_warp")): "sage1,q_scale=warp,k_scale=warp,key_block=64",
    ("sageattn_qk_int8_pv_fp16_cuda", ("pv_accum_dtype", "fp16+fp32")):
        "sage1,q_scale=thread,k_scale=thread,key_block=64,accumulator=f16",
    ("sageattn_qk_int8_pv_fp8_cuda", ()): "sage2pp",
    ("sageattn_qk_int8_pv_fp8_cuda", ("pv_accum_dtype", "fp32+fp32")): "sage2_8b",
    ("sageattn_qk_int8_pv_fp8_cuda", ("smooth_k", False)): "sage2pp,smooth_k=off",
    ("sageattn_qk_int8_pv_fp8_cuda_sm90", ()): "sage2_8b,q_group=16,k_group=128,key_block=128",
}  # fmt: skip


@pytest.fixture
def sage(torch):
    import octavo.sage

    torch.manual_seed(0)
    return octavo.sage


@pytest.fixture
def tensors(torch):
    return torch.randn(2, 4, 70, 32), torch.randn(2, 2, 70, 32), torch.randn(2, 2, 70, 32)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(sage, name):
    parameters = inspect.signature(getattr(sage, name)).parameters
    assert list(parameters) == [*SIGNATURES[name], "kwargs"] and name in sage.__all__
    defaults = {"tensor_layout": "HND", "is_causal": False, "sm_scale": None, "return_lse": False, "smooth_k": True,
                "smooth_v": False, "qk_quant_gran": "per_thread", "quantization_backend": "triton"}  # fmt: skip
    assert all(parameters[key].default == value for key, value in defaults.items() if key in parameters)


@pytest.mark.parametrize("name, options", RECIPES)
def test_recipes(torch, sage, tensors, name, options):
    keywords = dict([options]) if options else {}
    recipe = RECIPES[name, options]
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        q, k, v = (x.to(dtype) for x in tensors)
        expected, lse = octavo.attention(q, k, v, recipe=recipe, layout="HND", causal=True, scale=0.2, return_lse=True)
        made = getattr(sage, name)(q, k, v, is_causal=True, sm_scale=0.2, return_lse=True, **keywords)
        assert torch.equal(made[0], expected) and torch.equal(made[1], lse)
    nhd = [x.transpose(1, 2) for x in tensors]
    o = getattr(sage, name)(*nhd, tensor_layout="NHD", **keywords)
    assert torch.equal(o, octavo.attention(*nhd, recipe=recipe))


def test_sageattns_recipe(torch, sage, tensors):
    try:
        sage.set_recipe("sage2_8b")
        assert torch.equal(sage.sageattn(*tensors), octavo.attention(*tensors, recipe="sage2_8b", layout="HND"))
    finally:
        sage.set_recipe("int8")
    unsmoothed = octavo.attention(*tensors, recipe="int8,smooth_k=off", layout="HND")
    assert torch.equal(sage.sageattn(*tensors, smooth_k=False), unsmoothed)
    with pytest.raises(ValueError, match="int9"):
        sage.set_recipe("int9")


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name != "sageattn_varlen"])
def test_masks(torch, sage, tensors, name):
    mask = torch.rand(2, 1, 70, 70) < 0.5
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=mask, enable_gqa=True)
    o = getattr(sage, name)(*tensors, attn_mask=mask, dropout_p=0.0, enable_gqa=True)
    assert relative_error(o.numpy(), expected.numpy()) < 0.06  # E4M3's weights; without the mask 0.7


def test_varlen(torch, sage):
    starts = torch.tensor([0, 30, 31, 70], dtype=torch.int32)
    q, k, v = torch.randn(70, 4, 32), torch.randn(70, 2, 32), torch.randn(70, 2, 32)
    o = sage.sageattn_varlen(q, k, v, starts, starts, 39, 39, is_causal=True)
    for first, last in zip(starts[:-1], starts[1:]):
        alone = [x[None, first:last] for x in (q, k, v)]
        assert torch.equal(o[first:last], octavo.attention(*alone, recipe="sage1", causal=True)[0])
    with pytest.raises(TypeError, match="unexpected keyword argument 'attn_mask'"):
        sage.sageattn_varlen(q, k, v, starts, starts, 39, 39, attn_mask=None)


def test_refusals(torch, sage, tensors):
    q, k, v = tensors
    for name in SIGNATURES:
        extra = (torch.tensor([0, 70]), torch.tensor([0, 70]), 70, 70) if name == "sageattn_varlen" else ()
        operands = [x[0].transpose(0, 1) for x in tensors] if extra else tensors
        words = "unexpected keyword argument 'sparsity'; beside its parameters .*enable_gqa are allowed"
        with pytest.raises(TypeError, match=words):
            getattr(sage, name)(*operands, *extra, sparsity=0.5)
        with pytest.raises(NotImplementedError, match="dropout_p=0.1"):
            getattr(sage, name)(*operands, *extra, dropout_p=0.1)
    for name, keywords, kind, words in (
        ("sageattn", {"tensor_layout": "BHSD"}, ValueError, "tensor_layout: 'BHSD'"),
        ("sageattn_qk_int8_pv_fp16_triton", {"quantization_backend": "cpp"}, ValueError, "quantization_backend"),
        ("sageattn_qk_int8_pv_fp16_cuda", {"qk_quant_gran": "per_block"}, ValueError, "qk_quant_gran"),
        ("sageattn_qk_int8_pv_fp16_cuda", {"pv_accum_dtype": "fp16"}, NotImplementedError, "accumulated in float16"),
        ("sageattn_qk_int8_pv_fp16_cuda", {"pv_accum_dtype": "bf16"}, ValueError, "pv_accum_dtype"),
        ("sageattn_qk_int8_pv_fp8_cuda", {"pv_accum_dtype": "fp32"}, NotImplementedError, "22-bit"),
        ("sageattn_qk_int8_pv_fp8_cuda_sm90", {"pv_accum_dtype": "fp32+fp16"}, ValueError, "pv_accum_dtype"),
    ):
        with pytest.raises(kind, match=words):
            getattr(sage, name)(q, k, v, **keywords)
    with pytest.raises(ValueError, match="is_causal with 69 queries and 70 keys"):
        sage.sageattn(q[:, :, 1:], k, v, is_causal=True)
    with pytest.warns(UserWarning, match="smooth_v will be ignored"):
        sage.sageattn_qk_int8_pv_fp8_cuda(q, k, v, smooth_v=True)


def test_compiles(torch, sage, tensors):
    def call(q, k, v):
        return sage.sageattn(q, k, v, is_causal=True)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*tensors), sage.sageattn(*tensors, is_causal=True))


def test_install(sage):
    assert "sageattention" not in sys.modules
    sage.install()
    try:
        from sageattention import sageattn, sageattn_varlen
        from sageattention.core import sageattn as core

        assert sageattn is core is sage.sageattn and sageattn_varlen is sage.sageattn_varlen
        assert importlib.util.find_spec("sageattention") is not None
        assert "octavo" in sys.modules["sageattention"].__version__
        sage.install(recipe="int8_p16")
        sage.uninstall()
        assert sys.modules["sageattention"].sageattn is sage.sageattn
    finally:
        sage.uninstall()
        sage.set_recipe("int8")
    assert "sageattention" not in sys.modules and "sageattention.core" not in sys.modules
    with pytest.raises(RuntimeError, match="not installed"):
        sage.uninstall()
