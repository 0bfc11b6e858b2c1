"""octavo.jax: the same bits as octavo.attention, under jit, vmap and scan."""

import numpy as np
import pytest
from conftest import required

import octavo


@pytest.fixture(scope="module")
def jax():
    jax = required("jax")
    import octavo.jax

    return jax


@pytest.mark.parametrize("options", [{}, {"causal": True, "recipe": "exact"}, {"window": (3, 0), "softcap": 4.0}])
def test_under_jit(jax, qkv, options):
    expected, expected_lse = octavo.attention(*qkv, return_lse=True, **options)
    for call in (octavo.jax.attention, jax.jit(octavo.jax.attention, static_argnames=[*options, "return_lse"])):
        o, lse = call(*map(jax.numpy.asarray, qkv), return_lse=True, **options)
        assert isinstance(o, jax.Array) and np.array_equal(o, expected) and np.array_equal(lse, expected_lse)


def test_arrays_and_dtypes(jax, qkv, rng):
    q, k, v = (jax.numpy.asarray(x, dtype="bfloat16") for x in qkv)
    mask, lens = jax.numpy.asarray(rng.random((5, 9)) < 0.8), jax.numpy.asarray([9, 4])
    o = jax.jit(lambda *x: octavo.jax.attention(*x[:3], mask=x[3], kv_lens=x[4], layout="NHD"))(q, k, v, mask, lens)
    expected = octavo.attention(*map(np.asarray, (q, k, v)), mask=np.asarray(mask), kv_lens=np.asarray(lens))
    assert o.dtype == "bfloat16" and np.array_equal(np.asarray(o), expected)
    assert octavo.jax.attention(q, k, v, out_dtype="float32").dtype == "float32"


def test_large_arrays(jax, rng):
    """A callback that waits for its operands in the wrong place would hang here."""
    q, k, v = (rng.standard_normal((1, 1024, 4, 64)).astype(np.float32) for _ in range(3))
    o = jax.jit(lambda q, k, v: octavo.jax.attention(q * 1.0, k, v) + 0.0)(q, k, v)
    assert np.array_equal(o, octavo.attention(q, k, v))


def test_vmap_and_scan(jax, qkv):
    q, k, v = (np.stack([x, 2 * x, 3 * x]) for x in qkv)
    expected = np.stack([octavo.attention(*x) for x in zip(q, k, v)])
    assert np.array_equal(jax.vmap(octavo.jax.attention)(q, k, v), expected)
    assert np.array_equal(jax.lax.map(lambda x: octavo.jax.attention(*x), (q, k, v)), expected)


def test_refusals(jax, qkv):
    with pytest.raises(NotImplementedError, match="no backward pass"):
        jax.grad(lambda q: octavo.jax.attention(q, *map(jax.numpy.asarray, qkv[1:])).sum())(jax.numpy.asarray(qkv[0]))
    with pytest.raises(TypeError, match="unexpected keyword argument 'workspace'"):
        octavo.jax.attention(*qkv, workspace=1)
    with pytest.raises(ValueError, match="q: dtype int32"):
        octavo.jax.attention(*(x.astype(np.int32) for x in qkv))
    with pytest.raises(ValueError, match="k: rank 2"):
        octavo.jax.attention(qkv[0], qkv[1][0, 0], qkv[2])
    with pytest.raises(ValueError, match="layout"):
        octavo.jax.attention(*qkv, layout="DHN")
    with pytest.raises(Exception, match="int9"):
        octavo.jax.attention(*qkv, recipe="int9")
