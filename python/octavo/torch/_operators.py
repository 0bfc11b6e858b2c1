"""The operators torch.ops.octavo.*: schemas, CPU and CUDA kernels, fake kernels, autocast and autograd rules.

`Library.define` and `impl` are used instead of the `custom_op` decorator, whose calls take longer. An operator is one
whole call, so that a traced program has one node for it: devices, environment and implementation are looked up inside.
All results are new contiguous tensors; the fake kernels return the same shapes and strides. Arguments have no
keyword-only ones: torch's autograd rule sees the positional arguments only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import _arguments, _attention, _core, _quantized
from .._torch import NESTED

# Options that are often given come first: torch passes the arguments up to the last that differs from its default.
_ATTENTION = (
    "(Tensor q, Tensor k, Tensor v, str recipe='int8', str causal='none', str layout='NHD', float? scale=None, "
    "Tensor? mask=None, Tensor? key_mask=None, SymInt window_left=-1, SymInt window_right=-1, float softcap=0.0, "
    "Tensor? sinks=None, Tensor? alibi_slopes=None, str alibi='causal', Tensor? kv_lens=None, "
    "Tensor? cu_seqlens_q=None, Tensor? cu_seqlens_k=None, ScalarType? out_dtype=None)"
)
_SCHEMAS = {
    "attention": _ATTENTION + " -> Tensor",
    "attention_lse": _ATTENTION + " -> (Tensor, Tensor)",
    "quantize": "(Tensor x, str role, str recipe='int8', str layout='NHD') -> (Tensor, Tensor, Tensor)",
}
_CAUSAL: dict[str, Any] = {"none": False, "bottom_right": "bottom_right", "top_left": "top_left"}
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_ENVIRONMENT_DECIDES = bool(os.environ.get("OCTAVO_NUM_THREADS"))

NO_BACKWARD = (
    "octavo has no backward pass: its attention is for inference. Run the model under torch.no_grad() or "
    "torch.inference_mode(), detach the inputs, or use torch's own scaled_dot_product_attention for training"
)
_PLAIN = (Tensor, torch.nn.Parameter)

# Looked up once: this is most of what a call costs beyond `octavo.attention`.
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_transforms = torch._C._functorch.peek_interpreter_stack
_tracing = torch._C._get_tracing_state
_autocast = torch._C._is_any_autocast_enabled
_records = torch.is_grad_enabled


def eager(q: Any, k: Any, v: Any) -> bool:
    """Whether the kernels may be called without torch's dispatcher, which has nothing to do for these operands.

    It has if a program is traced or compiled, a mode or a tensor subclass intercepts operators, autocast is on, or
    autograd records. The dispatcher would cost more than the rest of a short call.
    """
    return (
        type(q) in _PLAIN
        and type(k) in _PLAIN
        and type(v) in _PLAIN
        and not (_records() and (q.requires_grad or k.requires_grad or v.requires_grad))
        and not _dispatch_modes()
        and not _function_modes()
        and not _autocast()
        and _transforms() is None
        and _tracing() is None
    )


def with_torchs_threads(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Calls the function while octavo has as many threads as torch, unless the user chose octavo's own number."""
    if _core.requested_num_threads() >= 0 or _ENVIRONMENT_DECIDES:
        return function(*arguments, **keywords)
    threads = min(torch.get_num_threads(), _core.max_threads)
    _core.set_num_threads(threads)
    try:
        return function(*arguments, **keywords)
    finally:
        if _core.requested_num_threads() == threads:
            _core.set_num_threads(-1)


def run(arguments: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """The output and, with `return_lse`, the LSE; `arguments` are those of `octavo.attention`, by name."""
    call, output, log_sum, _, _alive = _attention.prepare(arguments)
    with_torchs_threads(_core.attention, call)
    return output.container, None if log_sum is None else log_sum.container


# The arguments of the schema by their names in `octavo.attention`, whose defaults hold for those that torch omits.
_NAMES = ("q", "k", "v", "recipe", "causal", "layout", "scale", "mask", "key_mask", "left", "right", "softcap", "sinks",
          "alibi_slopes", "alibi", "kv_lens", "cu_seqlens_q", "cu_seqlens_k", "out_dtype")  # fmt: skip


def _named(given: tuple[Any, ...]) -> dict[str, Any]:
    arguments = _attention.DEFAULTS | dict(zip(_NAMES, given))
    if len(given) > 4:
        causal = arguments["causal"]
        if causal not in _CAUSAL:
            raise ValueError(f"causal: {causal!r}; 'none', 'bottom_right' and 'top_left' are allowed")
        arguments["causal"] = _CAUSAL[causal]
        if len(given) > 9:
            arguments["window"] = (arguments["left"], arguments.get("right", -1))
    return arguments


def _attention_kernel(*arguments: Any) -> Tensor:
    return run(_named(arguments))[0]


def _attention_lse_kernel(*arguments: Any) -> tuple[Tensor, Tensor]:
    o, lse = run(_named(arguments) | {"return_lse": True})
    assert lse is not None
    return o, lse


def _attention_lse_fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    named = _named(arguments)
    q, k, v, layout = named["q"], named["k"], named["v"], named["layout"]
    _arguments.layout(layout)
    for name, x in (("q", q), ("k", k), ("v", v)):
        torch._check(x.dim() in (3, 4), lambda: f"{name}: rank {x.dim()}; q, k and v have rank 4 (varlen: 3)")
        torch._check_value(
            x.dtype in FLOATS, lambda: f"{name}: dtype {x.dtype}; float32, float16 and bfloat16 are allowed"
        )
        torch._check_value(x.dtype == q.dtype, lambda: f"{name}: dtype {x.dtype}, q: {q.dtype}; they must be the same")
    rows, heads = (-3, -2) if layout == "NHD" else (-2, -3)
    o = q.new_empty((*q.shape[:-1], v.shape[-1]), dtype=named["out_dtype"] or q.dtype)
    return o, q.new_empty((*q.shape[:-3], q.shape[heads], q.shape[rows]), dtype=torch.float32)


def _attention_fake(*arguments: Any) -> Tensor:
    return _attention_lse_fake(*arguments)[0]


def _quantize_kernel(x: Tensor, role: str, recipe: str = "int8", layout: str = "NHD") -> tuple[Tensor, Tensor, Tensor]:
    made = with_torchs_threads(_quantized.quantize, x, role=role, recipe=recipe, layout=layout)

    def present(part: Tensor | None) -> Tensor:
        return x.new_empty((0,), dtype=torch.float32) if part is None else part

    return made.codes, present(made.scales), present(made.mean)


def _quantize_fake(x: Tensor, role: str, recipe: str = "int8", layout: str = "NHD") -> tuple[Tensor, Tensor, Tensor]:
    from ._quantized_shapes import shapes

    codes, dtype, scales, mean = shapes(x.shape, role, recipe, layout)
    return (
        x.new_empty(codes, dtype=dtype),
        x.new_empty(scales, dtype=torch.float32),
        x.new_empty(mean, dtype=torch.float32),
    )


_KERNELS = {"attention": _attention_kernel, "attention_lse": _attention_lse_kernel, "quantize": _quantize_kernel}
_FAKES = {"attention": _attention_fake, "attention_lse": _attention_lse_fake, "quantize": _quantize_fake}


def _autocast_kernel(operator: Any, device: str) -> Any:
    """As torch's for SDPA: q, k and v in a floating dtype other than float64 are cast to autocast's dtype."""
    key = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, f"Autocast{device.upper()}"))

    def kernel(*arguments: Any) -> Any:
        dtype = torch.get_autocast_dtype(device)

        def cast(x: Tensor) -> Tensor:
            return x.to(dtype) if x.dtype in FLOATS else x

        with torch._C._ExcludeDispatchKeyGuard(key):
            return operator(*map(cast, arguments[:3]), *arguments[3:])

    return kernel


def _refuse_nested(*arguments: Any) -> Any:
    raise NotImplementedError(f"octavo: {NESTED}")


class _WithoutBackward(torch.autograd.Function):
    """An operator's results, which require grad as its inputs do; the backward pass raises an error."""

    @staticmethod
    def forward(ctx: Any, operator: Any, keys: Any, *arguments: Any) -> Any:
        return _below_autograd(operator, keys, arguments)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(NO_BACKWARD)


def _below_autograd(operator: Any, keys: Any, arguments: tuple[Any, ...]) -> Any:
    with torch._C._AutoDispatchBelowAutograd():
        return operator.redispatch(keys & torch._C._after_autograd_keyset, *arguments)


def _autograd_kernel(operator: Any, cpu_kernel: Callable[..., Any]) -> Any:
    """Calls the CPU kernel itself where nothing between autograd and it has work, without the dispatcher."""

    def kernel(keys: Any, *arguments: Any) -> Any:
        q, k, v = arguments[:3] if type(arguments[1]) is not str else arguments[:1] * 3  # quantize has one tensor
        if _records() and torch._C._any_requires_grad(*arguments):
            return _WithoutBackward.apply(operator, keys, *arguments)
        if q.is_cpu and k.is_cpu and v.is_cpu and eager(q, k, v):
            return cpu_kernel(*arguments)
        return _below_autograd(operator, keys, arguments)

    return kernel


def _define() -> torch.library.Library:
    library = torch.library.Library("octavo", "DEF")
    tags = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)  # the kernels take operands of any strides
    for name, schema in _SCHEMAS.items():
        library.define(name + schema, tags=tags)
        operator = getattr(torch.ops.octavo, name).default
        for device in ("CPU", "CUDA"):
            library.impl(name, _KERNELS[name], device)
            if name != "quantize":  # its input is the operand as it is
                library.impl(name, _autocast_kernel(operator, device.lower()), f"Autocast{device}")
            library.impl(name, _refuse_nested, f"NestedTensor{device}")
        library.impl(name, _refuse_nested, "AutogradNestedTensor")
        torch.library.register_fake(f"octavo::{name}", _FAKES[name], lib=library)
        library.impl(name, _autograd_kernel(operator, _KERNELS[name]), "Autograd", with_keyset=True)
    return library


LIBRARY = _define()
