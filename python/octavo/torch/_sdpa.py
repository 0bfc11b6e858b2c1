"""scaled_dot_product_attention with the signature and the rules of torch's.

SDPA's operands are [..., heads, L, E], its causal mask starts at the top left, a bool mask is True where a query may
attend, and a float mask is added to the scores.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .._recipe import Recipe
from .._torch import NESTED
from ._attention import attention
from ._operators import FLOATS, NO_BACKWARD

_MAX_CPU = 576
_MAX_HEAD_DIM = {"cpu": _MAX_CPU, "cuda": 256}
_STRIDED = torch.strided
_records = torch.is_grad_enabled


def unsupported(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool,
    enable_gqa: bool
) -> str | None:  # fmt: skip
    """Why octavo cannot do what torch's function does with these arguments; None if it can.

    It looks at types and shapes only, so a compiled program decides it while it is traced.
    """
    tensors = {"query": query, "key": key, "value": value}
    if attn_mask is not None:
        tensors["attn_mask"] = attn_mask
    if dropout_p > 0.0:
        return f"dropout_p: {dropout_p}; octavo is for inference and has no dropout, 0.0 is allowed"
    limit = _MAX_HEAD_DIM.get(query.device.type)
    if limit is None:
        return f"query is on {query.device}; octavo computes on the CPU and on CUDA devices"
    autocast = torch.is_autocast_enabled(query.device.type)
    for name, x in tensors.items():
        if x.is_nested:
            return f"{name}: {NESTED}"
        if x.layout is not torch.strided:
            return f"{name}: layout {x.layout}; dense tensors are allowed"
        if x.requires_grad and torch.is_grad_enabled():
            return f"{name} requires grad: {NO_BACKWARD}"
        if x.device != query.device:
            return f"{name} is on {x.device} and query on {query.device}; all tensors must be on one device"
        if name != "attn_mask":
            if x.dtype not in FLOATS:
                return f"{name}: dtype {x.dtype}; float32, float16 and bfloat16 are allowed"
            if x.dtype != query.dtype and not autocast:
                return f"{name}: dtype {x.dtype}, query: {query.dtype}; they must be the same"
            if x.dim() < 2:
                return f"{name}: rank {x.dim()}; at least 2 axes [..., L, E] are required"
    if is_causal and attn_mask is not None:
        return "is_causal and attn_mask: only one of them is allowed"
    if key.shape[-1] != query.shape[-1]:
        return f"key: head_dim {key.shape[-1]}, query: {query.shape[-1]}; they must be the same"
    for name, x in (("query", query), ("value", value)):
        if not 1 <= x.shape[-1] <= limit:
            return f"{name}: head_dim {x.shape[-1]}; 1 to {limit} is allowed on {query.device.type}"
    return _unsupported_heads(query, key, value, enable_gqa)


def _unsupported_heads(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> str | None:
    if query.dim() < 3 or key.dim() < 3 or value.dim() < 3:
        return None
    heads, kv_heads = query.shape[-3], key.shape[-3]
    if enable_gqa:
        if value.shape[-3] != kv_heads or kv_heads == 0 or heads % kv_heads != 0:
            return (
                f"enable_gqa: {heads} query heads, {kv_heads} key and {value.shape[-3]} value heads; key and value "
                "must have the same number, and query a multiple of it"
            )
    elif kv_heads not in (1, heads) and heads != 1:
        return f"key: {kv_heads} heads, query: {heads}; they must be the same, or enable_gqa=True"
    return None


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    recipe: str | Recipe = "int8",
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` with the arithmetic of a recipe.

    Parameters
    ----------
    query : Tensor
        [..., Hq, L, E]; float32, float16 or bfloat16 (autocast casts), on the CPU or a CUDA device.
    key, value : Tensor
        [..., H, S, E] and [..., H, S, Ev]. Leading axes broadcast.
    attn_mask : Tensor, optional
        bool (True = may attend) or floats (added to the scaled scores), broadcast to [..., Hq, L, S].
    dropout_p : float
        0.0; others are refused.
    is_causal : bool
        Query i sees key j iff ``j <= i`` (top left), as in torch; not together with attn_mask.
    scale : float, optional
        Factor of the scores; default 1 / sqrt(E).
    enable_gqa : bool
        Hq may be a multiple of H.
    recipe : str or Recipe
        How Q, K, P and V are represented (`octavo.recipes`).

    Returns
    -------
    Tensor
        [..., Hq, L, Ev], query's dtype, contiguous.

    Raises
    ------
    NotImplementedError
        Arguments that octavo does not support, with the reason.
    """
    o = attempt(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, recipe)
    if isinstance(o, str):
        raise NotImplementedError(f"octavo.torch.scaled_dot_product_attention: {o}")
    return o


def attempt(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool,
    scale: float | None, enable_gqa: bool, recipe: str | Recipe
) -> Tensor | str:  # fmt: skip
    """SDPA, or why octavo cannot compute it."""
    if attn_mask is None and dropout_p == 0.0 and _is_common(query, key, value):
        return attention(
            query, key, value, recipe=recipe, causal="top_left" if is_causal else False, scale=scale, layout="HND"
        )
    reason = unsupported(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa)
    if reason is not None:
        return reason
    causal: Any = "top_left" if is_causal else False
    if not _is_batch(query, key, value, attn_mask, enable_gqa):
        return _broadcast(query, key, value, attn_mask, causal, scale, enable_gqa, recipe)
    return attention(query, key, value, recipe=recipe, causal=causal, scale=scale, mask=attn_mask, layout="HND")


def _is_common(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """The usual call, recognized in less time than `unsupported` takes: plain CPU tensors with as many heads each."""
    dtype = query.dtype
    return (
        type(query) is type(key) is type(value) is Tensor
        and query.is_cpu and key.is_cpu and value.is_cpu
        and key.dtype is dtype and value.dtype is dtype and dtype in FLOATS
        and query.layout is _STRIDED and key.layout is _STRIDED and value.layout is _STRIDED
        and not (query.is_nested or key.is_nested or value.is_nested)
        and not (_records() and (query.requires_grad or key.requires_grad or value.requires_grad))
        and _common_shapes(query.shape, key.shape, value.shape)
    )  # fmt: skip


def _common_shapes(q: torch.Size, k: torch.Size, v: torch.Size) -> bool:
    return (
        len(q) == len(k) == len(v) == 4
        and q[0] == k[0] == v[0] and q[1] == k[1] == v[1] and k[2] == v[2]
        and 0 < q[3] == k[3] <= _MAX_CPU and 0 < v[3] <= _MAX_CPU
    )  # fmt: skip


def _is_batch(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, enable_gqa: bool) -> bool:
    """Whether octavo's attention takes the operands as they are: [B, heads, L, E] of one batch size."""
    return (
        query.dim() == 4 and key.dim() == 4 and value.dim() == 4
        and key.shape[0] == query.shape[0] == value.shape[0]
        and key.shape[1] == value.shape[1] and (enable_gqa or key.shape[1] == query.shape[1])
        and (attn_mask is None or attn_mask.dim() in (2, 3, 4))
    )  # fmt: skip


def _broadcast(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, causal: Any, scale: float | None,
    enable_gqa: bool, recipe: str | Recipe
) -> Tensor:  # fmt: skip
    """Leading axes of any number, broadcast against each other and merged into one batch axis."""
    leading = [x.shape[:-3] if enable_gqa else x.shape[:-2] for x in (query, key, value)]
    if attn_mask is not None:
        leading.append(attn_mask.shape[:-3] if enable_gqa else attn_mask.shape[:-2])
    shape = torch.broadcast_shapes(*leading)
    batch = math.prod(shape if enable_gqa else shape[:-1])
    heads = shape[-1] if shape else 1  # without enable_gqa

    def merged(x: Tensor) -> Tensor:
        own = x.shape[-3] if enable_gqa else heads
        return x.expand(*shape, *x.shape[-3 if enable_gqa else -2 :]).reshape(batch, own, *x.shape[-2:])

    mask = attn_mask
    if mask is not None and mask.dim() > 2:
        mask = merged(mask)
    o = attention(
        merged(query), merged(key), merged(value), recipe=recipe, causal=causal, scale=scale, mask=mask, layout="HND"
    )
    return o.reshape(*shape, *query.shape[-3 if enable_gqa else -2 : -1], value.shape[-1])
