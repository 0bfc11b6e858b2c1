"""patch: torch.nn.functional.scaled_dot_product_attention is octavo's, in a context or for the whole process."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import _arguments
from .._recipe import Recipe
from ._sdpa import attempt


class Unsupported:
    """What happens to calls that octavo does not support: an error, or the replaced function and a count."""

    def __init__(self, on_unsupported: str, message: str) -> None:
        self.raises = _arguments.choice({"error": True, "fallback": False}, on_unsupported, "on_unsupported")
        self.message = message
        self.fallbacks: Counter[str] = Counter()

    def __call__(self, reason: str) -> None:
        """Raises, or returns where the replaced function is to be called."""
        if self.raises:
            raise NotImplementedError(self.message.format(reason))
        if not torch.compiler.is_compiling():
            self.fallbacks[reason] += 1


def replacement(recipe: str, unsupported: Unsupported, replaced: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function with SDPA's signature: octavo's attention, or the replaced function where `unsupported` says so."""

    def scaled_dot_product_attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        o = attempt(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, recipe)
        if not isinstance(o, str):
            return o
        unsupported(o)
        return replaced(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)

    return scaled_dot_product_attention


class patch(contextlib.ContextDecorator):  # noqa: N801 - used like a function
    """Replaces `torch.nn.functional.scaled_dot_product_attention`, in a ``with`` block, or from `enable` to `disable`.

    Code that looks the function up in `torch.nn.functional` at each call gets octavo's. Unaffected are names imported
    before (``from torch.nn.functional import scaled_dot_product_attention``) and programs compiled before. The patch
    holds for all threads of the process.

    Parameters
    ----------
    recipe : str or Recipe
        How Q, K, P and V are represented (`octavo.recipes`).
    on_unsupported : {"error", "fallback"}
        What calls do that octavo does not support (dropout, float64, gradients, ...): raise NotImplementedError, or
        call torch's function and count the reason in `fallbacks`.

    Attributes
    ----------
    fallbacks : Counter
        Reason -> number of calls that torch's function computed. Calls of compiled programs are not counted.

    Examples
    --------
    >>> with octavo.torch.patch(recipe="int8"):
    ...     model(x)
    >>> patched = octavo.torch.patch(on_unsupported="fallback").enable()      # until patched.disable()
    """

    def __init__(self, *, recipe: str | Recipe = "int8", on_unsupported: str = "error") -> None:
        self._unsupported = Unsupported(on_unsupported, _REFUSAL)
        _arguments.recipe(recipe)
        self.recipe = str(recipe)
        self.on_unsupported, self.fallbacks = on_unsupported, self._unsupported.fallbacks
        self._replaced: list[Any] = []  # the functions replaced, one for each `enable`
        self._function = replacement(self.recipe, self._unsupported, _TORCH)

    def enable(self) -> patch:
        """Replaces the function; returns this patch."""
        functional = torch.nn.functional
        self._replaced.append(functional.scaled_dot_product_attention)
        functional.scaled_dot_product_attention = self._function
        return self

    def disable(self) -> None:
        """Restores the function that `enable` replaced.

        Raises
        ------
        RuntimeError
            The patch is not enabled, or another one was enabled later and still is.
        """
        functional = torch.nn.functional
        if not self._replaced or functional.scaled_dot_product_attention is not self._function:
            raise RuntimeError(
                "octavo.torch.patch: this patch is not the active one; patches are disabled in the reverse order of "
                "enabling"
            )
        functional.scaled_dot_product_attention = self._replaced.pop()

    def __enter__(self) -> patch:
        return self.enable()

    def __exit__(self, *_: object) -> None:
        self.disable()


_TORCH = torch.nn.functional.scaled_dot_product_attention
_REFUSAL = "octavo.torch.patch: {}; on_unsupported='fallback' calls torch's function"
