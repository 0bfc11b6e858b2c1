"""Attention in FP16 as Triton's tutorial writes it (06, fused attention, forward): the baseline of INT-FlashAttention's
figures. Written after the tutorial (MIT licence), forward only; configurations are tried once for each shape. The
tutorial takes whole blocks only and has no masks for what lies outside: where rows are whole blocks (EVEN), neither has
this."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

# Of the tutorial's list those that win on some GPU: each costs seconds to compile.
CONFIGS = [triton.Config({"BLOCK_M": m, "BLOCK_N": n}, num_stages=stages, num_warps=warps)
           for m, n, stages, warps in ((128, 64, 3, 4), (128, 64, 3, 8), (128, 128, 2, 8), (128, 128, 3, 8),
                                       (64, 64, 3, 4), (128, 32, 4, 4))]


@triton.jit
def _walk(acc, l_i, m_i, q, k_rows, v_rows, step, qk_scale, first, last, offs_m, offs_n, n_rows,
          MASKED: tl.constexpr, EVEN: tl.constexpr, BLOCK_N: tl.constexpr):
    for start in range(first, last, BLOCK_N):
        start = tl.multiple_of(start, BLOCK_N)
        inside = (start + offs_n) < n_rows
        if EVEN:
            k = tl.load(k_rows + start * step)
        else:
            k = tl.load(k_rows + start * step, mask=inside[None, :], other=0.0)
        qk = tl.dot(q, k) * qk_scale
        if MASKED:
            qk = tl.where(offs_m[:, None] >= (start + offs_n[None, :]), qk, -1.0e6)
        if not EVEN:
            qk = tl.where(inside[None, :], qk, -1.0e6)
        m_ij = tl.maximum(m_i, tl.max(qk, 1))
        p = tl.math.exp2(qk - m_ij[:, None])
        alpha = tl.math.exp2(m_i - m_ij)
        l_i = l_i * alpha + tl.sum(p, 1)
        if EVEN:
            v = tl.load(v_rows + start * step)
        else:
            v = tl.load(v_rows + start * step, mask=inside[:, None], other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None])
        m_i = m_ij
    return acc, l_i, m_i


@triton.heuristics({"EVEN": lambda a: a["n_rows"] % a["BLOCK_M"] == 0 and a["n_rows"] % a["BLOCK_N"] == 0})
@triton.jit
def _forward(q, k, v, out, qk_scale, stride_b, stride_h, stride_m, heads, n_rows, CAUSAL: tl.constexpr,
             HEAD_DIM: tl.constexpr, EVEN: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    start_m = tl.program_id(0)
    base = (tl.program_id(1) // heads).to(tl.int64) * stride_b + (tl.program_id(1) % heads).to(tl.int64) * stride_h
    offs_m = start_m * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_n = tl.arange(0, BLOCK_N)
    offs_d = tl.arange(0, HEAD_DIM)
    rows = base + offs_m[:, None] * stride_m + offs_d[None, :]
    if EVEN:
        queries = tl.load(q + rows)
    else:
        queries = tl.load(q + rows, mask=offs_m[:, None] < n_rows, other=0.0)
    k_rows = k + base + offs_n[None, :] * stride_m + offs_d[:, None]
    v_rows = v + base + offs_n[:, None] * stride_m + offs_d[None, :]
    m_i = tl.full([BLOCK_M], -float("inf"), dtype=tl.float32)
    l_i = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], dtype=tl.float32)
    if CAUSAL:
        # Blocks below the diagonal, which are whole, then those that it crosses.
        diagonal = start_m * BLOCK_M // BLOCK_N * BLOCK_N
        acc, l_i, m_i = _walk(acc, l_i, m_i, queries, k_rows, v_rows, stride_m, qk_scale, 0, diagonal, offs_m, offs_n,
                              n_rows, False, True, BLOCK_N)
        last = tl.minimum((start_m + 1) * BLOCK_M, n_rows)
        acc, l_i, m_i = _walk(acc, l_i, m_i, queries, k_rows, v_rows, stride_m, qk_scale, diagonal, last, offs_m,
                              offs_n, n_rows, True, EVEN, BLOCK_N)
    else:
        acc, l_i, m_i = _walk(acc, l_i, m_i, queries, k_rows, v_rows, stride_m, qk_scale, 0, n_rows, offs_m, offs_n,
                              n_rows, False, EVEN, BLOCK_N)
    acc = acc / l_i[:, None]
    if EVEN:
        tl.store(out + rows, acc.to(out.dtype.element_ty))
    else:
        tl.store(out + rows, acc.to(out.dtype.element_ty), mask=offs_m[:, None] < n_rows)


_tuned = triton.autotune(configs=CONFIGS, key=["n_rows", "HEAD_DIM", "CAUSAL"])(_forward)


def attention(q, k, v, causal: bool, configuration: dict | None = None):
    """q, k, v [B, H, N, D] of one shape, dense, f16 or bf16. `configuration`: instead of trying (tests)."""
    if q.shape != k.shape or q.shape != v.shape or not (q.is_contiguous() and k.is_contiguous() and v.is_contiguous()):
        raise NotImplementedError("the tutorial's kernel takes dense q, k and v of one shape")
    batch, heads, rows, dim = q.shape
    out = torch.empty_like(q)
    scale = math.log2(math.e) / math.sqrt(dim)
    grid = lambda meta: (triton.cdiv(rows, meta["BLOCK_M"]), batch * heads)  # noqa: E731
    kernel, extra = (_tuned, {}) if configuration is None else (_forward, configuration)
    kernel[grid](q, k, v, out, scale, q.stride(0), q.stride(1), q.stride(2), heads, rows, CAUSAL=causal, HEAD_DIM=dim,
                 **extra)
    return out
