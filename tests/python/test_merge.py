"""octavo.merge_state: partial results over disjoint keys merge to the whole."""

import numpy as np
import pytest
from oracle import relative_error, softmax_attention

import octavo


def parts(qkv, split, **options):
    q, k, v = qkv
    return [
        octavo.attention(q, k[:, keys], v[:, keys], recipe="exact", return_lse=True, **options)
        for keys in (slice(None, split), slice(split, None))
    ]


@pytest.mark.parametrize("split", [0, 1, 4, 9])
def test_two_parts_are_the_whole(qkv, split):
    a, b = parts(qkv, split)
    o, lse = octavo.merge_state(*a, *b)
    expected, expected_lse = softmax_attention(*qkv)
    assert relative_error(o, expected) < 1e-6
    np.testing.assert_allclose(lse, expected_lse, atol=1e-5)
    other = octavo.merge_state(*b, *a)
    assert np.array_equal(other[0], o) and np.array_equal(other[1], lse)


def test_hnd(qkv):
    swapped = tuple(x.swapaxes(1, 2) for x in qkv)
    (o_a, lse_a), (o_b, lse_b) = parts(qkv, 4)
    o, lse = octavo.merge_state(o_a.swapaxes(1, 2), lse_a, o_b.swapaxes(1, 2), lse_b, layout="HND")
    whole = octavo.attention(*swapped, recipe="exact", layout="HND")
    assert relative_error(o, whole) < 1e-6


def test_nothing_and_nothing(qkv):
    o = np.zeros((1, 2, 3, 4), np.float32)
    nothing = np.full((1, 3, 2), -np.inf, np.float32)
    merged, lse = octavo.merge_state(o, nothing, o, nothing)
    assert np.all(merged == 0) and np.all(lse == -np.inf)


def test_refusals(qkv):
    (o, lse), _ = parts(qkv, 4)
    with pytest.raises(ValueError, match="lse_b"):
        octavo.merge_state(o, lse, o, lse[:, :1])
    with pytest.raises(ValueError, match="o_b"):
        octavo.merge_state(o, lse, o.astype(np.float16), lse)
    with pytest.raises(ValueError, match="layout"):
        octavo.merge_state(o, lse, o, lse, layout="nhd")
    with pytest.raises(TypeError, match="lse_a"):
        octavo.merge_state(o, lse.tolist(), o, lse)
