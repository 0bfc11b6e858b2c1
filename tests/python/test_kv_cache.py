"""octavo.KVCache: append and attention from Python, for NumPy arrays and torch tensors."""

import pathlib
import re

import numpy as np
import pytest
from oracle import relative_error, softmax_attention

import octavo

HEADS, KV_HEADS, DIM, VALUE_DIM, TOKENS = 4, 2, 16, 24, 150
# Relative L2 errors on N(0, 1): the formats' rounding.
BOUND = {"f32": 1e-6, "f16": 6e-4, "bf16": 5e-3, "s8": 2e-2, "e4m3": 5e-2, "s4": 0.14}
# The least error that rounding leaves: a cache that kept f32 would be below it.
LEAST = {"f32": 0, "f16": 3e-5, "bf16": 3e-4, "s8": 1e-3, "e4m3": 5e-3, "s4": 1e-2}


@pytest.fixture
def kv(rng):
    """k [2, TOKENS, 2, 16], v [2, TOKENS, 2, 24]."""
    return tuple(rng.standard_normal((2, TOKENS, KV_HEADS, dim), np.float32) for dim in (DIM, VALUE_DIM))


def queries(rng, rows, batch=2):
    return rng.standard_normal((batch, rows, HEADS, DIM), np.float32)


def make(format="s8", batch=2, capacity=160, **options):
    return octavo.KVCache(batch, KV_HEADS, DIM, VALUE_DIM, capacity=capacity, format=format, **options)


def filled(kv, format="s8", chunks=(100, 49, 1), **options):
    cache, first = make(format, **options), 0
    for rows in chunks:
        cache.append(*(x[:, first : first + rows] for x in kv))
        first += rows
    return cache


@pytest.mark.parametrize("format", BOUND)
@pytest.mark.parametrize("rows", [1, 7])
def test_attention(rng, kv, format, rows):
    q, cache = queries(rng, rows), filled(kv, format)
    assert cache.lengths == [TOKENS, TOKENS]
    o, lse = octavo.attention(q, cache, causal=True, return_lse=True)
    expected, expected_lse = softmax_attention(q, *kv, causal=True)
    assert o.dtype == np.float32 and lse.dtype == np.float32
    assert LEAST[format] <= relative_error(o, expected) < BOUND[format]
    assert relative_error(lse, expected_lse) < BOUND[format]
    assert np.array_equal(cache.attend(q), o)  # causal by itself
    all_keys = octavo.attention(q, cache)
    assert relative_error(all_keys, softmax_attention(q, *kv)[0]) < BOUND[format]
    assert np.array_equal(all_keys, o) == (rows == 1)


@pytest.mark.parametrize("format", BOUND)
def test_options(rng, kv, format):
    q, cache = queries(rng, 5), filled(kv, format)
    options = {"scale": 0.4, "window": (40, 2), "softcap": 3.0, "sinks": [3.0, 6.0, -1.0, 5.0]}
    for name, value in options.items():
        plain = softmax_attention(q, *kv)[0]
        expected = softmax_attention(q, *kv, **{name: value})[0]
        assert relative_error(plain, expected) > 2 * BOUND[format], name  # the option matters
        assert relative_error(octavo.attention(q, cache, **{name: value}), expected) < 1.25 * BOUND[format], name
    expected = softmax_attention(q, *kv, **options)[0]
    assert relative_error(octavo.attention(q, cache, **options), expected) < 1.25 * BOUND[format]
    same = octavo.attention(q, cache, window=None, softcap=None)
    assert np.array_equal(same, octavo.attention(q, cache))


@pytest.mark.parametrize("format", BOUND)
def test_masks(rng, kv, format):
    q, cache = queries(rng, 5), filled(kv, format)
    shown, added = rng.random((2, 1, 5, TOKENS)) < 0.5, 3 * rng.standard_normal((HEADS, 5, TOKENS), np.float32)
    exist, tree = rng.random((2, TOKENS)) < 0.5, np.tril(rng.random((2, 5, 5)) < 0.5) | np.eye(5, dtype=bool)
    over_tree = np.ones((2, 1, 5, TOKENS), bool)
    over_tree[:, 0, :, -5:] = tree
    slopes, both = [0.5, 0.1, -0.1, 0.02], {"alibi": "symmetric", "mask": shown}
    cases = [
        ({"mask": shown}, {"mask": shown}),
        ({"mask": added}, {"mask": added}),
        ({"key_mask": exist}, {"mask": exist[:, None, None]}),
        ({"alibi_slopes": slopes}, {"alibi_slopes": slopes}),
        ({"alibi_slopes": np.array([slopes] * 2), **both}, {"alibi_slopes": slopes, **both}),
    ]
    for keywords, of_oracle in cases:
        expected = softmax_attention(q, *kv, **of_oracle)[0]
        assert relative_error(softmax_attention(q, *kv)[0], expected) > 2 * BOUND[format]  # it matters
        assert relative_error(octavo.attention(q, cache, **keywords), expected) < 2 * BOUND[format], keywords
    for causal in (False, True):
        expected = softmax_attention(q, *kv, mask=over_tree, causal=causal, window=(30, -1))[0]
        assert relative_error(cache.attend(q, tree_mask=tree, causal=causal, window=(30, -1)), expected) < BOUND[format]
    assert np.array_equal(cache.attend(q[:1], [1], tree_mask=tree[1]), cache.attend(q[[0, 0]], tree_mask=tree)[1:])


@pytest.mark.parametrize("layout", ["NHD", "HND"])
def test_packed_queries(rng, kv, layout):
    """A chunk of 40 rows, one row, none: as three calls."""
    cache = octavo.KVCache(3, KV_HEADS, DIM, VALUE_DIM, capacity=160)
    cache.append(*(np.concatenate([x, x[:1, ::-1]]) for x in kv), counts=[150, 90, 20])
    q = rng.standard_normal((41, HEADS, DIM), np.float32)
    order = (lambda x: np.ascontiguousarray(x.swapaxes(-2, -3))) if layout == "HND" else lambda x: x
    begins = [0, 40, 41, 41]
    o, lse = octavo.attention(order(q), cache, cu_seqlens_q=begins, causal=True, layout=layout, return_lse=True)
    assert o.shape == order(np.empty((41, HEADS, VALUE_DIM))).shape and lse.shape == (HEADS, 41)
    for b in range(2):
        rows = slice(begins[b], begins[b + 1])
        alone, its_lse = cache.attend(q[None, rows], [b], return_lse=True)
        assert np.array_equal(alone[0], order(o)[rows]) and np.array_equal(its_lse[0], lse[:, rows])
    swapped = cache.attend(order(q), [0, 2], cu_seqlens_q=np.array([0, 40, 41], np.int32), layout=layout)
    assert np.array_equal(order(swapped)[:40], order(o)[:40])
    assert not np.array_equal(order(swapped)[40], order(o)[40])


@pytest.mark.parametrize("format", BOUND)
def test_paged_equals_contiguous(rng, kv, format):
    q = queries(rng, 3)
    paged = filled(kv, format, page_size=32)
    assert paged.pages == 10 and paged.free_pages == 0
    assert np.array_equal(paged.attend(q), filled(kv, format).attend(q))


@pytest.mark.parametrize("format", BOUND)
def test_layouts_and_strides(rng, kv, format):
    q = queries(rng, 3)
    expected = filled(kv, format).attend(q)
    cache = make(format)
    for part in (slice(0, 100), slice(100, TOKENS)):
        k, v = (np.ascontiguousarray(x[:, part].swapaxes(1, 2)) for x in kv)
        cache.append(k, v, layout="HND")
    assert np.array_equal(cache.attend(q.swapaxes(1, 2), layout="HND"), expected.swapaxes(1, 2))
    out = np.zeros((2, 3, HEADS, 2 * VALUE_DIM), np.float32)[..., ::2]
    assert cache.attend(q, out=out) is out and np.array_equal(out, expected)
    half = cache.attend(q, out_dtype="float16")
    assert half.dtype == np.float16 and relative_error(half, expected) < 1e-3


def test_sequences(rng, kv):
    """Each sequence gives what it gives alone, whatever the others hold."""
    k, v = kv
    cache = make("s8", batch=3)
    cache.append(k, v, [2, 0], counts=[70, 110])
    assert cache.lengths == [110, 0, 70]
    cache.append(k[:1, 70:90], v[:1, 70:90], [2])
    q = queries(rng, 2)
    o = cache.attend(q, [0, 2])
    for row, (source, first, length) in enumerate([(1, 110, 110), (0, 70, 90)]):
        alone = make("s8", batch=1)
        for part in (slice(0, first), slice(first, length)):
            alone.append(k[source : source + 1, part], v[source : source + 1, part])
        assert np.array_equal(alone.attend(q[row : row + 1]), o[row : row + 1])
    cache.append(k[:, :1], v[:, :1], [0, 1], counts=[0, 0])
    assert cache.lengths == [110, 0, 90]


@pytest.mark.parametrize("paged", [False, True])
def test_trim_fork_reorder_reset(rng, kv, paged):
    options = {"page_size": 16} if paged else {}
    q, k, v = queries(rng, 1), *kv
    cache = filled(kv, "f32", (90, 30), **options)
    before = cache.attend(q)
    free = cache.free_pages
    cache.append(k[:, 120:140], v[:, 120:140])
    assert not np.array_equal(cache.attend(q), before)
    cache.trim(0, 120), cache.trim(1, 120)
    assert np.array_equal(cache.attend(q), before) and cache.free_pages == free

    both = np.repeat(q[:1], 2, 0)
    cache.fork(0, 1)
    same = cache.attend(both)
    assert np.array_equal(same[0], same[1])
    assert (cache.free_pages > free) == paged  # pages are shared
    cache.append(k[:1, 120:121], v[:1, 120:121], [1])  # and copied when they are written
    changed = cache.attend(both)
    assert np.array_equal(changed[0], same[0]) and not np.array_equal(changed[1], same[0])

    cache.reorder([1, 0])
    assert cache.lengths == [121, 120]
    assert np.array_equal(cache.attend(both), changed[::-1])
    cache.reset([0])
    assert cache.lengths == [0, 120]
    cache.reset([])
    assert cache.lengths == [0, 120]
    cache.reset()
    assert cache.lengths == [0, 0] and (not paged or cache.free_pages == cache.pages)
    o, lse = cache.attend(q, return_lse=True)
    assert not o.any() and np.isneginf(lse).all()
    for first, rows in ((0, 90), (90, 30)):
        cache.append(k[:, first : first + rows], v[:, first : first + rows])
    assert np.array_equal(cache.attend(q), before)


def test_memory(kv):
    bytes_of = {format: make(format, capacity=4096).nbytes for format in BOUND}
    elements = 2 * 4096 * KV_HEADS * (16 + 32)  # D and Dv with padding
    assert elements * 4 <= bytes_of["f32"] < elements * 4.1
    assert bytes_of["f16"] == bytes_of["bf16"] < 0.51 * bytes_of["f32"]
    assert make("s8", capacity=4096, kept_keys=False).nbytes < bytes_of["s8"]
    cache = filled(kv)
    assert "format='s8'" in repr(cache) and f"nbytes={cache.nbytes}" in repr(cache) and "16/24" in repr(cache)


def test_kept_keys_lower_the_error(rng, kv):
    q = queries(rng, 1)
    q += 3 * kv[0][:, -1:, [0, 0, 1, 1]]  # the last key has most of the weight
    expected = softmax_attention(q, *kv)[0]
    with_them, without = (relative_error(filled(kv, kept_keys=kept).attend(q), expected) for kept in (True, False))
    assert with_them < 0.5 * without


def test_threads_and_implementations(rng, kv):
    q = queries(rng, 2)
    with octavo.threads(1):
        one = filled(kv).attend(q)
    with octavo.threads(3):
        assert np.array_equal(filled(kv).attend(q), one)
    with octavo.implementation("reference"):
        exact = filled(kv, "f32").attend(q)
    assert octavo.info()["last_implementation"] == "reference"
    assert np.array_equal(octavo.reference.attention(q, filled(kv, "f32"), causal=True), exact)
    assert relative_error(filled(kv, "f32").attend(q), exact) < 1e-6


def test_bad_appends(rng, kv):
    k, v = kv
    cache = filled(kv, chunks=(150,))
    one = k[:, :1], v[:, :1]
    cases = [
        ((k[:, :11], v[:, :11]), {}, ValueError, "sequence 0 has 150 tokens; 11 more exceed its capacity of 160"),
        ((v[:, :1], v[:, :1]), {}, ValueError, r"k has shape \[2, 1, 2, 24\]; this cache takes \[2, 1, 2, 16\]"),
        ((k[:, :1], k[:, :1]), {}, ValueError, r"v has shape \[2, 1, 2, 16\]"),
        ((k[:, :1], v[:, :2]), {}, ValueError, r"v has shape \[2, 2, 2, 24\]; beside this k"),
        ((k[:1, :1], v[:1, :1]), {}, ValueError, "k has batch size 1 and the cache 2 sequences"),
        ((one[0], one[1].astype(np.float16)), {}, ValueError, "k is f32 and v is f16"),
        ((one[0].astype(np.float64), one[1]), {}, ValueError, "k is f64; allowed"),
        (one, {"seq_ids": [0, 2]}, ValueError, "sequence 2 is named; the cache has sequences 0 to 1"),
        (one, {"seq_ids": [1, 1]}, ValueError, "sequence 1 is named twice"),
        (one, {"seq_ids": []}, ValueError, "seq_ids: empty"),
        (one, {"seq_ids": 1}, ValueError, "seq_ids: 1; a sequence of integers is allowed"),
        (one, {"seq_ids": [0, "1"]}, ValueError, r"seq_ids\[1\]: '1' is not an integer"),
        (one, {"counts": [1]}, ValueError, "counts has 1 entries; it must have 2"),
        (one, {"counts": [2, 0]}, ValueError, r"counts\[0\] is 2; allowed are 0 to 1"),
        (one, {"layout": "HDN"}, ValueError, "layout: 'HDN'; 'NHD' and 'HND' are allowed"),
        (("k", one[1]), {}, TypeError, "k"),
    ]  # fmt: skip
    q = queries(rng, 1)
    before = cache.attend(q)
    for arrays, options, error, message in cases:
        with pytest.raises(error, match=message):
            cache.append(*arrays, **options)
    assert cache.lengths == [150, 150] and np.array_equal(cache.attend(q), before)  # nothing was written
    for call, message in [
        (lambda: cache.trim(0, 151), "length is 151; sequence 0 has 150 tokens"),
        (lambda: cache.trim(2, 0), "sequence 2 is named"),
        (lambda: cache.fork(0, 5), "sequence 5 is named"),
        (lambda: cache.reorder([0]), "sources has 1 entries; it must have 2"),
        (lambda: cache.reset([7]), "sequence 7 is named"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_no_free_page(kv):
    cache = make(page_size=16, pages=3)
    with pytest.raises(MemoryError, match="page"):
        cache.append(kv[0][:, :33], kv[1][:, :33])
    assert cache.lengths == [0, 0] and cache.free_pages == 3


def test_bad_queries(rng, kv):
    q, cache = queries(rng, 1), filled(kv)
    cases = [
        (q[..., :8], {}, ValueError, "q has head_dim 8 and the cache 16"),
        (q[:, :, :3], {}, ValueError, "q has 3 heads and the cache 2; q's must be a multiple"),
        (q[:1], {}, ValueError, "q has batch size 1 and the cache 2 sequences"),
        (q[0], {}, ValueError, "q"),
        (q, {"softcap": -1.0}, ValueError, "softcap is -1"),
        (q, {"window": (-2, 0)}, ValueError, r"window is \(-2, 0\)"),
        (q, {"sinks": [1.0]}, ValueError, r"sinks has shape \[1\]; it must be \[4\]"),
        (q, {"scale": float("nan")}, ValueError, "scale: NaN"),
        (q, {"out": np.zeros((2, 1, 4, 16), np.float32)}, ValueError, "out has shape"),
        (q, {"out": np.zeros((2, 1, 4, 24), np.float16)}, ValueError, "out: dtype f16; the output's is f32"),
        (q, {"causal": "top_left"}, NotImplementedError, "causal: 'top_left'; over a KVCache False, True"),
        (q, {"causal": 3}, ValueError, "causal: 3; False"),
        (q, {"recipe": "int4"}, NotImplementedError, "recipe: 'int4'; the cache's format decides the arithmetic"),
        (q, {"mask": np.ones((1, TOKENS - 1), bool)}, ValueError, r"mask has shape \[1, 149\]; it must broadcast"),
        (q, {"key_mask": np.ones(TOKENS, bool)}, ValueError, r"key_mask has shape \[150\]; it must be \[2, 150\]"),
        (q, {"alibi": "symmetric"}, ValueError, "alibi is symmetric and alibi_slopes are missing"),
        (q, {"cu_seqlens_q": [0, 1, 2]}, ValueError, "q has shape"),
        (q[0], {"cu_seqlens_q": [0, 1]}, ValueError, "cu_seqlens_q has batch size 1 and the cache 2 sequences"),
        (q[0], {"cu_seqlens_q": [0, 2, 1]}, ValueError, "cu_seqlens_q decreases from 2 to 1 at entry 2"),
        (q, {"kv_lens": [3, 4]}, NotImplementedError, r"kv_lens: \[3, 4\]"),
        (q, {"v": kv[1]}, TypeError, "v: a numpy.ndarray; over a KVCache, which holds v too"),
    ]  # fmt: skip
    for query, options, error, message in cases:
        with pytest.raises(error, match=message):
            octavo.attention(query, cache, **options)
    with pytest.raises(TypeError, match="^v: a .*NoneType is not an array"):
        octavo.attention(q, kv[0])
    with pytest.raises(ValueError, match="causal: 'bottom_right'; True and False are allowed"):
        cache.attend(q, causal="bottom_right")
    with pytest.raises(TypeError):
        octavo.workspace_size(q, cache)


@pytest.mark.torch
@pytest.mark.parametrize("format", BOUND)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch(torch, rng, kv, format, dtype):
    kind = getattr(torch, dtype)
    k, v = (torch.from_numpy(x).to(kind) for x in kv)
    q = torch.from_numpy(queries(rng, 2)).to(kind)
    cache = filled((k, v), format)
    o, lse = octavo.attention(q, cache, causal=True, return_lse=True)
    assert o.dtype == kind and o.shape == (2, 2, HEADS, VALUE_DIM) and lse.dtype == torch.float32
    # The same numbers as NumPy arrays give the same bits.
    arrays = filled(tuple(x.float().numpy() for x in (k, v)), format)
    same = arrays.attend(q.float().numpy())
    assert torch.equal(torch.from_numpy(same).to(kind), o)
    # transformers' layout and strides
    swapped = cache.attend(q.transpose(1, 2), layout="HND")
    assert torch.equal(swapped.transpose(1, 2), o)
    with pytest.raises(RuntimeError, match="grad"):
        cache.attend(q.detach().requires_grad_())


def test_documentation():
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "kv_cache.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})


def test_evicted_tokens_are_gone(rng, kv):
    q, cache = queries(rng, 3), filled(kv, "f32", page_size=16)
    free = cache.free_pages
    cache.evict(0, 2, 40)
    assert cache.lengths == [42, TOKENS] and cache.free_pages > free
    kept = [np.concatenate([x[:1, :2], x[:1, -40:]], axis=1) for x in kv]
    o = cache.attend(q[:1], [0])
    assert relative_error(o, softmax_attention(q[:1], *kept, causal=True)[0]) < BOUND["f32"]
    for arguments in ((2, 0, 1), (0, -1, 1), (0, 1, -1)):
        with pytest.raises(ValueError):
            cache.evict(*arguments)
    assert cache.lengths == [42, TOKENS]


@pytest.mark.parametrize("format", BOUND)
@pytest.mark.parametrize("page_size", [None, 16])
def test_a_loaded_cache_gives_the_same_bits(rng, kv, format, page_size):
    q, cache = queries(rng, 3), filled(kv, format, page_size=page_size)
    cache.trim(1, 20)
    saved = cache.save()
    loaded = octavo.KVCache.load(saved)
    assert repr(loaded) == repr(cache) and loaded.save() == saved
    for name in ("batch", "num_kv_heads", "head_dim", "value_head_dim", "capacity", "format", "kept_keys", "page_size",
                 "pages", "lengths", "free_pages"):
        assert getattr(loaded, name) == getattr(cache, name), name
    token = [x[:, :1] for x in kv]
    for each in (cache, loaded):
        each.append(*token)
    assert np.array_equal(cache.attend(q), loaded.attend(q))


def test_damaged_bytes_are_refused(kv):
    saved = filled(kv).save()
    wrong = bytearray(saved)
    wrong[len(saved) // 2] ^= 4
    for damaged in (b"", b"octavo", saved[:-8], saved + bytes(8), bytes(wrong), bytes(len(saved))):
        with pytest.raises(ValueError):
            octavo.KVCache.load(damaged)
    with pytest.raises(ValueError, match="saved: a list; bytes are allowed"):
        octavo.KVCache.load([1])
