"""The operands of a shape, and the error of an output."""

from __future__ import annotations

import numpy as np


def operands(s: dict, seed: int = 0) -> list[np.ndarray]:
    """N(0, 1) q, k and v [B, H, N, D], the same for every library."""
    rng = np.random.default_rng(seed)
    dims = [(s["batch"], s[heads], s[rows], s["head_dim"])
            for heads, rows in (("heads", "seqlen_q"), ("kv_heads", "seqlen_k"), ("kv_heads", "seqlen_k"))]
    return [rng.standard_normal(d, dtype=np.float32) for d in dims]


def sampled_error(out: np.ndarray, q, k, v, causal: bool) -> float:
    """Relative L2 against float64 on the first and last 32 query rows of the first and last head."""
    m, n, d = q.shape[2], k.shape[2], q.shape[3]
    if out.shape != q.shape:
        raise RuntimeError(f"the output is {list(out.shape)} instead of {list(q.shape)}")
    rows = sorted(set(range(min(32, m))) | set(range(max(0, m - 32), m)))
    group = q.shape[1] // k.shape[1]
    wrong = right = 0.0
    for head in {0, q.shape[1] - 1}:
        s = q[0, head, rows].astype(np.float64) @ k[0, head // group].astype(np.float64).T / np.sqrt(d)
        if causal:
            s[np.arange(n)[None, :] > np.array(rows)[:, None] + n - m] = -np.inf
        p = np.exp(s - s.max(axis=1, keepdims=True))
        o = p / p.sum(axis=1, keepdims=True) @ v[0, head // group].astype(np.float64)
        wrong += np.square(out[0, head, rows] - o).sum()
        right += np.square(o).sum()
    return float(np.sqrt(wrong / right))
