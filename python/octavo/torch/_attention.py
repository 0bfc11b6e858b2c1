"""attention and quantize for torch: the operators, or in eager mode their kernels without torch's dispatcher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _arguments, _attention
from .._recipe import Recipe
from . import _operators

_WINDOW, _SOFTCAP = _attention._DEFAULTS["window"], _attention._DEFAULTS["softcap"]
_PLAIN = (Tensor, torch.nn.Parameter)

# Looked up once: this is most of what a call costs beyond `octavo.attention`.
_is_compiling = torch.compiler.is_compiling
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


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    recipe: str | Recipe = "int8",
    causal: bool | str = False,
    scale: float | None = None,
    window: tuple[int, int] = _WINDOW,
    softcap: float = _SOFTCAP,
    mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    sinks: Tensor | None = None,
    layout: str = "NHD",
    alibi_slopes: Tensor | None = None,
    alibi: str = "causal",
    kv_lens: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    return_lse: bool = False,
    out_dtype: torch.dtype | None = None,
) -> Any:
    """`octavo.attention` for torch tensors, as an operator that torch can trace, compile and export.

    Arguments, results and errors are those of `octavo.attention`. Differences: every array is a torch tensor; autocast
    casts q, k and v; q, k and v that require grad are accepted, and the backward pass raises RuntimeError; as many
    threads as torch has are used, unless `octavo.set_num_threads` or OCTAVO_NUM_THREADS says otherwise.

    Returns
    -------
    o : Tensor
        Contiguous, in q's layout.
    lse : Tensor
        Only with `return_lse`.
    """
    if not _is_compiling() and eager(q, k, v):
        o, lse = _operators.run({
            "q": q, "k": k, "v": v, "recipe": recipe, "causal": causal, "scale": scale, "window": window,
            "softcap": softcap, "mask": mask, "key_mask": key_mask, "sinks": sinks, "layout": layout,
            "alibi_slopes": alibi_slopes, "alibi": alibi, "kv_lens": kv_lens, "cu_seqlens_q": cu_seqlens_q,
            "cu_seqlens_k": cu_seqlens_k, "return_lse": return_lse, "out": None, "out_dtype": out_dtype,
            "stream": None, "workspace": None,
        })  # fmt: skip
        return (o, lse) if return_lse else o
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.is_nested:
            raise NotImplementedError(f"{name}: {_operators.NESTED}")
    operator = torch.ops.octavo.attention_lse if return_lse else torch.ops.octavo.attention
    return operator(
        q, k, v, _text(recipe), _direction(causal), scale, *_sides(window), softcap, mask, key_mask, sinks, layout,
        alibi_slopes, alibi, kv_lens, cu_seqlens_q, cu_seqlens_k, out_dtype
    )  # fmt: skip


def _text(recipe: str | Recipe) -> str:
    return recipe if isinstance(recipe, str) else str(recipe)


def _direction(causal: bool | str) -> str:
    if causal is False:
        return "none"
    if causal is True:
        return "bottom_right"
    if causal in ("bottom_right", "top_left"):
        return causal
    raise ValueError(f"causal: {causal!r}; False, True, 'bottom_right' and 'top_left' are allowed")


def _sides(window: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise ValueError(f"window: {_arguments.shown(window)}; a pair of integers (left, right) is allowed")
    return window[0], window[1]


def quantize(
    x: Tensor, *, role: str, recipe: str | Recipe = "int8", layout: str = "NHD"
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scales and mean of `octavo.quantize` as an operator that torch can trace, compile and export.

    A part that the recipe does not have (scales, or the mean without smoothing) is an empty tensor, shape [0].
    `octavo.quantize` also takes varlen sequences and returns a `Quantized`.
    """
    if x.is_nested:
        raise NotImplementedError(f"x: {_operators.NESTED}")
    return torch.ops.octavo.quantize(x, role, _text(recipe), layout)
