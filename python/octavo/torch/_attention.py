"""attention and quantize for torch: the operators, or in eager mode their kernels without torch's dispatcher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _arguments, _attention
from .._recipe import Recipe
from .._torch import NESTED
from . import _operators

_WINDOW, _SOFTCAP = _attention.DEFAULTS["window"], _attention.DEFAULTS["softcap"]
_is_compiling = torch.compiler.is_compiling  # looked up once


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    recipe: str | Recipe = "int8",
    causal: bool | str = False,
    scale: float | None = None,
    window: tuple[int, int] | None = _WINDOW,
    softcap: float | None = _SOFTCAP,
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
    if not _is_compiling() and _operators.eager(q, k, v):
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
            raise NotImplementedError(f"{name}: {NESTED}")
    operator = torch.ops.octavo.attention_lse if return_lse else torch.ops.octavo.attention
    return operator(
        q, k, v, _text(recipe), _direction(causal), layout, scale, mask, key_mask, *sides(window),
        0.0 if softcap is None else softcap, sinks, alibi_slopes, alibi, kv_lens, cu_seqlens_q, cu_seqlens_k, out_dtype
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


def sides(window: tuple[int, int] | None) -> tuple[int, int]:
    if window is None:
        return -1, -1
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise ValueError(
            f"window: {_arguments.shown(window)}; a pair of integers (left, right) is allowed, -1 = unlimited, or None"
        )
    return window[0], window[1]


def quantize(
    x: Tensor, *, role: str, recipe: str | Recipe = "int8", layout: str = "NHD"
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scales and mean of `octavo.quantize` as an operator that torch can trace, compile and export.

    A part that the recipe does not have (scales, or the mean without smoothing) is an empty tensor, shape [0].
    `octavo.quantize` also takes varlen sequences and returns a `Quantized`.
    """
    if x.is_nested:
        raise NotImplementedError(f"x: {NESTED}")
    return torch.ops.octavo.quantize(x, role, _text(recipe), layout)
