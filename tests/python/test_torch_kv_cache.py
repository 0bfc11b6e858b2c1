"""octavo.torch.KVCache: its operators compute what octavo.KVCache does, and keep their order in compiled programs."""

import gc

import pytest

import octavo

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_torch_thread")]


@pytest.fixture
def door(torch):
    import octavo.torch

    torch.manual_seed(0)
    return octavo.torch


SHAPE = {"batch": 2, "num_kv_heads": 2, "head_dim": 16, "value_head_dim": 24, "capacity": 64}


def tokens(torch, count, layout="NHD"):
    """q, k and v of `count` new tokens."""
    made = [torch.randn(2, count, heads, dim) for heads, dim in ((4, 16), (2, 16), (2, 24))]
    return made if layout == "NHD" else [x.transpose(1, 2) for x in made]


@pytest.mark.parametrize("format", ["s8", "f32"])
@pytest.mark.parametrize("layout", ["NHD", "HND"])
def test_equals_octavos(torch, door, format, layout):
    mine, plain = door.KVCache(**SHAPE, format=format), octavo.KVCache(**SHAPE, format=format)
    assert isinstance(mine, octavo.KVCache)
    extra = {"window": (20, -1), "softcap": 5.0, "sinks": torch.randn(4), "alibi_slopes": torch.rand(4), "scale": 0.3}
    for count, options in ((20, {}), (1, extra), (3, {"causal": False, "return_lse": True})):
        q, k, v = tokens(torch, count, layout)
        for cache in (mine, plain):
            cache.append(k, v, layout=layout)
        o, expected = (cache.attend(q, layout=layout, **options) for cache in (mine, plain))
        torch.testing.assert_close(o, expected, rtol=0, atol=0)
    q, k, v = tokens(torch, 4)
    for cache in (mine, plain):
        cache.append(k[:1], v[:1], [1], counts=[3])
    assert mine.lengths == plain.lengths == [24, 27]
    tree = torch.eye(4, dtype=torch.bool)
    options = {"tree_mask": tree, "key_mask": torch.rand(1, 27) < 0.8, "out_dtype": torch.float16}
    o, expected = (cache.attend(q[:1], [1], **options) for cache in (mine, plain))
    assert o.dtype == torch.float16 and torch.equal(o, expected)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_steps(torch, door, backend):
    """One program for all lengths; two appends and attends in it stay in order, also where a result is not used."""
    mine, plain = door.KVCache(**SHAPE), octavo.KVCache(**SHAPE)

    def step(cache, q, k, v):
        cache.append(k, v)
        first = cache.attend(q)
        cache.append(k + 1, v + 1)
        return first, cache.attend(q, window=(7, -1))

    compiled = torch.compile(step, fullgraph=True, backend=backend)
    with torch.no_grad():
        for _ in range(3):
            q, k, v = tokens(torch, 2)
            for o, expected in zip(compiled(mine, q, k, v), step(plain, q, k, v), strict=True):
                torch.testing.assert_close(o, expected, rtol=0, atol=0)
        assert mine.lengths == plain.lengths == [12, 12]
        append = torch.compile(lambda cache, k, v: cache.append(k, v), fullgraph=True, backend=backend)
        append(mine, *tokens(torch, 1)[1:])
        assert mine.lengths == [13, 13]


def test_opcheck(torch, door):
    cache = door.KVCache(**SHAPE)
    q, k, v = tokens(torch, 3)
    cache.append(k, v)
    for name in ("cache_attend", "cache_attend_lse"):
        operator = getattr(torch.ops.octavo, name).default
        torch.library.opcheck(operator, (cache.handle, q, 24))
        options = (cache.handle, q.transpose(1, 2), 24, None, "HND", True, 0.5, 4, -1, 2.0)
        torch.library.opcheck(operator, options)
    operator = torch.ops.octavo.cache_append.default
    torch.library.opcheck(operator, (cache.handle, k, v), test_utils=["test_schema", "test_faketensor"])


def test_refusals(torch, door):
    cache = door.KVCache(**SHAPE)
    q, k, v = tokens(torch, 3)
    with pytest.raises(ValueError, match="sequence 0 has 0 tokens"):
        cache.append(*tokens(torch, 65)[1:])
    assert int(cache.handle[1]) == 0  # a failed append is none
    cache.append(k, v)
    for name in ("out", "stream", "workspace"):
        with pytest.raises(NotImplementedError, match=f"{name}: octavo.torch.KVCache has no {name}"):
            cache.attend(q, **{name: q})
    with pytest.raises(RuntimeError, match="q requires grad and octavo has no backward pass"):
        cache.attend(q.clone().requires_grad_())
    with pytest.raises(ValueError, match="window: 5"):
        cache.attend(q, window=5)
    handle = cache.handle
    del cache
    gc.collect()
    with pytest.raises(ValueError, match="names no octavo.torch.KVCache"):
        torch.ops.octavo.cache_attend(handle, q, 24)


def test_load(torch, door):
    cache = door.KVCache(**SHAPE)
    q, k, v = tokens(torch, 3)
    cache.append(k, v)
    again = door.KVCache.load(cache.save())
    assert isinstance(again, door.KVCache) and torch.equal(again.attend(q), cache.attend(q))
