"""octavo for Hugging Face diffusers: its attention function is octavo's, for all models or in a context.

>>> import octavo.diffusers
>>> octavo.diffusers.enable(recipe="int8")                   # until octavo.diffusers.disable()
>>> with octavo.diffusers.enable():                          # or in a context
...     image = pipeline(prompt).images[0]

diffusers has a closed list of attention back ends and no public way to add one. So octavo takes the place of one of
them in its registry ("native", the default), and of `F.scaled_dot_product_attention` in the modules of diffusers whose
attention processors call it directly. torch itself and the text encoders of transformers are not changed.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections import Counter
from typing import Any

import torch
from diffusers.models import attention_dispatch, attention_processor
from torch import Tensor

from . import _arguments
from ._recipe import Recipe
from .torch._sdpa import attempt

__all__ = ["Enabled", "disable", "enable"]

_enabled: list[Enabled] = []


class _AnyKeyword(set[str]):
    """diffusers drops keywords that a back end's signature lacks; this has all, so that unknown ones are refused."""

    def __contains__(self, name: object) -> bool:
        return True


class Enabled:
    """The state of one `enable`: a context manager, whose exit disables.

    Attributes
    ----------
    fallbacks : Counter
        With on_unsupported="fallback": reason -> number of calls that diffusers' own function computed.
    """

    def __init__(self, recipe: str, backend: Any, on_unsupported: str) -> None:
        self.recipe, self.backend, self.on_unsupported = recipe, backend, on_unsupported
        self.fallbacks: Counter[str] = Counter()
        registry = attention_dispatch._AttentionBackendRegistry
        self._function = registry._backends[backend]
        self._state = (self._function, registry._constraints[backend], registry._supported_arg_names[backend])
        self._parallel = backend.value in registry._supports_context_parallel
        registry.register(backend, constraints=[])(self._dispatched)
        registry._supported_arg_names[backend] = _AnyKeyword(inspect.signature(self._dispatched).parameters)
        registry._supports_context_parallel.discard(backend.value)
        self._functional = types.ModuleType("torch.nn.functional")
        self._functional.__dict__.update(torch.nn.functional.__dict__)
        self._functional.scaled_dot_product_attention = self._sdpa  # type: ignore[attr-defined]
        self._modules = {name: module.F for name, module in _modules().items()}
        for name in self._modules:
            sys.modules[name].F = self._functional  # type: ignore[attr-defined]

    def _restore(self) -> None:
        registry = attention_dispatch._AttentionBackendRegistry
        backend = self.backend
        function, constraints, names = self._state
        registry._backends[backend], registry._constraints[backend] = function, constraints
        registry._supported_arg_names[backend] = names
        if self._parallel:
            registry._supports_context_parallel.add(backend.value)
        for name, functional in self._modules.items():
            sys.modules[name].F = functional  # type: ignore[attr-defined]

    def __enter__(self) -> Enabled:
        return self

    def __exit__(self, *_: object) -> None:
        disable(self)

    def _refused(self, reason: str) -> NotImplementedError:
        return NotImplementedError(
            f"octavo.diffusers: {reason}; enable(on_unsupported='fallback') calls diffusers' own function"
        )

    def _dispatched(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        return_lse: bool = False,
        _parallel_config: Any = None,
        **others: Any,
    ) -> Tensor:
        """The registry's function: tensors [B, S, H, D], a mask [B, S_k] or broadcast to [B, H, S, S_k]."""
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        mask = attn_mask
        if mask is not None and mask.dim() == 2 and mask.shape == (key.shape[0], key.shape[1]):
            mask = mask[:, None, None, :]
        given = {name for name, one in others.items() if one is not None}
        o: Tensor | str = (
            "return_lse=True is not supported" if return_lse
            else "context parallelism is not supported" if _parallel_config is not None
            else f"keywords {', '.join(sorted(given))} are not supported" if given
            else attempt(q, k, v, mask, dropout_p, is_causal, scale, enable_gqa, self.recipe)
        )  # fmt: skip
        if not isinstance(o, str):
            return o.transpose(1, 2)
        if self.on_unsupported == "error":
            raise self._refused(o)
        if not torch.compiler.is_compiling():
            self.fallbacks[o] += 1
        keywords = {
            "query": query, "key": key, "value": value, "attn_mask": attn_mask, "dropout_p": dropout_p,
            "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa, "return_lse": return_lse,
            "_parallel_config": _parallel_config, **others,
        }  # fmt: skip
        return self._function(**{name: one for name, one in keywords.items() if name in self._state[2]})

    def _sdpa(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """F.scaled_dot_product_attention of the modules whose processors call it."""
        o = attempt(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, self.recipe)
        if not isinstance(o, str):
            return o
        if self.on_unsupported == "error":
            raise self._refused(o)
        if not torch.compiler.is_compiling():
            self.fallbacks[o] += 1
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )


def _modules() -> dict[str, Any]:
    """Loaded modules of diffusers with `F`; attention_processor, which most models use, is loaded by this file."""
    assert attention_processor.__name__ in sys.modules
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name.startswith("diffusers.models.") and isinstance(getattr(module, "F", None), types.ModuleType)
    }


def enable(recipe: str | Recipe = "int8", *, backend: str = "native", on_unsupported: str = "error") -> Enabled:
    """Makes octavo the attention function of diffusers, at once; `disable` or the end of a ``with`` block undoes it.

    Load the pipeline first: modules of diffusers that are imported later keep torch's function in processors that call
    it directly (models that use diffusers' dispatcher are served in any order).

    Parameters
    ----------
    recipe : str or Recipe
        How Q, K, P and V are represented (`octavo.recipes`).
    backend : str
        The name in diffusers' list whose place octavo takes; "native" is the default back end.
    on_unsupported : {"error", "fallback"}
        What calls do that octavo does not support: raise NotImplementedError, or call the replaced function and count
        the reason in `Enabled.fallbacks`. Masks are never dropped.

    Raises
    ------
    ValueError
        An unknown back end or recipe.
    """
    if on_unsupported not in ("error", "fallback"):
        raise ValueError(f"on_unsupported: {on_unsupported!r}; 'error' and 'fallback' are allowed")
    _arguments.recipe(recipe)
    registered = {member.value: member for member in attention_dispatch._AttentionBackendRegistry._backends}
    if backend not in registered:
        raise ValueError(f"backend: {backend!r}; diffusers has {', '.join(sorted(registered))}")
    _enabled.append(Enabled(str(recipe), registered[backend], on_unsupported))
    return _enabled[-1]


def disable(enabled: Enabled | None = None) -> None:
    """Undoes the last `enable`.

    Raises
    ------
    RuntimeError
        Nothing is enabled, or `enabled` is not the last one.
    """
    if not _enabled or enabled not in (None, _enabled[-1]):
        raise RuntimeError("octavo.diffusers: not enabled, or another enable() came later and must be undone first")
    _enabled.pop()._restore()
