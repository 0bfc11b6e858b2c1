"""The mask function: padding and sliding windows as a key mask [B, N], other patterns as transformers' 4-D bool mask.

transformers asks for the mask once per forward pass and hands it to every attention module. A name without a mask
function gets None, which drops padding silently, so each registered name has this one.

A key mask is returned where it says all: the pattern is causal or bidirectional, with or without a sliding window, and
the diagonal ends at the last key. `octavo.attention` leaves such keys out of all statistics, skips what is outside of
the window, and no [B, 1, M, N] mask is made. With a window the key mask is int32: 0 = padding, otherwise the window's
width, so that the window is wherever the mask is; not every model hands it to its attention function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import (
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    prepare_padding_mask,
    sdpa_mask,
    sliding_window_bidirectional_overlay,
    sliding_window_overlay,
)

# transformers makes a function for every mask, but they share their code.
_BOTH = and_masks(causal_mask_function).__code__
_BEHIND = sliding_window_overlay(1).__code__
_AROUND = sliding_window_bidirectional_overlay(1).__code__


def _window_of(mask_function: Any) -> tuple[Any, int | None]:
    """A mask function without its sliding window, and the window's width w: key j is hidden if ``|i - j| >= w``."""

    def enclosed(function: Any, code: Any, name: str) -> Any:
        found = getattr(function, "__code__", None) is code
        return dict(zip(code.co_freevars, function.__closure__, strict=True))[name].cell_contents if found else None

    parts = enclosed(mask_function, _BOTH, "mask_functions")
    if parts is not None and len(parts) == 2:
        overlay, pattern = parts
        if pattern is causal_mask_function and (width := enclosed(overlay, _BEHIND, "sliding_window")) is not None:
            return pattern, width
        if pattern is bidirectional_mask_function:
            reach = enclosed(overlay, _AROUND, "sliding_window")
            return (mask_function, None) if reach is None else (pattern, reach + 1)
    return mask_function, None


def octavo_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    allow_is_bidirectional_skip: bool = False,
    **others: Any,
) -> Tensor | None:
    """None (nothing is hidden but by causality), a key mask [B, N], or a mask [B, 1, M, N]; True = may attend."""

    # A traced program has transformers' mask: its functions' closures are not the tracer's.
    compiling = torch.compiler.is_compiling()
    pattern, width = (mask_function, None) if compiling else _window_of(mask_function)
    # Static caches have a tensor as offset, and keys beyond the last position.
    aligned = isinstance(q_offset, int) and q_offset - kv_offset == kv_length - q_length
    # A model that forbids skipping edits the mask afterwards, or its pattern is not only what the function says.
    if pattern is causal_mask_function and allow_is_causal_skip:
        simple, skip = aligned, aligned and (q_length == 1 or q_length == kv_length)
    else:
        skip = pattern is bidirectional_mask_function and allow_is_bidirectional_skip
        simple = skip and (width is None or aligned)
    if width is not None and kv_length <= width:
        width = None  # it hides nothing
    if attention_mask is not None and (attention_mask.ndim != 2 or attention_mask.shape[0] != batch_size):
        simple = False
    if not simple:
        return sdpa_mask(
            batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
            mask_function=mask_function, attention_mask=attention_mask, local_size=local_size,
            allow_is_causal_skip=allow_is_causal_skip, allow_is_bidirectional_skip=allow_is_bidirectional_skip,
            **others,
        )  # fmt: skip
    if attention_mask is None and width is not None:
        return torch.full((batch_size, kv_length), width, dtype=torch.int32, device=others.get("device", "cpu"))
    if attention_mask is None:
        return None if skip else torch.ones(batch_size, kv_length, dtype=torch.bool, device=others.get("device", "cpu"))
    padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
    assert padding is not None  # as the mask is given
    padding = padding[:, kv_offset : kv_offset + kv_length]
    if width is not None:
        return padding.to(torch.int32) * width
    # A traced program cannot depend on the mask's values.
    return None if skip and not compiling and padding.all() else padding
