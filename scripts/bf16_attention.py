"""Attention as a GPU's FlashAttention computes it on bf16 tensors: the row "bf16 attention" of the tables.

    S = bf16(Q) bf16(K)^T            sums in f32
    P = exp(scale S - row maximum)   f32; l = the sum of P, f32
    O = bf16(bf16(P) bf16(V) / l)    sums in f32

Q, K, V, P and O are rounded to bf16, to nearest, ties to even; nothing else is. If Q, K and V are bf16 numbers already,
as in a model that runs in bf16, only the roundings of P and O remain.
"""

import numpy as np

NAME = "bf16 attention"


def to_bf16(x):
    """f32 to the nearest bf16 number, as f32; finite inputs."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def bf16_attention(q, k, v, causal):
    """Q [B, M, Hq, D], K and V [B, N, Hkv, D] -> O [B, M, Hq, Dv] f32; scale 1 / sqrt(D), bottom-right diagonal."""
    q, k, v = (to_bf16(x) for x in (q, k, v))
    batch, rows, heads, dim = q.shape
    keys, group = k.shape[1], heads // k.shape[2]
    hidden = np.arange(keys)[None, :] > np.arange(rows)[:, None] + keys - rows if causal else None
    out = np.empty((batch, rows, heads, v.shape[-1]), np.float32)
    for b, h in np.ndindex(batch, heads):
        scores = q[b, :, h] @ k[b, :, h // group].T * np.float32(1 / np.sqrt(dim))
        if causal:
            scores[hidden] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out[b, :, h] = to_bf16(weights) @ v[b, :, h // group] / weights.sum(axis=-1, keepdims=True)
    return to_bf16(out)
