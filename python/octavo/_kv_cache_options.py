"""What a KVCache is made with: its checks, and the core's options."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from . import _arguments, _core
from ._core import DType

_FORMATS = {"s8": DType.s8, "s4": DType.s4, "e4m3": DType.e4m3, "f32": DType.f32, "f16": DType.f16, "bf16": DType.bf16}


def integer(value: Any, name: str) -> int:
    try:
        result = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: {_arguments.shown(value)} is not an integer") from None
    if not -(2**63) <= result < 2**63:
        raise ValueError(f"{name}: {_arguments.shown(value)}; integers of 64 bits are allowed")
    return result


def integers(values: Iterable[Any] | None, name: str) -> list[int]:
    if values is None:
        return []
    try:
        items = list(values)
    except TypeError:
        raise ValueError(f"{name}: {_arguments.shown(values)}; a sequence of integers is allowed") from None
    return [integer(item, f"{name}[{i}]") for i, item in enumerate(items)]


# Recipe -> the formats of a cache that computes it, the default first, and whether it keeps keys in 16 bits.
_RECIPES = {"int8": (("s8",), True), "int8_fast": (("s8",), False), "exact": (("f32", "f16", "bf16"), None)}


def by_recipe(recipe: Any, format: str | None, kept_keys: bool | None) -> tuple[str, bool]:
    """The format and kept_keys of a cache, from what was given."""
    formats: tuple[str, ...] = ("s8",)
    if recipe is not None:
        wanted = _core.recipe_text(_arguments.recipe(recipe))
        if wanted not in _RECIPES:
            raise NotImplementedError(
                f"recipe: {wanted}; a cache has {', '.join(map(repr, _RECIPES))}; format= chooses its other formats"
            )
        formats, keeps = _RECIPES[wanted]
        if isinstance(format, str) and format in _FORMATS and format not in formats:
            allowed = ", ".join(map(repr, formats))
            raise ValueError(f"format: {format!r} with recipe {wanted}, which has {allowed}; give one of the two")
        if keeps is not None:
            if kept_keys is not None and bool(kept_keys) != keeps:
                raise ValueError(f"kept_keys: {kept_keys} with recipe {wanted}, which has {keeps}; give one of the two")
            kept_keys = keeps
    return formats[0] if format is None else format, True if kept_keys is None else bool(kept_keys)


def options(
    batch: int,
    num_kv_heads: int,
    head_dim: int,
    value_head_dim: int | None,
    capacity: int,
    format: str,
    kept_keys: bool,
    page_size: int | None,
    pages: int | None,
    device: Any = None,
) -> _core.KVCacheOptions:
    dtype = _arguments.choice(_FORMATS, format, "format")
    if value_head_dim is not None and integer(value_head_dim, "value_head_dim") < 1:
        raise ValueError(f"value_head_dim: {value_head_dim}; it must be at least 1")
    for name, number in (("page_size", page_size), ("pages", pages)):
        if number is not None and integer(number, name) < 1:
            raise ValueError(f"{name}: {number}; it must be at least 1, or None")
    return _core.KVCacheOptions(
        integer(batch, "batch"),
        integer(num_kv_heads, "num_kv_heads"),
        integer(head_dim, "head_dim"),
        value_head_dim or 0,
        integer(capacity, "capacity"),
        dtype,
        bool(kept_keys),
        page_size or 0,
        pages or 0,
        device_number(device),
    )


def device_number(device: Any) -> int:
    """Number of a CUDA device, -1 for the CPU: of None, "cpu", "cuda", "cuda:1" or a torch.device."""
    text = "cpu" if device is None else str(device)
    kind, colon, index = text.partition(":")
    if kind == "cuda" and (not colon or index.isdecimal()):
        return int(index or 0)
    if text != "cpu":
        raise ValueError(f"device: {_arguments.shown(device)}; 'cpu', 'cuda' and 'cuda:INDEX' are allowed")
    return -1
