"""Shapes of codes, scales and mean of `quantize`, for fake tensors. Rules: docs/quantization.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .. import _arguments, _quantized
from .._recipe import recipe as _recipe

_MEAN_ROWS = 128  # queries that share a mean
_CODES = {"s8": torch.int8, "s4": torch.uint8, "e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def shapes(
    shape: Sequence[Any], role: str, recipe: str, layout: str
) -> tuple[tuple[Any, ...], torch.dtype, tuple[Any, ...], tuple[Any, ...]]:
    """Codes' shape and dtype, scales' shape and mean's shape ([0] = none) of `x` with this shape."""
    made_for = _recipe(recipe)
    _quantized.role_of(role)
    _arguments.layout(layout)
    if len(shape) != 4:
        raise ValueError(f"x: rank {len(shape)}; [batch, seqlen, heads, head_dim] or its HND form is allowed")
    element = made_for.values if role == "v" else made_for.scores
    if element not in _CODES:
        raise NotImplementedError(f"recipe {made_for} keeps {role} in floats; there is nothing to quantize")
    batch, channels = shape[0], shape[3]
    rows, heads = (shape[1], shape[2]) if layout == "NHD" else (shape[2], shape[1])
    codes = (*shape[:3], (channels + 1) // 2 if element == "s4" else channels)
    # The centre of folded V is not part of its codes.
    smooth_v = made_for.smooth_v and made_for.v_scale != "token_folded"
    smoothed = {"q": made_for.smooth_q, "k": made_for.smooth_k, "v": smooth_v}[role]
    if not smoothed:
        mean: tuple[Any, ...] = (0,)
    elif role == "q":
        mean = (batch, heads, _blocks(rows, _MEAN_ROWS), channels)
    else:
        mean = (batch, heads, channels)
    return codes, _CODES[element], _scales(made_for, role, element, batch, heads, rows, channels), mean


def _scales(recipe: Any, role: str, element: str, batch: Any, heads: Any, rows: Any, channels: Any) -> tuple[Any, ...]:
    granularity = {"q": recipe.q_scale, "k": recipe.k_scale, "v": recipe.v_scale}[role]
    group = recipe.q_group if role == "q" else recipe.k_group
    if granularity == "none":
        return (0,)
    if granularity == "block":
        width = 128 if role == "q" or (role == "k" and element in ("e4m3", "e5m2")) else 64
        if role == "v":
            width = recipe.key_block
        return (batch, heads, _blocks(rows, width))
    per_head = {
        "tensor": (),
        "warp": (_blocks(rows, group),),
        "thread": (_blocks(rows, group) * (8 if role == "q" else 4),),
        "token": (rows,),
        "token_folded": (rows,),
        "channel": (channels,),
        "block_channel": (_blocks(rows, recipe.key_block), channels),
    }
    return (batch, heads, *per_head[granularity])


def _blocks(rows: Any, width: int) -> Any:
    return (rows + width - 1) // width
