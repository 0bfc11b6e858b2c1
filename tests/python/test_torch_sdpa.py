"""octavo.torch.scaled_dot_product_attention and octavo.torch.patch against torch's function."""

import math

import pytest
from oracle import relative_error

import octavo

pytestmark = pytest.mark.torch


@pytest.fixture
def door(torch):
    import octavo.torch

    torch.manual_seed(0)
    return octavo.torch


def heads(torch, *shapes, dtype=None):
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


SHAPES = {
    "4": ((2, 4, 7, 16), (2, 4, 11, 16), (2, 4, 11, 24)),
    "gqa": ((2, 4, 7, 16), (2, 2, 11, 16), (2, 2, 11, 24)),
    "3": ((4, 7, 16), (4, 11, 16), (4, 11, 16)),
    "2": ((7, 16), (11, 16), (11, 16)),
    "5": ((2, 3, 4, 7, 16), (2, 3, 4, 11, 16), (2, 3, 4, 11, 16)),
    "batch of 1": ((3, 4, 7, 16), (1, 4, 11, 16), (1, 4, 11, 16)),
    "one kv head": ((3, 4, 7, 16), (3, 1, 11, 16), (3, 1, 11, 16)),
    "no keys": ((2, 4, 7, 16), (2, 4, 0, 16), (2, 4, 0, 16)),
}


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float", "float [L, S]"])
def test_equals_torch(torch, door, shapes, mask):
    q, k, v = heads(torch, *SHAPES[shapes])
    options = {"enable_gqa": shapes == "gqa", "scale": 0.3 if mask == "bool" else None}
    leading = (q.shape[:-2] if q.dim() < 4 else (*q.shape[:-3], 1)) if mask in ("bool", "float") else ()
    if mask == "causal":
        options["is_causal"] = True
    elif mask == "bool":
        options["attn_mask"] = torch.rand(*leading, q.shape[-2], k.shape[-2]) < 0.7
        options["attn_mask"][..., :1, :] = False  # a row that sees nothing
    elif mask != "none":
        options["attn_mask"] = torch.randn(*leading, q.shape[-2], k.shape[-2])
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, **options)
    o = door.scaled_dot_product_attention(q, k, v, recipe="exact", **options)
    assert o.shape == expected.shape and o.dtype == expected.dtype and o.is_contiguous()
    assert torch.allclose(o, expected, atol=1e-5)
    if expected.numel() and k.shape[-2] > 0:
        # int8's errors are those of a few keys of 16 channels here; a wrong mask or head would give more than 0.3.
        assert relative_error(door.scaled_dot_product_attention(q, k, v, **options).numpy(), expected.numpy()) < 0.05


def test_signature(torch, door):
    import inspect

    names = ["query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"]
    signature = inspect.signature(door.scaled_dot_product_attention)
    assert list(signature.parameters) == [*names, "recipe"]
    assert signature.parameters["recipe"].kind is inspect.Parameter.KEYWORD_ONLY
    q, k, v = heads(torch, *SHAPES["4"])
    mask = torch.ones(7, 11, dtype=torch.bool)
    o = door.scaled_dot_product_attention(q, k, v, mask, 0.0, False, 0.5, False)
    assert torch.equal(o, door.scaled_dot_product_attention(q, k, v, scale=0.5, attn_mask=mask))


def test_refusals(torch, door):
    q, k, v = heads(torch, *SHAPES["4"])
    gqa = heads(torch, *SHAPES["gqa"])
    wide = heads(torch, *3 * [(1, 1, 2, 577)])
    call = door.scaled_dot_product_attention
    cases = [
        ((q, k, v), {"dropout_p": 0.1}, "dropout_p: 0.1"),
        ((q, k, v), {"is_causal": True, "attn_mask": torch.zeros(7, 11)}, "is_causal and attn_mask"),
        ((q.double(), k.double(), v.double()), {}, "query: dtype torch.float64"),
        ((q, k.half(), v), {}, "key: dtype torch.float16, query: torch.float32"),
        (gqa, {}, "enable_gqa=True"),
        ((q[:, :3], gqa[1], gqa[2]), {"enable_gqa": True}, "3 query heads, 2 key"),
        (wide, {}, "head_dim 577; 1 to 576"),
        ((q, k[..., :8], v), {}, "key: head_dim 8, query: 16"),
        ((q.to("meta"), k.to("meta"), v.to("meta")), {}, "on meta"),
        ((q[0, 0, 0], k, v), {}, "query: rank 1"),
        ((q.clone().requires_grad_(), k, v), {}, "query requires grad.*no backward"),
        ((q, k.to_sparse(), v), {}, "key: layout torch.sparse"),
    ]
    for tensors, options, words in cases:
        with pytest.raises(NotImplementedError, match=words):
            call(*tensors, **options)


class Model:
    def __new__(cls, torch):
        layer = torch.nn.MultiheadAttention(32, 4, batch_first=True)
        return layer.eval().requires_grad_(False)


def test_patch_is_a_context(torch, door):
    functional = torch.nn.functional
    original = functional.scaled_dot_product_attention
    q, k, v = heads(torch, *SHAPES["4"])
    with door.patch(recipe="int8") as patched:
        o = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert functional.scaled_dot_product_attention is original and not patched.fallbacks
    assert torch.equal(o, door.scaled_dot_product_attention(q, k, v, is_causal=True))
    assert not torch.equal(o, original(q, k, v, is_causal=True))
    with pytest.raises(ZeroDivisionError), door.patch():
        1 / 0
    assert functional.scaled_dot_product_attention is original
    decorated = door.patch(recipe="exact")(functional.__dict__.__getitem__)
    assert decorated("scaled_dot_product_attention") is not original


def test_patch_globally(torch, door):
    functional = torch.nn.functional
    original = functional.scaled_dot_product_attention
    outer = door.patch(recipe="exact").enable()
    inner = door.patch(recipe="int8").enable()
    try:
        with pytest.raises(RuntimeError, match="not the active one"):
            outer.disable()
    finally:
        inner.disable()
        outer.disable()
    assert functional.scaled_dot_product_attention is original
    with pytest.raises(RuntimeError, match="not the active one"):
        outer.disable()


def test_patch_reaches_modules(torch, door):
    model, x = Model(torch), torch.randn(2, 9, 32)
    expected = model(x, x, x, need_weights=False)[0]
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path is one operator of torch
    try:
        with door.patch(recipe="int8"):
            o = model(x, x, x, need_weights=False)[0]
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert 0 < relative_error(o.numpy(), expected.numpy()) < 0.05


def test_patch_unsupported(torch, door):
    functional = torch.nn.functional
    tensors = [x.double() for x in heads(torch, *SHAPES["4"])]
    expected = functional.scaled_dot_product_attention(*tensors)
    with door.patch(), pytest.raises(NotImplementedError, match="dtype torch.float64.*on_unsupported='fallback'"):
        functional.scaled_dot_product_attention(*tensors)
    with door.patch(on_unsupported="fallback") as patched:
        assert torch.equal(functional.scaled_dot_product_attention(*tensors), expected)
        learned = tensors[0].float().requires_grad_()
        functional.scaled_dot_product_attention(learned, learned, learned).sum().backward()
        assert learned.grad is not None and math.isfinite(learned.grad.sum())
    assert sum(patched.fallbacks.values()) == 2 and any("float64" in reason for reason in patched.fallbacks)
    for options, words in (({"on_unsupported": "warn"}, "'error' and 'fallback'"), ({"recipe": "int9"}, "int9")):
        with pytest.raises(ValueError, match=words):
            door.patch(**options)


def test_patch_and_compile(torch, door):
    def call(q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    q, k, v = heads(torch, *SHAPES["4"])
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph.code)
        return graph

    with door.patch(on_unsupported="fallback"):
        compiled = torch.compile(call, backend=backend, fullgraph=True)
        assert torch.equal(compiled(q, k, v), door.scaled_dot_product_attention(q, k, v, is_causal=True))
        compiled(q.double(), k.double(), v.double())
    assert "octavo.attention" in graphs[0] and "octavo.attention" not in graphs[-1]


def test_recipes_change_the_result(torch, door):
    q, k, v = heads(torch, *3 * [(1, 2, 64, 32)])
    results = {str(recipe): door.scaled_dot_product_attention(q, k, v, recipe=recipe) for recipe in
               ("exact", "int8_fast", octavo.recipe("int4"))}  # fmt: skip
    errors = [relative_error(o.numpy(), results["exact"].numpy()) for o in results.values()]
    assert errors[0] == 0 < errors[1] < errors[2]
