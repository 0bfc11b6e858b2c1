"""octavo.torch.register: torch's own SDPA calls octavo while the implementation is active."""

import pytest
from oracle import relative_error

import octavo

pytestmark = pytest.mark.torch
RECIPE = "int8_fast"


@pytest.fixture
def impl(torch):
    """torch.nn.attention with octavo's implementation active; torch's own again afterwards."""
    import octavo.torch

    attention = torch.nn.attention
    if not hasattr(attention, "register_flash_attention_impl"):
        pytest.skip(f"torch {torch.__version__} has no registry of attention implementations")
    torch.manual_seed(0)
    attention.activate_flash_attention_impl(octavo.torch.register("octavo_test", recipe=RECIPE))
    yield attention
    attention.restore_flash_attention_impl(_raise_warn=False)


def operands(torch, *shapes):
    return [torch.randn(shape) for shape in shapes or 3 * [(2, 4, 70, 32)]]


def both(torch, impl, *operands, **options):
    """SDPA with octavo's implementation and with torch's."""
    attend = torch.nn.functional.scaled_dot_product_attention
    o = attend(*operands, **options)
    impl.restore_flash_attention_impl()
    expected = attend(*operands, **options)
    impl.activate_flash_attention_impl("octavo_test")
    return o, expected


OPTIONS = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "bool": {"attn_mask": (70, 70)},
    "keys": {"attn_mask": (2, 1, 1, 70)},
    "float": {"attn_mask": (2, 4, 70, 70)},
    "gqa": {"enable_gqa": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_calls_are_octavos(torch, impl, name):
    q, k, v = operands(torch)
    options = dict(OPTIONS[name])
    if shape := options.get("attn_mask"):
        mask = torch.randn(shape)
        options["attn_mask"] = mask if name == "float" else mask < 1
    if name == "gqa":
        k, v = k[:, :2], v[:, :2]
    o, expected = both(torch, impl, q, k, v, **options)
    mine = octavo.torch.scaled_dot_product_attention(q, k, v, recipe=RECIPE, **options)
    assert torch.equal(o, mine)
    assert not torch.equal(o, expected)
    assert relative_error(o.numpy(), expected.numpy()) < 0.05


@pytest.mark.parametrize("layout", ["HND", "NHD", "padded"])
def test_strides_are_those_of_torchs_kernel(torch, impl, layout):
    q = torch.randn(2, 4, 70, 40)
    if layout == "NHD":
        q = torch.randn(2, 70, 4, 40).transpose(1, 2)
    elif layout == "padded":
        q = torch.randn(2, 4, 70, 48)[..., :40]
    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    o, lse = operator(q, q, q)
    with torch.device("meta"):
        meta = torch.empty_strided(q.shape, q.stride())
    expected, expected_lse = operator(meta, meta, meta)
    assert (o.stride(), lse.stride()) == (expected.stride(), expected_lse.stride())
    assert lse.dtype == torch.float32
    exact = torch.logsumexp(q.double() @ q.double().transpose(-1, -2) / 40**0.5, -1)
    assert torch.allclose(lse.double(), exact, atol=0.05)


def test_compiled_and_exported_programs(torch, impl):
    q, k, v = operands(torch)

    class Block(torch.nn.Module):
        def forward(self, q, k, v):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v) + 1

    o = Block()(q, k, v)
    exported = torch.export.export(Block(), (q, k, v)).module()
    with torch.inference_mode():
        assert torch.equal(exported(q, k, v), o)
        assert torch.equal(torch.compile(Block(), backend="aot_eager", fullgraph=True)(q, k, v), o)
    impl.restore_flash_attention_impl()
    with torch.inference_mode():
        assert not torch.equal(exported(q, k, v), o)


def test_restored(torch, impl):
    q, k, v = operands(torch)
    impl.restore_flash_attention_impl()
    o = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    exact = octavo.torch.scaled_dot_product_attention(q, k, v, recipe="exact")
    assert torch.allclose(o, exact, atol=1e-5)
    assert impl.current_flash_attention_impl() is None


def test_refusals(torch, impl):
    attend = torch.nn.functional.scaled_dot_product_attention
    q, k, v = operands(torch)
    with pytest.raises(NotImplementedError, match="query: dtype torch.float64.*restore_flash_attention_impl"):
        attend(q.double(), k.double(), v.double())
    with pytest.raises(NotImplementedError, match="query requires grad"):
        attend(q.clone().requires_grad_(), k, v)
    with pytest.raises(NotImplementedError, match="head_dim 577"):
        attend(*operands(torch, *3 * [(1, 1, 2, 577)]))


def test_backward_of_a_compiled_program_raises(torch, impl):
    """Its forward pass runs without grad mode, so only the backward pass can tell."""
    q, k, v = operands(torch)
    compiled = torch.compile(torch.nn.functional.scaled_dot_product_attention, backend="aot_eager")
    o = compiled(q.requires_grad_(), k, v)
    with pytest.raises(RuntimeError, match="no backward pass"):
        o.sum().backward()


def test_what_remains_torchs(torch, impl):
    """As docs/torch.md says; inside sdpa_kernel(FLASH_ATTENTION) torch raises instead."""
    q, k, v = operands(torch)
    calls = {
        "3 axes": ((q[0], k[0], v[0]), {}),
        "another head_dim of V": ((q, k, v[..., :16]), {}),
        "a mask of 3 axes": ((q, k, v, torch.zeros(4, 70, 70)), {}),
    }
    for name, (arguments, options) in calls.items():
        o, expected = both(torch, impl, *arguments, **options)
        assert torch.equal(o, expected), name
        with impl.sdpa_kernel(impl.SDPBackend.FLASH_ATTENTION):
            with pytest.raises(RuntimeError, match="No available kernel"), pytest.warns(UserWarning):
                torch.nn.functional.scaled_dot_product_attention(*arguments, **options)


def test_names(torch, impl):
    with pytest.raises(ValueError, match="'FA4' is an implementation of torch"):
        octavo.torch.register("FA4")
    with pytest.raises(ValueError, match="int9"):
        octavo.torch.register(recipe="int9")
    assert octavo.torch.register() == "octavo"
    assert {"octavo", "octavo_test"} <= set(impl.list_flash_attention_impls())
    assert impl.current_flash_attention_impl() == "octavo_test"  # registering activates nothing


def test_a_torch_without_the_registry(torch, monkeypatch):
    import octavo.torch

    monkeypatch.delattr(torch.nn.attention, "register_flash_attention_impl", raising=False)
    with pytest.raises(NotImplementedError, match="no registry.*octavo.torch.patch"):
        octavo.torch.register()
