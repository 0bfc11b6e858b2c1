"""torch.ops.octavo and octavo.torch.attention: opcheck, compile, export, autograd, autocast, threads."""

import subprocess
import sys

import numpy as np
import pytest
from oracle import relative_error

import octavo

pytestmark = pytest.mark.torch


@pytest.fixture
def door(torch):
    import octavo.torch

    return octavo.torch


@pytest.fixture
def tensors(torch, qkv):
    return tuple(torch.from_numpy(x) for x in qkv)


@pytest.fixture
def dispatched(torch):
    """Context in which calls go through torch's dispatcher: a mode that intercepts functions and changes nothing."""

    class PassThrough(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    return PassThrough()


def test_import_octavo_does_not_import_torch():
    modules = ("torch", "transformers", "diffusers", "jax")
    code = f"import octavo, sys; assert not any(name in sys.modules for name in {modules})"
    subprocess.run([sys.executable, "-c", code], check=True)


OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "top_left": {"causal": "top_left", "recipe": "exact", "scale": 0.3},
    "window": {"window": (3, 1), "softcap": 5.0},
    "without": {"window": None, "softcap": None},
    "recipe": {"recipe": octavo.recipe("int8").replace(smooth_q=False), "out_dtype": "bfloat16"},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("layout", ["NHD", "HND"])
def test_attention_equals_octavos(torch, door, dispatched, tensors, name, layout):
    options = dict(OPTIONS[name])
    if "out_dtype" in options:
        options["out_dtype"] = getattr(torch, options["out_dtype"])
    q, k, v = tensors if layout == "NHD" else (x.transpose(1, 2) for x in tensors)
    for return_lse in (False, True):
        expected = octavo.attention(q, k, v, layout=layout, return_lse=return_lse, **options)
        direct = door.attention(q, k, v, layout=layout, return_lse=return_lse, **options)
        with dispatched:
            operator = door.attention(q, k, v, layout=layout, return_lse=return_lse, **options)
        for one in (direct, operator):
            torch.testing.assert_close(one, expected, rtol=0, atol=0)


def test_attention_with_every_tensor(torch, door, dispatched, tensors):
    q, k, v = tensors
    extra = {
        "mask": torch.rand(4, 5, 9) < 0.8,
        "key_mask": torch.arange(9).expand(2, 9) < torch.tensor([[9], [6]]),
        "sinks": torch.randn(4),
        "alibi_slopes": torch.rand(4),
        "alibi": "symmetric",
    }
    expected = octavo.attention(q, k, v, recipe="exact", **extra)
    with dispatched:
        assert torch.equal(door.attention(q, k, v, recipe="exact", **extra), expected)
    lens = torch.tensor([9, 4])
    assert torch.equal(door.attention(q, k, v, kv_lens=lens), octavo.attention(q, k, v, kv_lens=lens))
    starts_q, starts_k = torch.tensor([0, 5, 10]), torch.tensor([0, 9, 18])
    flat = [x.flatten(0, 1) for x in tensors]
    expected = octavo.attention(*flat, cu_seqlens_q=starts_q, cu_seqlens_k=starts_k)
    with dispatched:
        assert torch.equal(door.attention(*flat, cu_seqlens_q=starts_q, cu_seqlens_k=starts_k), expected)


@pytest.mark.parametrize("name", ["attention", "attention_lse"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(torch, door, tensors, name, requires_grad):
    operator = getattr(torch.ops.octavo, name).default
    q, k, v = (x.clone().requires_grad_(requires_grad) for x in tensors)
    # Gradients cannot be compared: there are none.
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not requires_grad:
        checks.append("test_aot_dispatch_dynamic")
    torch.library.opcheck(operator, (q, k, v), test_utils=checks)
    options = ("exact", "top_left", "NHD", 0.5, None, None, 4, 1, 10.0)
    torch.library.opcheck(operator, (q, k, v, *options), test_utils=checks)
    views = [x.transpose(1, 2) for x in (q, k, v)]
    torch.library.opcheck(
        operator, tuple(views), {"mask": torch.rand(5, 9) < 0.9, "layout": "HND", "out_dtype": torch.float16},
        test_utils=checks,
    )  # fmt: skip


@pytest.mark.parametrize("role", "qkv")
@pytest.mark.parametrize("recipe", octavo.recipes())
def test_quantize(torch, door, recipe, role):
    from torch._subclasses.fake_tensor import FakeTensorMode

    made_for = octavo.recipe(recipe)
    x = torch.randn(2, 150, 3, 33)
    if (made_for.values if role == "v" else made_for.scores) in ("f16", "input"):
        with pytest.raises(NotImplementedError):
            door.quantize(x, role=role, recipe=recipe)
        with FakeTensorMode() as mode, pytest.raises(Exception, match="keeps . in floats"):
            door.quantize(mode.from_tensor(x), role=role, recipe=recipe)
        return
    for layout in ("NHD", "HND"):
        expected = octavo.quantize(x, role=role, recipe=recipe, layout=layout)
        made = door.quantize(x, role=role, recipe=recipe, layout=layout)
        with FakeTensorMode() as mode:
            fake = door.quantize(mode.from_tensor(x), role=role, recipe=recipe, layout=layout)
        for real, promised, part in zip(made, fake, (expected.codes, expected.scales, expected.mean)):
            if part is None:
                assert real.numel() == 0
            else:
                assert np.array_equal(real.view(torch.uint8), part.view(torch.uint8))
            assert real.shape == promised.shape and real.stride() == promised.stride() and real.dtype == promised.dtype


def test_quantize_opcheck(torch, door):
    torch.library.opcheck(torch.ops.octavo.quantize.default, (torch.randn(1, 9, 2, 16), "k"))


class Block:
    """A projection, attention and a projection, as models have them."""

    def __new__(cls, torch, call):
        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)

            def forward(self, x):
                q, k, v = self.qkv(x).unflatten(-1, (3, 2, 16)).unbind(-3)
                o = call(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
                return self.out(o.transpose(1, 2).flatten(2))

        torch.manual_seed(0)
        return Module().eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["attention", "sdpa"])
def test_compile_fullgraph_and_dynamic_shapes(torch, door, name):
    calls = {
        "attention": lambda q, k, v: door.attention(q, k, v, layout="HND", causal=True, return_lse=True)[0],
        "sdpa": lambda q, k, v: door.scaled_dot_product_attention(q, k, v, is_causal=True),
    }
    model = Block(torch, calls[name])
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in (20, 37, 64):
        x = torch.randn(2, length, 32)
        assert relative_error(compiled(x).numpy(), model(x).numpy()) < 1e-6
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(torch.randn(2, 50, 32))


def test_compile_with_inductor(torch, door, tensors):
    """Only the operator: inductor calls it as it is, and this test needs no C++ compiler."""
    compiled = torch.compile(lambda q, k, v: door.attention(q, k, v, layout="HND"), fullgraph=True)
    views = [x.transpose(1, 2) for x in tensors]
    expected = octavo.attention(*views, layout="HND")
    o = compiled(*views)
    assert torch.equal(o, expected) and o.stride() == expected.stride()


def test_export(torch, door):
    model = Block(torch, lambda q, k, v: door.scaled_dot_product_attention(q, k, v, is_causal=True))
    length = torch.export.Dim("length", min=2, max=512)
    program = torch.export.export(model, (torch.randn(2, 20, 32),), dynamic_shapes=({1: length},))
    assert "octavo.attention" in program.graph_module.code
    x = torch.randn(2, 45, 32)
    assert relative_error(program.module()(x).numpy(), model(x).numpy()) < 1e-6


def test_backward_raises(torch, door, tensors):
    q, k, v = (x.clone().requires_grad_() for x in tensors)
    o = door.attention(q, k, v)
    assert o.requires_grad and torch.equal(o, octavo.attention(*tensors))
    with pytest.raises(RuntimeError, match="octavo has no backward pass"):
        o.sum().backward()
    with pytest.raises(RuntimeError, match="octavo has no backward pass"):
        torch.compile(door.attention, backend="aot_eager", fullgraph=True)(q, k, v).sum().backward()
    mask = torch.zeros(5, 9, requires_grad=True)
    with pytest.raises(RuntimeError, match="octavo has no backward pass"):
        torch.ops.octavo.attention(*tensors, mask=mask).sum().backward()
    with torch.no_grad():
        assert not door.attention(q, k, v).requires_grad


def test_autocast(torch, door, tensors):
    q, k, v = tensors
    half = [x.bfloat16() for x in tensors]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o = door.attention(q, k, half[2])
        s = door.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), enable_gqa=True)
    assert o.dtype == s.dtype == torch.bfloat16
    assert torch.equal(o, octavo.attention(*half)) and torch.equal(s.transpose(1, 2), o)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = door.quantize(k, role="k")[0]
    assert torch.equal(codes, octavo.quantize(k, role="k").codes)
    with torch.autocast("cpu", dtype=torch.float16, enabled=False):
        assert door.attention(q, k, v).dtype == torch.float32


def test_nested_tensors_are_refused(torch, door):
    for layout in (torch.strided, torch.jagged):
        x = torch.nested.nested_tensor([torch.randn(3, 2, 8), torch.randn(5, 2, 8)], layout=layout)
        with pytest.raises(NotImplementedError, match="nested tensors are not supported"):
            door.attention(x, x, x)
        with pytest.raises(NotImplementedError, match="nested tensors are not supported"):
            door.scaled_dot_product_attention(x.transpose(1, 2), x.transpose(1, 2), x.transpose(1, 2))
        with pytest.raises(NotImplementedError, match="nested tensors are not supported"):
            torch.ops.octavo.attention(x, x, x)
        with pytest.raises(NotImplementedError, match="nested tensors are not supported"):
            door.quantize(x, role="k")


def test_threads(torch, door, tensors, monkeypatch):
    from octavo import _core

    seen = []
    run = _core.attention
    monkeypatch.setattr(_core, "attention", lambda call: (seen.append(_core.num_threads()), run(call))[1])
    before, requested = torch.get_num_threads(), _core.requested_num_threads()
    try:
        _core.set_num_threads(-1)
        for n in (1, 3):
            torch.set_num_threads(n)
            door.attention(*tensors)
        with octavo.threads(2):  # the user's own number
            door.attention(*tensors)
        assert seen == [1, 3, 2] and _core.requested_num_threads() == -1
    finally:
        torch.set_num_threads(before)
        _core.set_num_threads(requested)


def test_errors(torch, door, dispatched, tensors):
    q, k, v = tensors
    with pytest.raises(ValueError, match="causal: 'left'"):
        door.attention(q, k, v, causal="left")
    with dispatched:
        for options, words in (({"causal": "left"}, "causal: 'left'"), ({"window": 3}, "window: 3"),
                               ({"recipe": "int9"}, "int9"), ({"layout": "DHN"}, "layout: 'DHN'")):  # fmt: skip
            with pytest.raises(ValueError, match=words):
                door.attention(q, k, v, **options)
    with pytest.raises(ValueError, match="f64"):
        door.attention(q.double(), k.double(), v.double())
    with pytest.raises(TypeError):
        door.attention(q, k, v, is_causal=True)
