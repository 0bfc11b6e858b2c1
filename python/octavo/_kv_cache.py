"""KVCache: K and V of the tokens that a model has seen, as codes or floats, and attention that reads them in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import _arguments, _containers, _core, _outputs, _runtime
from ._core import DType
from ._kv_cache_options import by_recipe, device_number, integer, integers, options


_LISTS = ("sinks", "alibi_slopes")  # may be lists of numbers


def _set_parameters(call: _core.CacheCall, parameters: dict[str, Any]) -> None:
    causal, window, softcap = parameters["causal"], parameters["window"], parameters["softcap"]
    if not isinstance(causal, bool):
        raise ValueError(f"causal: {causal!r}; True and False are allowed")
    call.causal = causal
    call.scale = _arguments.scale(parameters["scale"])
    call.window = (-1, -1) if window is None else _arguments.window(window)
    call.softcap = 0.0 if softcap is None else _arguments.number(softcap, "softcap")
    call.alibi = _arguments.alibi(parameters["alibi"])


class KVCache:
    """A key-value cache for decoding: append tokens, attend to all of them, without quantizing anything twice.

    Parameters
    ----------
    batch : int
        Number of sequences. Each has a length of its own.
    num_kv_heads, head_dim : int
        Hkv and D (1 to 512).
    value_head_dim : int, optional
        Dv; default D.
    capacity : int
        Tokens that one sequence can hold.
    recipe : str or Recipe, optional
        "int8": format "s8" with kept keys; "int8_fast": without; "exact": "f32", or "f16" or "bf16" by `format`.
    format : {"s8", "s4", "e4m3", "f32", "f16", "bf16"}, optional
        Default: by the recipe, else "s8". "s8": rotated 8-bit codes with a scale per token, K less a frozen mean, as
        the recipe "int8" makes them; the attention takes q in 16 bits. "s4": the same in 4 bits. The others: rows
        rounded to that format ("e4m3": with a scale per token), exact attention.
    kept_keys : bool, optional
        "s8" and "s4" only, by default True: also keep the first token and the last 64 in 16 bits, and use these for the
        keys near a query.
    page_size : int, optional
        Tokens of a page, a multiple of 16: sequences take pages from one pool. Default: contiguous memory.
    pages : int, optional
        Pages of the pool; default: enough for all sequences at full capacity.
    pool : array, optional
        The pool in the caller's memory: writable uint8 [n] at a multiple of 64 bytes, n >= `pool_size`. Needs page_size
        and pages; the caller names the pages of each sequence, here or by `set_block_table`. docs/kv_cache.md defines
        the bytes.
    block_table : sequence of sequences of int, optional
        With a pool: the first pages of each sequence, `batch` rows of any lengths; -1 at the end of a row is no page.
    device : str or torch.device, optional
        Where the cache and all arrays of its calls are: "cpu" (default), "cuda" or "cuda:INDEX". CUDA: head_dim
        up to 256.

    Raises
    ------
    ValueError
        Invalid shape, dtype or argument; an append beyond the capacity.
    NotImplementedError
        A format, head_dim or call that this version does not support; on a CUDA device docs/kv_cache.md lists them.
    RuntimeError
        A device that this build or machine lacks.
    MemoryError
        No memory, or no free page.

    Notes
    -----
    Not synchronized: a call that changes a cache must not run beside another call on it. A call that raises leaves the
    cache as it was. On a CUDA device calls enqueue work on their stream, and the streams of one cache must be ordered.
    docs/kv_cache.md defines the arithmetic and says what depends on what.

    Examples
    --------
    >>> cache = octavo.KVCache(1, 8, 128, capacity=4096)
    >>> cache.append(k, v)                  # the prompt: [1, N, 8, 128]
    >>> o = octavo.attention(q, cache)      # q [1, 1, 32, 128]: the last token
    >>> o = cache.attend(q)                 # q [1, M, 32, 128]: the last M of the N tokens, causal
    """

    def __init__(
        self,
        batch: int,
        num_kv_heads: int,
        head_dim: int,
        value_head_dim: int | None = None,
        *,
        capacity: int,
        recipe: Any = None,
        format: str | None = None,
        kept_keys: bool | None = None,
        page_size: int | None = None,
        pages: int | None = None,
        pool: Any = None,
        block_table: Iterable[Iterable[int]] | None = None,
        device: Any = None,
    ) -> None:
        format, kept_keys = by_recipe(recipe, format, kept_keys)
        made = options(
            batch, num_kv_heads, head_dim, value_head_dim, capacity, format, kept_keys, page_size, pages, device
        )
        self._pool: Any = None
        if pool is not None:
            self._pool = _containers.dense_bytes(pool, "pool")  # kept alive
            if not self._pool.shape[0]:
                raise ValueError("pool: it has no bytes")
            made.set_pool(self._pool.view)
        self._hold(_core.make_kv_cache(made))
        if block_table is not None:
            self._set_block_tables(block_table)

    def _set_block_tables(self, block_table: Iterable[Iterable[int]]) -> None:
        if self._pool is None:
            raise ValueError("block_table: without a pool the cache chooses its pages itself")
        tables = [integers(pages, f"block_table[{b}]") for b, pages in enumerate(block_table)]
        if len(tables) != self.batch:
            raise ValueError(f"block_table: {len(tables)} rows and {self.batch} sequences; they must be as many")
        for sequence, pages in enumerate(tables):
            while pages and pages[-1] == -1:
                pages.pop()
            self.set_block_table(sequence, pages)

    @staticmethod
    def pool_size(
        num_kv_heads: int,
        head_dim: int,
        value_head_dim: int | None = None,
        *,
        format: str = "s8",
        page_size: int,
        pages: int,
    ) -> int:
        """Bytes of a pool of that many pages."""
        capacity = 1  # it does not matter
        return options(
            1, num_kv_heads, head_dim, value_head_dim, capacity, format, True, page_size, pages
        ).pool_size()

    def _hold(self, cache: _core.KVCache) -> None:
        self._cache = cache
        self.batch: int = cache.batch
        self.num_kv_heads: int = cache.kv_heads
        self.head_dim: int = cache.head_dim
        self.value_head_dim: int = cache.value_head_dim
        self.capacity: int = cache.capacity
        self.format: str = cache.format.name
        self.kept_keys: bool = cache.kept_keys and self.format in ("s8", "s4")
        self.page_size: int | None = cache.page_size or None
        self.pages: int | None = cache.pages if cache.page_size else None
        self.device: str = "cpu" if cache.device < 0 else f"cuda:{cache.device}"

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [self._cache.length(b) for b in range(self.batch)]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the cache holds: codes, scales, means, kept rows, tables."""
        return self._cache.nbytes

    @property
    def free_pages(self) -> int:
        """Pages that no sequence uses; 0 for contiguous memory."""
        return self._cache.free_pages

    def append(
        self,
        k: Any,
        v: Any,
        seq_ids: Iterable[int] | None = None,
        *,
        counts: Iterable[int] | None = None,
        layout: str = "NHD",
        stream: Any = None,
    ) -> None:
        """Appends T tokens to each of B sequences.

        Parameters
        ----------
        k, v : array
            [B, T, Hkv, D] and [B, T, Hkv, Dv] (NHD), or [B, Hkv, T, ...] (HND); float32, float16 or bfloat16.
        seq_ids : sequence of int, optional
            The sequences of the B rows, distinct. Default: all, and B is the cache's batch.
        counts : sequence of int, optional
            Of row b only the first ``counts[b]`` tokens are appended. Default: all T.
        layout : {"NHD", "HND"}
            Order of the axes.
        stream : optional
            CUDA stream of arrays on a device, as in `octavo.attention`.
        """
        self._append(k, v, seq_ids, counts, layout, stream)

    def attend(
        self,
        q: Any,
        seq_ids: Iterable[int] | None = None,
        *,
        causal: bool = True,
        scale: float | None = None,
        window: tuple[int, int] | None = (-1, -1),
        softcap: float | None = 0.0,
        mask: Any = None,
        key_mask: Any = None,
        tree_mask: Any = None,
        sinks: Any = None,
        alibi_slopes: Any = None,
        alibi: str = "causal",
        cu_seqlens_q: Any = None,
        layout: str = "NHD",
        return_lse: bool = False,
        out: Any = None,
        out_dtype: Any = None,
        stream: Any = None,
        workspace: Any = None,
    ) -> Any:
        """Attention of q over the tokens of each sequence; the M query rows are its last M tokens.

        Parameters
        ----------
        q : array
            [B, M, Hq, D] (NHD) or [B, Hq, M, D] (HND); with cu_seqlens_q [total_q, Hq, D] or [Hq, total_q, D].
            float32, float16 or bfloat16.
        seq_ids : sequence of int, optional
            The sequences of the B rows, distinct. Default: all, and B is the cache's batch.
        cu_seqlens_q : array, optional
            [B + 1], int32 or int64, on the CPU (or a list): start of each sequence's rows in q, then the total. Each
            sequence then has its own number of rows: prefill chunks and single rows in one call.
        causal : bool
            True: row i of M sees key j of a sequence of length N iff ``j <= i + N - M``; False: all N keys.
        mask : array, optional
            bool or floats, broadcast from the right to [B, Hq, M, N]: M rows of the longest of q, N tokens of the
            longest of the call's sequences.
        key_mask : array, optional
            [B, N], bool: False = the key does not exist.
        tree_mask : array, optional
            Speculative decoding: [M, M] or [B, M, M], bool. Row i of a sequence's m rows sees key c of its last m keys
            only where entry [i, c] is True; keys before them are visible as without it. Combined with `causal`,
            `window` and masks, whose positions stay i and j.
        scale, window, softcap, sinks, alibi_slopes, alibi, layout, return_lse, out, out_dtype, stream
            As in `octavo.attention`.
        workspace : array, optional
            uint8 [n] on the cache's device: scratch memory. While a stream is captured into a CUDA graph it must be
            given; the message for one that is too small names n. It must live as long as the graph.

        Returns
        -------
        o or (o, lse)
            As `octavo.attention`.
        """
        parameters = {
            "causal": causal, "scale": scale, "window": window, "softcap": softcap, "mask": mask, "key_mask": key_mask,
            "tree_mask": tree_mask, "sinks": sinks, "alibi_slopes": alibi_slopes, "alibi": alibi,
            "cu_seqlens_q": cu_seqlens_q, "layout": layout, "return_lse": return_lse, "out": out,
            "out_dtype": out_dtype, "stream": stream, "workspace": workspace,
        }  # fmt: skip
        return self._attend(q, seq_ids, parameters)

    # What append and attend do; octavo.torch replaces these two.
    def _append(
        self, k: Any, v: Any, seq_ids: Iterable[int] | None, counts: Iterable[int] | None, layout: str, stream: Any
    ) -> None:
        order = _arguments.layout(layout)
        keys, values = _containers.read(k, "k"), _containers.read(v, "v")
        device = _containers.check_places({"k": keys, "v": values})
        on = _containers.stream_of(stream, keys.backend, device)
        self._cache.append(
            keys.view,
            values.view,
            order,
            self._sequences(seq_ids),
            integers(counts, "counts"),
            _runtime.forced.get() or "",
            on,
        )
        keys.backend.sync(device, on)

    def _attend(self, q: Any, seq_ids: Iterable[int] | None, parameters: dict[str, Any]) -> Any:
        order = _arguments.layout(parameters["layout"])
        queries = _containers.read(q, "q")
        arrays = {"q": queries}
        for name in ("sinks", "alibi_slopes", "mask", "key_mask", "tree_mask"):
            if (x := parameters[name]) is not None:
                arrays[name] = _containers.read(_containers.listed(x, name) if name in _LISTS else x, name)
        out = parameters["out"]
        dtype = _outputs.output_dtype(parameters["out_dtype"], queries.dtype)
        output = _outputs.output(out, (*queries.shape[:-1], self.value_head_dim), dtype, queries.backend, q)
        device = _containers.check_places({**arrays, "out": output})
        # The host reads it, wherever the other arrays are.
        if (starts := parameters["cu_seqlens_q"]) is not None:
            arrays["cu_seqlens_q"] = _containers.read(_containers.listed(starts, "cu_seqlens_q"), "cu_seqlens_q")

        call = _core.CacheCall(queries.view, output.view, order)
        for name, array in arrays.items():
            if name != "q":
                setattr(call, name, array.view)
        log_sum = None
        if parameters["return_lse"]:
            log_sum = queries.backend.empty(_outputs.lse_shape(queries.shape, order), DType.f32, q)
            call.lse = log_sum.view
        call.sequences = self._sequences(seq_ids)
        _set_parameters(call, parameters)
        call.implementation = _runtime.forced.get() or ""
        call.stream = on = _containers.stream_of(parameters["stream"], queries.backend, device)
        scratch = None if parameters["workspace"] is None else _containers.scratch(parameters["workspace"])
        if scratch is not None:
            call.set_workspace(scratch[0])
        self._cache.attend(call)
        queries.backend.sync(device, on)
        result = out if out is not None else queries.backend.finish(output, q)
        return result if log_sum is None else (result, queries.backend.finish(log_sum, q))

    def set_block_table(self, sequence: int, pages: Iterable[int]) -> None:
        """Over a caller's pool: ``pages[i]`` holds tokens ``i * page_size`` and following of the sequence.

        Replaces the sequence's table. Pages of one sequence are distinct; no append writes to a page of two sequences.
        """
        numbers = integers(pages, "pages")
        for i, page in enumerate(numbers):
            if not -(2**31) <= page < 2**31:
                raise ValueError(f"pages[{i}]: {page}; page numbers have 32 bits")
        self._cache.set_block_table(integer(sequence, "sequence"), numbers)

    def advance(self, tokens: int, seq_ids: Iterable[int] | None = None) -> None:
        """On a device, after CUDA graphs that hold appends have run: they have added `tokens` to each sequence.

        seq_ids: the sequences that the appends named; default: all.
        """
        self._cache.advance(integer(tokens, "tokens"), self._sequences(seq_ids))

    def trim(self, sequence: int, length: int) -> None:
        """Keeps the first `length` tokens of a sequence."""
        self._cache.trim(integer(sequence, "sequence"), integer(length, "length"))

    def evict(self, sequence: int, keep_first: int, keep_last: int) -> None:
        """Removes the tokens between the first `keep_first` and the last `keep_last` (sliding window).

        The others are numbered anew from 0 on, which causality and windows then count; positions inside K, such as
        RoPE's, stay. Nothing happens to a sequence of at most ``keep_first + keep_last`` tokens. Pages that become free
        return to the pool. On a CUDA device keep_first and the number of evicted tokens must be multiples of 16, with
        kept keys of 64 (and keep_first not 0).
        """
        numbers = (sequence, "sequence"), (keep_first, "keep_first"), (keep_last, "keep_last")
        self._cache.evict(*(integer(number, name) for number, name in numbers))

    def save(self) -> bytes:
        """Options, lengths and contents as bytes, in the format of docs/kv_cache.md."""
        return self._cache.save()

    @classmethod
    def load(cls, saved: bytes, device: Any = None) -> KVCache:
        """A cache as it was when `save` made these bytes, to the bit, on any device ("cpu", "cuda", "cuda:INDEX").

        Raises ValueError for bytes that are damaged, truncated or something else, NotImplementedError for a later
        version of the format.
        """
        if not isinstance(saved, bytes):
            raise ValueError(f"saved: a {type(saved).__name__}; bytes are allowed, as KVCache.save() returns them")
        cache = cls.__new__(cls)
        cache._pool = None
        cache._hold(_core.load_kv_cache(saved, device_number(device)))
        return cache

    def reset(self, seq_ids: Iterable[int] | None = None) -> None:
        """Empties sequences; default: all. The next append fixes a new mean of K."""
        sequences = integers(seq_ids, "seq_ids")
        if seq_ids is None or sequences:
            self._cache.reset(sequences)

    def fork(self, source: int, destination: int) -> None:
        """Makes one sequence a copy of another; paged caches share their full pages."""
        self._cache.fork(integer(source, "source"), integer(destination, "destination"))

    def reorder(self, sources: Iterable[int]) -> None:
        """Sequence b becomes what sequence ``sources[b]`` was, for all b at once (beam search)."""
        self._cache.reorder(integers(sources, "sources"))

    def _sequences(self, seq_ids: Iterable[int] | None) -> list[int]:
        if seq_ids is None:
            return []
        sequences = integers(seq_ids, "seq_ids")
        if not sequences:
            raise ValueError("seq_ids: empty; name at least one sequence, or give None for all")
        return sequences

    def __repr__(self) -> str:
        dims = f"{self.head_dim}" if self.value_head_dim == self.head_dim else f"{self.head_dim}/{self.value_head_dim}"
        return (
            f"KVCache(batch={self.batch}, num_kv_heads={self.num_kv_heads}, head_dim={dims}, "
            f"capacity={self.capacity}, format={self.format!r}, nbytes={self.nbytes})"
        )
