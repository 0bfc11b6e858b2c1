"""register: octavo as an implementation that `torch.nn.attention.activate_flash_attention_impl` accepts.

torch's SDPA chooses one of its kernels for each call. While octavo's implementation is active, it stands in the place
of the CPU's flash kernel in torch's dispatcher, below SDPA: names that were imported before, functions that are called
from C++, and programs compiled before reach it.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .. import _arguments, _attention
from .._recipe import Recipe
from . import _operators
from ._sdpa import unsupported

_FORWARD = "_scaled_dot_product_flash_attention_for_cpu"
_BACKWARD = "_scaled_dot_product_flash_attention_for_cpu_backward"


class _Active:
    """The handle that torch keeps while the implementation is active: its kernels in torch's dispatcher."""

    def __init__(self, recipe: str | Recipe) -> None:
        library = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*Overriding a previously registered kernel")
            library.impl(_FORWARD, _forward(recipe), "CPU", allow_override=True)
            library.impl(_BACKWARD, _backward, "CPU", allow_override=True)
        self._library: torch.library.Library | None = library

    def remove(self) -> None:
        self._library = None  # the dispatcher has torch's kernels again


def _forward(recipe: str | Recipe) -> Any:
    def kernel(
        query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0, is_causal: bool = False, *,
        attn_mask: Tensor | None = None, scale: float | None = None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """q, k, v [B, H, N, D] -> o with q's strides, LSE [B, H, M] in the order [B, M, H], as torch's kernel."""
        reason = unsupported(query, key, value, attn_mask, dropout_p, is_causal, True)
        if reason is not None:
            raise NotImplementedError(
                f"octavo.torch.register: {reason}. torch.nn.attention.restore_flash_attention_impl() activates torch's "
                "kernel again; octavo.torch.patch(on_unsupported='fallback') decides for each call"
            )
        o, lse = _operators.run(_attention.DEFAULTS | {
            "q": query, "k": key, "v": value, "recipe": recipe, "causal": "top_left" if is_causal else False,
            "scale": scale, "mask": attn_mask, "layout": "HND", "return_lse": True, "out": torch.empty_like(query),
        })  # fmt: skip
        assert lse is not None
        return o, lse.transpose(1, 2).contiguous().transpose(1, 2)

    return kernel


def _backward(*arguments: Any, **keywords: Any) -> Any:
    raise RuntimeError(_operators.NO_BACKWARD)


def register(name: str = "octavo", *, recipe: str | Recipe = "int8") -> str:
    """Registers octavo with torch under a name for `torch.nn.attention.activate_flash_attention_impl`.

    While it is active, the SDPA calls on the CPU that torch would give to its flash kernel are octavo's:
    dense tensors of 4 axes with one head_dim, without dropout, and with a mask of 2 or 4 axes or none. Others remain
    torch's. `torch.nn.attention.restore_flash_attention_impl` ends it.

    Parameters
    ----------
    name : str
        The implementation's name. A name that octavo registered before may be registered again.
    recipe : str or Recipe
        How Q, K, P and V are represented (`octavo.recipes`).

    Returns
    -------
    str
        The name.

    Raises
    ------
    NotImplementedError
        The installed torch has no such registry; 2.13 has one.
    ValueError
        An invalid recipe, or a name that another library registered.

    Examples
    --------
    >>> torch.nn.attention.activate_flash_attention_impl(octavo.torch.register())
    """
    from torch.nn import attention

    if not hasattr(attention, "register_flash_attention_impl"):
        raise NotImplementedError(
            f"octavo.torch.register: torch {torch.__version__} has no registry of attention implementations; "
            "octavo.torch.patch replaces scaled_dot_product_attention in any version"
        )
    _arguments.recipe(recipe)
    if name not in _registered and name in attention.list_flash_attention_impls():
        raise ValueError(f"name: {name!r} is an implementation of torch or of another library")
    _registered.add(name)
    attention.register_flash_attention_impl(name, register_fn=lambda: _Active(recipe))
    return name


_registered: set[str] = set()
