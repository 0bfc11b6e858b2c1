"""OctavoCache: transformers' cache over octavo.KVCache, read in place by octavo's attention.

Models call ``cache.update(k, v, layer, kwargs=kwargs)`` and hand the same dict to the attention function. `update`
keeps the new keys and values and puts the layer into this dict; the attention function, which also has the padding
mask, appends them. So padding is never stored, and an attention function of another library is noticed: it takes
nothing, and the next `update` says so.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from .._kv_cache import KVCache

KEYWORD = "octavo_cache"  # of the attention function


class OctavoLayer(CacheLayerMixin):
    """Keys and values of one layer. Positions include padding, the cache's own lengths do not."""

    is_sliding = False
    is_croppable = True

    def __init__(self, capacity: int, format: str, kept_keys: bool, page_size: int | None) -> None:
        super().__init__()
        self.capacity = capacity
        self.options: dict[str, Any] = {"format": format, "kept_keys": kept_keys, "page_size": page_size}
        self.cache: KVCache | None = None
        self.positions = 0
        self.present: Tensor | None = None  # bool [B, positions], False = padding; None: there is none
        self.waiting: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        batch, heads, _, dim = key_states.shape
        dims = dim, value_states.shape[-1]
        device = key_states.device
        self.cache = KVCache(batch, heads, *dims, capacity=self.capacity, device=device, **self.options)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, kwargs: dict[str, Any] | None = None, **others: Any
    ) -> tuple[Tensor, Tensor]:
        """Keeps the new keys and values for the attention function, and returns them alone."""
        if kwargs is None:
            raise NotImplementedError(
                "OctavoCache: this model does not hand its attention keywords to cache.update(..., kwargs=kwargs), so "
                "its attention cannot read the cache; use transformers' DynamicCache"
            )
        if self.waiting is not None:
            raise RuntimeError(
                "OctavoCache: the keys of the previous call were not taken. Only octavo's attention reads this cache: "
                "call octavo.transformers.register() and model.set_attn_implementation('octavo'); after a call that "
                "failed, call cache.reset()"
            )
        if self.cache is None:
            self.lazy_initialization(key_states, value_states)
        kwargs[KEYWORD] = self
        self.waiting = key_states, value_states
        return key_states, value_states

    def append(self, mask: Tensor | None, windowed: bool) -> bool:
        """Appends what `update` kept, without padding; whether the cache held tokens before.

        `mask` is the key mask [B, N] of all positions, or None: nothing is padding. Windows are counted in stored
        tokens, so that padding must not be between them.
        """
        assert self.cache is not None and self.waiting is not None
        keys, values = self.waiting
        first, rows = self.positions, keys.shape[2]
        counts = None
        if mask is None:
            if self.present is not None:
                raise ValueError("attention_mask: hides nothing, and earlier ones of this OctavoCache hid padding")
        else:
            self._check_mask(mask, keys.shape[0], rows)
            if windowed and (mask[:, :-1] & ~mask[:, 1:]).any():
                raise NotImplementedError(
                    "attention_mask: padding after tokens in a layer with a sliding window; OctavoCache takes it "
                    "before them: pad on the left"
                )
            new = mask[:, first:]
            if not new.all():
                if first and rows > 1:
                    raise NotImplementedError(
                        f"attention_mask: padding among {rows} tokens after the first call; OctavoCache takes padding "
                        "in the first call, and later one token at a time"
                    )
                order = new.int().argsort(dim=1, descending=True, stable=True)[:, None, :, None]
                keys, values = (x.gather(2, order.expand_as(x)) for x in (keys, values))
                counts = new.sum(1).tolist()
        self.cache.append(keys, values, counts=counts, layout="HND")
        self.waiting = None
        self.positions += rows
        self.present = None if mask is None or mask.all() else mask
        return first > 0

    def _check_mask(self, mask: Tensor, batch: int, rows: int) -> None:
        shape = [batch, self.positions + rows]
        if mask.dtype != torch.bool or list(mask.shape) != shape:
            raise NotImplementedError(
                f"attention_mask: {mask.dtype} {list(mask.shape)}; OctavoCache takes padding only, bool {shape}: no "
                "masks of 4 axes"
            )
        before = mask[:, : self.positions]
        if not (before.all() if self.present is None else torch.equal(before, self.present)):
            raise ValueError("attention_mask: hides other positions than earlier ones; OctavoCache keeps no padding")

    def get_seq_length(self) -> int:
        return self.positions

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.positions + query_length, 0

    def get_max_length(self) -> int:
        return self.capacity

    def reset(self) -> None:
        if self.cache is not None:
            self.cache.reset()
        self.positions, self.present, self.waiting = 0, None, None

    def crop(self, tokens_to_remove: int) -> None:
        """Removes the last positions; the number is negative, as in transformers."""
        count = -tokens_to_remove
        if not 0 <= count <= self.positions:
            raise ValueError(f"tokens_to_remove: {tokens_to_remove}; {-self.positions} to 0 are allowed")
        if count == 0 or self.cache is None:
            return
        kept = self.positions - count
        removed = [count] * self.cache.batch if self.present is None else self.present[:, kept:].sum(1).tolist()
        for sequence, (length, less) in enumerate(zip(self.cache.lengths, removed, strict=True)):
            self.cache.trim(sequence, length - less)
        self.positions = kept
        if self.present is not None:
            self.present = None if self.present[:, :kept].all() else self.present[:, :kept]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        if self.cache is not None:
            self.cache.reorder(beam_idx.tolist())
        if self.present is not None:
            self.present = self.present[beam_idx]

    def batch_repeat_interleave(self, repeats: int) -> None:
        raise NotImplementedError(f"OctavoCache: repeats {repeats}; the batch size of a cache is fixed")

    def batch_select_indices(self, indices: Tensor) -> None:
        raise NotImplementedError(f"OctavoCache: {len(indices)} selected sequences; the batch size of a cache is fixed")


class OctavoCache(Cache):
    """A key-value cache for `generate`, as codes or floats; octavo's attention reads it in place.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        The model's: ``model.config``. Layers with full attention or sliding windows; both keep every position.
    capacity : int
        Positions that a sequence can hold: the prompt's and the generated tokens.
    format : {"s8", "s4", "e4m3", "f32", "f16", "bf16"}
        As in `octavo.KVCache`.
    kept_keys, page_size
        As in `octavo.KVCache`.

    Raises
    ------
    ValueError
        An invalid argument; in a call: more positions than `capacity`.
    NotImplementedError
        A model with other kinds of layers; in a call: a mask that hides more than padding, padding after tokens where
        a window is, or a batch whose size changes.

    Notes
    -----
    The model's attention implementation must be one of octavo's. The first call computes attention by its recipe,
    over the keys and values as they are; later calls over the cache.

    Examples
    --------
    >>> octavo.transformers.register()
    >>> model.set_attn_implementation("octavo")
    >>> cache = octavo.transformers.OctavoCache(model.config, capacity=4096)
    >>> model.generate(**batch, cache=cache, max_new_tokens=100)
    """

    def __init__(
        self, config: Any, *, capacity: int, format: str = "s8", kept_keys: bool = True, page_size: int | None = None
    ) -> None:
        text = config.get_text_config(decoder=True)
        kinds = getattr(text, "layer_types", None)
        if kinds is None:
            chunked = getattr(text, "attention_chunk_size", None) is not None
            kinds = ["chunked_attention" if chunked else "full_attention"] * text.num_hidden_layers
        others = sorted(set(kinds) - {"full_attention", "sliding_attention"})
        if others or getattr(config, "is_encoder_decoder", False):
            what = f"layers of {', '.join(others)}" if others else "an encoder and a decoder"
            raise NotImplementedError(
                f"OctavoCache: {config.model_type} has {what}; full_attention and sliding_attention are supported"
            )
        KVCache(1, 1, 1, capacity=capacity, format=format, kept_keys=kept_keys, page_size=page_size)  # their errors now
        super().__init__(layers=[OctavoLayer(capacity, format, kept_keys, page_size) for _ in kinds])
        self.format, self.capacity = format, capacity

    @property
    def _own(self) -> list[OctavoLayer]:
        return cast("list[OctavoLayer]", self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all layers; 0 before the first call, which decides the batch size."""
        return sum(layer.cache.nbytes for layer in self._own if layer.cache is not None)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence, without padding; empty before the first call."""
        first = self._own[0].cache
        return [] if first is None else first.lengths

    def __repr__(self) -> str:
        return (
            f"OctavoCache(layers={len(self.layers)}, capacity={self.capacity}, format={self.format!r}, "
            f"lengths={self.lengths}, nbytes={self.nbytes})"
        )
