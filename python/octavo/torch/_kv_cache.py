"""KVCache whose append and attend are operators: torch.ops.octavo.cache_append, cache_attend, cache_attend_lse.

An operator takes tensors and numbers only, so the cache is named by its `handle`, an int64 tensor [2]: its number in
this process, and a count of appends. Appending changes the count, so that a compiled program keeps the order of its
appends and attends.
"""

from __future__ import annotations

import inspect
import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from .. import _core, _kv_cache
from . import _operators
from ._attention import sides

_HOW_TO_ATTEND = (
    "(Tensor handle, Tensor q, SymInt value_head_dim, int[]? seq_ids=None, str layout='NHD', bool causal=True, "
    "float? scale=None, SymInt window_left=-1, SymInt window_right=-1, float softcap=0.0, Tensor? mask=None, "
    "Tensor? key_mask=None, Tensor? tree_mask=None, Tensor? sinks=None, Tensor? alibi_slopes=None, "
    "str alibi='causal', Tensor? cu_seqlens_q=None, ScalarType? out_dtype=None)"
)
_SCHEMAS = {
    "cache_append": "(Tensor(a!) handle, Tensor k, Tensor v, int[]? seq_ids=None, int[]? counts=None, "
    "str layout='NHD') -> ()",
    "cache_attend": _HOW_TO_ATTEND + " -> Tensor",
    "cache_attend_lse": _HOW_TO_ATTEND + " -> (Tensor, Tensor)",
}
_caches: weakref.WeakValueDictionary[int, KVCache] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


class KVCache(_kv_cache.KVCache):
    """`octavo.KVCache` for torch: `append` and `attend` can be traced and compiled.

    Arguments, results and errors are those of `octavo.KVCache`. Differences: every array is a torch tensor; `attend`
    has no `out` and no `workspace`, and the stream is torch's current one; as many threads as torch has are used,
    unless `octavo.set_num_threads` or OCTAVO_NUM_THREADS says otherwise. A compiled program reads the lengths when it
    runs. Other methods, such as `trim`, are called outside of compiled functions.

    Examples
    --------
    >>> cache = octavo.torch.KVCache(1, 8, 128, capacity=4096)
    >>> @torch.compile(fullgraph=True)
    ... def step(q, k, v):
    ...     cache.append(k, v)
    ...     return cache.attend(q)
    """

    handle: Tensor

    def _hold(self, cache: _core.KVCache) -> None:
        super()._hold(cache)
        number = next(_numbers)
        self.handle = torch.tensor([number, 0])
        _caches[number] = self

    def _append(
        self, k: Any, v: Any, seq_ids: Iterable[int] | None, counts: Iterable[int] | None, layout: str, stream: Any
    ) -> None:
        _refuse(stream=stream)
        torch.ops.octavo.cache_append(self.handle, k, v, _listed(seq_ids), _listed(counts), layout)

    def _attend(self, q: Any, seq_ids: Iterable[int] | None, parameters: dict[str, Any]) -> Any:
        given = dict(parameters)
        _refuse(out=given.pop("out"), stream=given.pop("stream"), workspace=given.pop("workspace"))
        operator = torch.ops.octavo.cache_attend_lse if given.pop("return_lse") else torch.ops.octavo.cache_attend
        given["window_left"], given["window_right"] = sides(given.pop("window"))
        given["softcap"] = 0.0 if given["softcap"] is None else given["softcap"]
        return operator(self.handle, q, self.value_head_dim, _listed(seq_ids), **given)


def _refuse(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise NotImplementedError(f"{name}: octavo.torch.KVCache has no {name}; octavo.KVCache has")


def _listed(values: Iterable[int] | None) -> list[int] | None:
    return None if values is None else list(values)


def _cache_of(handle: Tensor) -> KVCache:
    number = int(handle[0])
    cache = _caches.get(number)
    if cache is None:
        raise ValueError(f"handle: {number} names no octavo.torch.KVCache of this process, or one that is gone")
    return cache


def _append_kernel(
    handle: Tensor, k: Tensor, v: Tensor, seq_ids: list[int] | None = None, counts: list[int] | None = None,
    layout: str = "NHD",
) -> None:  # fmt: skip
    _operators.with_torchs_threads(
        _kv_cache.KVCache._append, _cache_of(handle), k, v, seq_ids, counts, layout, None
    )
    handle[1] += 1


# The operator's arguments after value_head_dim, by their names in `octavo.KVCache.attend`.
_NAMES = ("seq_ids", "layout", "causal", "scale", "left", "right", "softcap", "mask", "key_mask", "tree_mask", "sinks",
          "alibi_slopes", "alibi", "cu_seqlens_q", "out_dtype")  # fmt: skip


_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(_kv_cache.KVCache.attend).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


def _attend(handle: Tensor, q: Tensor, given: tuple[Any, ...], return_lse: bool) -> Any:
    named = dict(zip(_NAMES, given))  # torch leaves out the last ones that have their defaults
    window = named.pop("left", -1), named.pop("right", -1)
    seq_ids = named.pop("seq_ids", None)
    parameters = {**_DEFAULTS, **named, "window": window, "return_lse": return_lse}
    return _operators.with_torchs_threads(_kv_cache.KVCache._attend, _cache_of(handle), q, seq_ids, parameters)


def _attend_kernel(handle: Tensor, q: Tensor, value_head_dim: int, *given: Any) -> Tensor:
    return _attend(handle, q, given, False)


def _attend_lse_kernel(handle: Tensor, q: Tensor, value_head_dim: int, *given: Any) -> tuple[Tensor, Tensor]:
    return _attend(handle, q, given, True)


def _append_fake(handle: Tensor, k: Tensor, v: Tensor, *given: Any) -> None:
    pass


def _attend_lse_fake(handle: Tensor, q: Tensor, value_head_dim: int, *given: Any) -> tuple[Tensor, Tensor]:
    named = dict(zip(_NAMES, given))
    torch._check(q.dim() in (3, 4), lambda: f"q: rank {q.dim()}; 4 axes (with cu_seqlens_q: 3) are allowed")
    rows, heads = (-3, -2) if named.get("layout", "NHD") == "NHD" else (-2, -3)
    o = q.new_empty((*q.shape[:-1], value_head_dim), dtype=named.get("out_dtype") or q.dtype)
    return o, q.new_empty((*q.shape[:-3], q.shape[heads], q.shape[rows]), dtype=torch.float32)


def _attend_fake(*arguments: Any) -> Tensor:
    return _attend_lse_fake(*arguments)[0]


_OPERATORS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {  # CPU kernel, fake kernel
    "cache_append": (_append_kernel, _append_fake),
    "cache_attend": (_attend_kernel, _attend_fake),
    "cache_attend_lse": (_attend_lse_kernel, _attend_lse_fake),
}


def _define() -> None:
    tags = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)
    for name, schema in _SCHEMAS.items():
        _operators.LIBRARY.define(name + schema, tags=tags)
        kernel, fake = _OPERATORS[name]
        for device in ("CPU", "CUDA"):
            _operators.LIBRARY.impl(name, kernel, device)
        torch.library.register_fake(f"octavo::{name}", fake, lib=_operators.LIBRARY)


_define()
