"""The mask function: padding as a key mask [B, N], other patterns as transformers' 4-D bool mask.

transformers asks for the mask once per forward pass and hands it to every attention module. A name without a mask
function gets None, which drops padding silently, so each registered name has this one.

A key mask is returned where it says all: the pattern is causal or bidirectional, and the causal diagonal ends at the
last key. `octavo.attention` leaves such keys out of all statistics, and no [B, 1, M, N] mask is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import (
    bidirectional_mask_function,
    causal_mask_function,
    prepare_padding_mask,
    sdpa_mask,
)


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

    # A model that forbids skipping edits the mask afterwards, or its pattern is not only what the function says.
    if mask_function is causal_mask_function and allow_is_causal_skip:
        # Static caches have a tensor as offset, and keys beyond the last position.
        simple = isinstance(q_offset, int) and q_offset - kv_offset == kv_length - q_length
        skip = simple and (q_length == 1 or q_length == kv_length)
    else:
        simple = skip = mask_function is bidirectional_mask_function and allow_is_bidirectional_skip
    if attention_mask is not None and (attention_mask.ndim != 2 or attention_mask.shape[0] != batch_size):
        simple = False
    if not simple:
        return sdpa_mask(
            batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
            mask_function=mask_function, attention_mask=attention_mask, local_size=local_size,
            allow_is_causal_skip=allow_is_causal_skip, allow_is_bidirectional_skip=allow_is_bidirectional_skip,
            **others,
        )  # fmt: skip
    if attention_mask is None:
        return None if skip else torch.ones(batch_size, kv_length, dtype=torch.bool, device=others.get("device", "cpu"))
    padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
    assert padding is not None  # as the mask is given
    padding = padding[:, kv_offset : kv_offset + kv_length]
    # A traced program cannot depend on the mask's values.
    return None if skip and not torch.compiler.is_compiling() and padding.all() else padding
