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
from .torch._patch import Unsupported, replacement
from .torch._sdpa import attempt

__all__ = ["Enabled", "disable", "enable"]

_enabled: list[Enabled] = []
_REFUSAL = "octavo.diffusers: {}; enable(on_unsupported='fallback') calls diffusers' own function"
# Options of diffusers' dispatcher that SDPA has too, with their defaults.
_SDPA_OPTIONS: dict[str, Any] = {
    "attn_mask": None, "dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False,
}  # fmt: skip


def _torchs_function(*arguments: Any, **keywords: Any) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(*arguments, **keywords)  # as it is at the call


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
        self._unsupported = Unsupported(on_unsupported, _REFUSAL)
        self.recipe, self.backend, self.on_unsupported = recipe, backend, on_unsupported
        self.fallbacks: Counter[str] = self._unsupported.fallbacks
        registry = attention_dispatch._AttentionBackendRegistry
        self._function = registry._backends[backend]
        self._state = (self._function, registry._constraints[backend], registry._supported_arg_names[backend])
        self._parallel = backend.value in registry._supports_context_parallel
        registry.register(backend, constraints=[])(self._dispatched)
        registry._supported_arg_names[backend] = _AnyKeyword(inspect.signature(self._dispatched).parameters)
        registry._supports_context_parallel.discard(backend.value)
        self._functional = types.ModuleType("torch.nn.functional")
        self._functional.__dict__.update(torch.nn.functional.__dict__)
        self._functional.scaled_dot_product_attention = replacement(  # type: ignore[attr-defined]
            recipe, self._unsupported, _torchs_function
        )
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

    def _dispatched(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        """The registry's function: tensors [B, S, H, D], a mask [B, S_k] or broadcast to [B, H, S, S_k]."""
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        sdpa = _SDPA_OPTIONS | {name: one for name, one in options.items() if name in _SDPA_OPTIONS}
        mask = sdpa.pop("attn_mask")
        if mask is not None and mask.dim() == 2 and mask.shape == (key.shape[0], key.shape[1]):
            mask = mask[:, None, None, :]
        others = {name for name, one in options.items() if one is not None and name not in _SDPA_OPTIONS}
        o: Tensor | str = (
            "return_lse=True is not supported" if options.get("return_lse")
            else "context parallelism is not supported" if "_parallel_config" in others
            else f"keywords {', '.join(sorted(others))} are not supported" if others - {"return_lse"}
            else attempt(q, k, v, mask, **sdpa, recipe=self.recipe)
        )  # fmt: skip
        if not isinstance(o, str):
            return o.transpose(1, 2)
        self._unsupported(o)
        known = {name: one for name, one in options.items() if name in self._state[2]}
        return self._function(query=query, key=key, value=value, **known)


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
