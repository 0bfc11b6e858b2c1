"""What octavo.KVCache is made with: recipes and formats, the caller's pool and block tables, bad values."""

import numpy as np
import pytest
from test_kv_cache import BOUND, DIM, KV_HEADS, TOKENS, VALUE_DIM, filled, kv, make, queries  # noqa: F401 (kv)

import octavo


BAD_OPTIONS = [
    ({"format": "s16"}, ValueError, "format: 's16'; 's8', 's4', 'e4m3', 'f32', 'f16' and 'bf16' are allowed"),
    ({"format": []}, ValueError, r"format: \[\]; 's8'"),
    ({"capacity": 0}, ValueError, "capacity is 0; it must be at least 1"),
    ({"capacity": 1.5}, ValueError, "capacity: 1.5 is not an integer"),
    ({"batch": -1}, ValueError, "batch is -1"),
    ({"page_size": 20}, ValueError, "page_size is 20; allowed are 0 .contiguous. and multiples of 16"),
    ({"page_size": 0}, ValueError, "page_size: 0; it must be at least 1, or None"),
    ({"pages": 4}, ValueError, "pages is 4; without page_size"),
    ({"capacity": 2**62}, MemoryError, "more memory than any machine has"),
    ({"capacity": 2**70}, ValueError, "integers of 64 bits are allowed"),
]  # fmt: skip


@pytest.mark.parametrize("options, error, message", BAD_OPTIONS)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)
    with pytest.raises(NotImplementedError, match="head_dim is 513"):
        octavo.KVCache(1, 1, 513, capacity=1)
    with pytest.raises(ValueError, match="value_head_dim: 0; it must be at least 1"):
        octavo.KVCache(1, 1, 8, 0, capacity=1)


def test_recipe_chooses_the_format():
    sizes = {"batch": 1, "num_kv_heads": 1, "head_dim": 16, "capacity": 16}
    for options, format, kept_keys in (
        ({}, "s8", True),
        ({"recipe": "int8"}, "s8", True),
        ({"recipe": octavo.recipe("int8_fast")}, "s8", False),
        ({"recipe": "exact"}, "f32", False),
        ({"recipe": "exact", "format": "bf16"}, "bf16", False),
        ({"format": "s4", "kept_keys": False}, "s4", False),
    ):
        cache = octavo.KVCache(**sizes, **options)
        assert (cache.format, cache.kept_keys) == (format, kept_keys)
    for options, error, message in (
        ({"recipe": "int4"}, NotImplementedError, "recipe: int4; a cache has 'int8', 'int8_fast', 'exact'; format="),
        ({"recipe": "int8", "format": "f16"}, ValueError, "format: 'f16' with recipe int8, which has 's8'"),
        ({"recipe": "int8_fast", "kept_keys": True}, ValueError, "kept_keys: True with recipe int8_fast, which has"),
        ({"recipe": "int9"}, ValueError, "int9"),
        ({"format": "int8"}, ValueError, "format: 'int8'; 's8'"),
        ({"block_table": [[0]]}, ValueError, "block_table: without a pool"),
    ):
        with pytest.raises(error, match=message):
            octavo.KVCache(**sizes, **options)


def test_block_table_in_the_constructor(rng, kv):  # noqa: F811
    sizes = {"format": "s8", "page_size": 16, "pages": 32}
    memory = np.zeros(octavo.KVCache.pool_size(KV_HEADS, DIM, VALUE_DIM, **sizes) + 64, np.uint8)
    pool = memory[-memory.ctypes.data % 64 :][: memory.size - 64]
    tables = np.full((2, 16), -1)
    tables[:, :10] = rng.permutation(32)[:20].reshape(2, 10)
    q = queries(rng, 1)
    outputs = []
    for by_constructor in (True, False):
        pool[:] = 0
        cache = make(pool=pool, block_table=tables if by_constructor else None, **sizes)
        if not by_constructor:
            for sequence in range(2):
                cache.set_block_table(sequence, tables[sequence, :10])
        cache.append(*kv)
        outputs.append((cache.attend(q), pool.copy()))
    for a, b in zip(*outputs, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="block_table: 1 rows and 2 sequences"):
        make(pool=pool, block_table=tables[:1], **sizes)
    with pytest.raises(ValueError, match="-1"):
        make(pool=pool, block_table=[[0, -1, 2], [1]], **sizes)


@pytest.mark.parametrize("format", BOUND)
def test_pool(rng, kv, format):  # noqa: F811
    sizes = {"format": format, "page_size": 32, "pages": 12}
    size = octavo.KVCache.pool_size(KV_HEADS, DIM, VALUE_DIM, **sizes)
    memory = np.zeros(size + 64, np.uint8)
    pool = memory[-memory.ctypes.data % 64 :][:size]
    cache = make(pool=pool, **sizes)
    cache.set_block_table(0, [3, 1, 4, 0, 5])
    with pytest.raises(MemoryError, match="the block table of sequence 1 has 0 pages; its 150 tokens take 5"):
        cache.append(*kv)
    assert not memory.any() and cache.lengths == [0, 0]
    cache.set_block_table(1, np.array([9, 2, 6, 8, 7]))
    for part in (slice(0, 100), slice(100, TOKENS)):
        cache.append(*(x[:, part] for x in kv))
    q = queries(rng, 3)
    assert np.array_equal(cache.attend(q), filled(kv, format, (100, 50)).attend(q))
    assert memory.any() and cache.free_pages == 2
    tables = [
        ([3, 1, 4, 0, 12], r"pages\[4\] is 12"),
        ([3, 1, 4, 0, 3], "names before"),
        ([3], "which take 5"),
        ([2**40], "32 bits"),
        (3, "a sequence of integers"),
    ]
    for pages, message in tables:
        with pytest.raises(ValueError, match=message):
            cache.set_block_table(0, pages)
    pools = [
        (pool[:-1], "pages need"),
        (pool[1:], "pages need|multiple of 64"),
        (pool[::2], "dense uint8"),
        (pool.astype(np.int8), "pool: s8"),
    ]
    for bad, message in pools:
        with pytest.raises(ValueError, match=message):
            make(pool=bad, **sizes)
