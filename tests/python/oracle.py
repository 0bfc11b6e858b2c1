"""Attention from its definition, in float64 NumPy without blocks: the expected values of the tests."""

import numpy as np


def softmax_attention(q, k, v, *, causal=False, scale=None, window=(-1, -1), softcap=0.0, mask=None, sinks=None,
                      alibi_slopes=None, alibi="causal"):
    """NHD arrays of any float dtype -> o [B, M, Hq, Dv], lse [B, Hq, M], both float64."""
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    batch, rows, heads, dim = q.shape
    keys, kv_heads = k.shape[1:3]
    group = heads // kv_heads
    scale = 1 / np.sqrt(dim) if scale is None else scale
    i, j = np.arange(rows)[:, None], np.arange(keys)[None, :]
    diagonal = i if causal == "top_left" else i + keys - rows
    visible = np.ones((rows, keys), dtype=bool)
    if causal:
        visible &= j <= diagonal
    if window[0] >= 0:
        visible &= j >= diagonal - min(window[0], rows + keys)
    if window[1] >= 0:
        visible &= j <= diagonal + min(window[1], rows + keys)

    o = np.zeros((batch, rows, heads, v.shape[-1]))
    lse = np.full((batch, heads, rows), -np.inf)
    for b in range(batch):
        for h in range(heads):
            s = scale * q[b, :, h] @ k[b, :, h // group].T
            if softcap > 0:
                s = softcap * np.tanh(s / softcap)
            if alibi_slopes is not None:
                s = s + np.broadcast_to(alibi_slopes, (batch, heads))[b, h] * (
                    -abs(j - diagonal) if alibi == "symmetric" else j - diagonal
                )
            seen = visible
            if mask is not None:
                part = np.broadcast_to(mask, (batch, heads, rows, keys))[b, h]
                if part.dtype == bool:
                    seen = seen & part
                else:
                    s = s + part.astype(np.float64)
            s = np.where(seen, s, -np.inf)
            sink = -np.inf if sinks is None else float(sinks[h])
            top = np.maximum(s.max(axis=1, initial=-np.inf), sink)
            base = np.where(np.isfinite(top), top, 0)
            p = np.exp(s - base[:, None])
            total = p.sum(axis=1) + np.exp(sink - base)
            with np.errstate(divide="ignore"):
                lse[b, h] = base + np.log(total)
            o[b, :, h] = p @ v[b, :, h // group] / np.where(total > 0, total, 1)[:, None]
    return o, lse


def relative_error(actual, expected):
    """Relative L2 distance; the measure of the design's gates."""
    actual, expected = (np.asarray(x, dtype=np.float64) for x in (actual, expected))
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-300)
