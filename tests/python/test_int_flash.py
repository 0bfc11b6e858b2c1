"""INT-FlashAttention (arXiv 2409.16997, algorithm 1) written out in NumPy, against octavo on the same INT8 codes."""

import numpy as np
import pytest
from oracle import relative_error

import octavo

KEY_BLOCK = 128


def token_codes(x):
    """Per-token symmetric INT8 (section 3): x [N, D] -> codes s8 [N, D], scales f32 [N]."""
    scales = (np.abs(x).max(axis=-1) / 127).astype(np.float32)
    return np.clip(np.rint(x / scales[:, None]), -127, 127).astype(np.int8), scales


def int_flash_attention(q, q_scale, k, k_scale, v, v_scale, softmax_scale, causal):
    """One head. q [M, D], k [N, D], v [N, Dv] s8; scales f32 [M], [N], scalar -> O [M, Dv], LSE [M] in float64."""
    rows, keys = len(q), len(k)
    m = np.full(rows, -np.inf)
    l = np.zeros(rows)
    o = np.zeros((rows, v.shape[1]))
    for begin in range(0, keys, KEY_BLOCK):
        block = slice(begin, min(begin + KEY_BLOCK, keys))
        s = q.astype(np.int64) @ k[block].astype(np.int64).T
        s = softmax_scale * s * q_scale.astype(np.float64)[:, None] * k_scale.astype(np.float64)[None, block]
        if causal:
            i, j = np.arange(rows)[:, None], np.arange(keys)[None, block]
            s = np.where(j <= i + keys - rows, s, -np.inf)
        seen = np.isfinite(s).any(axis=1)
        grown = np.where(seen, np.maximum(m, s.max(axis=1)), m)
        base = np.where(np.isfinite(grown), grown, 0)
        p = np.rint(127 * np.exp(s - base[:, None]))
        alpha = np.exp(np.where(np.isfinite(m), m - base, -np.inf))
        l = alpha * l + p.sum(axis=1)
        o = alpha[:, None] * o + p @ v[block].astype(np.float64)
        m = grown
    with np.errstate(divide="ignore"):
        lse = np.where(l > 0, m + np.log(l / 127), -np.inf)
    return o * v_scale / np.where(l > 0, l, 1)[:, None], lse


@pytest.fixture
def problem(rng):
    batch, rows, keys, heads, kv_heads, dim = 1, 70, 300, 4, 2, 64
    q = rng.standard_normal((batch, rows, heads, dim))
    k, v = (rng.standard_normal((batch, keys, kv_heads, dim)) for _ in range(2))

    def per_token(x):
        made = [[token_codes(x[b, :, h]) for h in range(x.shape[2])] for b in range(batch)]
        codes = np.stack([np.stack([codes for codes, _ in heads], axis=1) for heads in made])
        return codes, np.stack([np.stack([scales for _, scales in heads]) for heads in made])

    v_scales = (np.abs(v).max(axis=(1, 3)) / 127).astype(np.float32)
    v_codes = np.clip(np.rint(v / v_scales[:, None, :, None]), -127, 127).astype(np.int8)
    return per_token(q), per_token(k), (v_codes, v_scales), (q, k, v)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layout", ["NHD", "HND"])
def test_the_callers_own_codes(problem, causal, layout):
    (q, q_scales), (k, k_scales), (v, v_scales), _ = problem
    assert q_scales.shape == (1, 4, 70) and k_scales.shape == (1, 2, 300) and v_scales.shape == (1, 2)
    order = (lambda x: x) if layout == "NHD" else (lambda x: x.swapaxes(1, 2))
    operands = [
        octavo.Quantized(order(codes), scales, role=role, recipe="int_flash", layout=layout)
        for codes, scales, role in ((q, q_scales, "q"), (k, k_scales, "k"), (v, v_scales, "v"))
    ]
    o, lse = octavo.attention(*operands, recipe="int_flash", causal=causal, layout=layout, return_lse=True)
    o = order(o)
    expected, expected_lse = np.empty(o.shape), np.empty(lse.shape)
    for h in range(4):
        g = h // 2
        expected[0, :, h], expected_lse[0, h] = int_flash_attention(
            q[0, :, h], q_scales[0, h], k[0, :, g], k_scales[0, g], v[0, :, g], v_scales[0, g], 64**-0.5, causal
        )
    # Single codes of P may fall to either side of a half between exp and exp2.
    assert relative_error(o, expected) < 2e-3
    np.testing.assert_allclose(lse, expected_lse, atol=2e-3)


def test_octavos_codes_are_the_same(problem):
    (q, q_scales), (k, k_scales), (v, v_scales), floats = problem
    for (codes, scales), x, role in zip(problem[:3], floats, "qkv"):
        made = octavo.quantize(x.astype(np.float32), role=role, recipe="int_flash")
        np.testing.assert_allclose(made.scales, scales, rtol=1e-6)
        # float32 inputs may round a code that lies within an ulp of a half the other way.
        assert np.count_nonzero(made.codes != codes) <= codes.size // 10_000


def test_the_papers_own_error(problem):
    """Fully INT8 attention stays within a few percent of the floats that its codes came from."""
    operands = [
        octavo.Quantized(codes, scales, role=role, recipe="int_flash")
        for (codes, scales), role in zip(problem[:3], "qkv")
    ]
    q, k, v = (x.astype(np.float32) for x in problem[3])
    exact = octavo.attention(q, k, v, recipe="exact")
    error = relative_error(octavo.attention(*operands, recipe="int_flash"), exact)
    assert 0.002 < error < 0.05
