"""The attention function that transformers' models call: q [B, Hq, M, D], k and v [B, Hkv, N, D] -> o [B, M, Hq, D].

Rules taken over from transformers' SDPA function: a mask overrides causality; without a mask a causal module's
diagonal starts at the top left (an empty static cache has N > M, and keys beyond M are unused).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..torch import attention
from ._cache import OctavoLayer

# Keywords without an effect on attention: they reach every attention function.
_WITHOUT_EFFECT = frozenset({
    "position_ids", "cache_position", "use_cache", "past_key_values", "return_dict", "output_hidden_states",
    "output_router_logits", "num_items_in_batch", "deterministic", "max_length_q", "max_length_k",
    "position_embeddings", "layer_idx",
})  # fmt: skip


class Forward:
    """One registered implementation: its recipe, recipes of single layers, and keywords to ignore."""

    def __init__(self, name: str, recipe: str, layers: Mapping[int, str], ignore: frozenset[str]) -> None:
        self.name, self.recipe, self.layers, self.ignore = name, recipe, dict(layers), ignore | _WITHOUT_EFFECT

    def __call__(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        is_causal: bool | None = None,
        position_bias: Tensor | None = None,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        sliding_window: int | None = None,
        cu_seq_lens_q: Tensor | None = None,
        cu_seq_lens_k: Tensor | None = None,
        octavo_cache: OctavoLayer | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        self._check(dropout, others)
        width, symmetric = sliding_window, False
        if attention_mask is not None and attention_mask.dim() == 4:
            width = None  # the mask contains it
        elif attention_mask is not None and attention_mask.dtype == torch.int32:  # octavo_mask()
            if width is None or not torch.compiler.is_compiling():
                width = int(attention_mask.max())
            attention_mask, symmetric = attention_mask > 0, True
        if octavo_cache is not None:
            self._check_over_cache(
                module, is_causal, position_bias=position_bias, cu_seq_lens_q=cu_seq_lens_q, cu_seq_lens_k=cu_seq_lens_k
            )
            if octavo_cache.append(attention_mask, windowed=width is not None):
                assert octavo_cache.cache is not None
                o = octavo_cache.cache.attend(
                    query.transpose(1, 2), scale=scaling, softcap=0.0 if softcap is None else softcap, sinks=s_aux,
                    window=(-1, -1) if width is None else (width - 1, -1),
                )  # fmt: skip
                return o, None
            # The first call: key and value are all there is, in full precision.
        if cu_seq_lens_q is not None or cu_seq_lens_k is not None:
            same = _same_sequence(cu_seq_lens_q, cu_seq_lens_k, query, key)
            if width is not None:
                same, width = same & _near(same, width), None
            attention_mask = same if attention_mask is None else _with(attention_mask, same)
            if _causal(module, is_causal, query):
                attention_mask = attention_mask & torch.ones_like(same).tril()

        rows, keys = query.shape[2], key.shape[2]
        causal: Any = _causal(module, is_causal, query)
        mask, key_mask = attention_mask, None
        if attention_mask is None:
            if causal and keys > rows:  # an empty static cache
                key, value = key[:, :, :rows], value[:, :, :rows]
                position_bias = None if position_bias is None else position_bias[..., :rows]
                keys = rows
            causal = "top_left" if causal else False
        elif attention_mask.dim() == 2:
            mask, key_mask = None, self._key_mask(attention_mask, query, keys)
            causal = "bottom_right" if causal else False
        else:
            causal = False
            key_mask = _seen_keys(attention_mask, query)
            if key_mask is not None and rows == 1:
                mask = None  # the key mask says all

        if position_bias is not None:
            mask = position_bias if mask is None else _biased(position_bias, mask)
        o = attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            recipe=self._recipe_of(module),
            causal=causal,
            scale=scaling,
            window=self._window(width, symmetric, causal, rows, keys),
            softcap=0.0 if softcap is None else softcap,
            mask=mask,
            key_mask=key_mask,
            sinks=s_aux,
        )
        return o, None

    def _check(self, dropout: float, others: dict[str, Any]) -> None:
        if dropout:
            raise NotImplementedError(
                f"{self.name}: dropout {dropout}; octavo is for inference: call model.eval(), or train with 'sdpa'"
            )
        for keyword, value in others.items():
            if value is None or value is False or keyword in self.ignore:
                continue
            if keyword == "output_attentions":
                raise NotImplementedError(
                    f"{self.name}: output_attentions=True; the weights are never stored, 'eager' returns them"
                )
            raise NotImplementedError(
                f"{self.name}: the model passes {keyword!r}, which octavo does not know; use 'sdpa' for this model, "
                f"or, if it has no effect on attention, octavo.transformers.register(..., ignore=[{keyword!r}])"
            )

    def _check_over_cache(self, module: torch.nn.Module, is_causal: bool | None, **absent: Any) -> None:
        for keyword, value in absent.items():
            if value is not None:
                raise NotImplementedError(f"{self.name}: {keyword} does not work with OctavoCache; use DynamicCache")
        if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
            raise NotImplementedError(f"{self.name}: attention that is not causal does not work with OctavoCache")

    def _recipe_of(self, module: torch.nn.Module) -> str:
        if not self.layers:
            return self.recipe
        index = getattr(module, "layer_idx", None)
        if index is None:
            raise NotImplementedError(
                f"{self.name}: recipes of single layers need module.layer_idx; {type(module).__name__} has none"
            )
        count = getattr(getattr(module, "config", None), "num_hidden_layers", None)
        if index in self.layers:
            return self.layers[index]
        return self.recipe if count is None else self.layers.get(index - count, self.recipe)

    def _key_mask(self, mask: Tensor, query: Tensor, keys: int) -> Tensor:
        if mask.dtype != torch.bool or mask.shape[1] != keys:
            raise ValueError(
                f"{self.name}: attention mask {mask.dtype} {list(mask.shape)}; a mask of 2 axes must be bool "
                f"[{query.shape[0]}, {keys}], True = the key exists"
            )
        return mask

    def _window(self, width: int | None, symmetric: bool, causal: Any, rows: int, keys: int) -> tuple[int, int]:
        """octavo's window; one that is wider than the keys are many restricts nothing."""
        if width is None or keys <= width:
            return (-1, -1)
        if causal or rows == 1:
            return (width - 1, -1)
        if symmetric:
            return (width - 1, width - 1)
        raise NotImplementedError(
            f"{self.name}: sliding_window={width} without a mask in a bidirectional model; use 'sdpa' for this model"
        )


def _causal(module: torch.nn.Module, is_causal: bool | None, query: Tensor) -> bool:
    if query.shape[2] == 1:  # decoding: the query is the last position
        return False
    return bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)


def _seen_keys(mask: Tensor, query: Tensor) -> Tensor | None:
    """The keys that any query sees: others (padding) must not influence means and scales. [B, N], or None."""
    if mask.dtype != torch.bool or mask.dim() != 4 or mask.shape[1] != 1 or mask.shape[2] != query.shape[2]:
        return None
    seen = mask[:, 0].any(dim=1) if query.shape[2] > 1 else mask[:, 0, 0]
    return seen.expand(query.shape[0], -1)


def _biased(bias: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, bias, -torch.inf) if mask.dtype == torch.bool else bias + mask


def _with(mask: Tensor, same: Tensor) -> Tensor:
    if mask.dim() == 2:
        return same & mask[:, None, None, :]
    return mask & same if mask.dtype == torch.bool else torch.where(same, mask, -torch.inf)


def _near(mask: Tensor, width: int) -> Tensor:
    """[M, N]: the query's and the key's positions differ by less than the width; queries are the last positions."""
    rows, keys = (torch.arange(length, device=mask.device) for length in mask.shape[-2:])
    return (rows[:, None] + (len(keys) - len(rows)) - keys).abs() < width


def _same_sequence(starts_q: Tensor | None, starts_k: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
    """[1, 1, M, N]: query and key belong to the same concatenated sequence of a batch of one."""
    starts_q, starts_k = starts_k if starts_q is None else starts_q, starts_q if starts_k is None else starts_k
    assert starts_q is not None and starts_k is not None
    if query.shape[0] != 1:
        raise ValueError(f"cu_seq_lens_q: batch {query.shape[0]}; concatenated sequences are one batch element")

    def sequence(starts: Tensor, length: int) -> Tensor:
        return torch.bucketize(torch.arange(length, device=starts.device), starts[1:], right=True)

    return (sequence(starts_q, query.shape[2])[:, None] == sequence(starts_k, key.shape[2])[None])[None, None]
