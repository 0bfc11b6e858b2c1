"""Recipe exact against torch's own attention in float64, on random shapes, views and options with fixed seeds."""

import collections
import math

import pytest
from conftest import CPUS
from torch_cases import MASKS, SCALES, VIEWS, draw, expected, operands

import octavo

pytestmark = pytest.mark.torch
SEEDS = range(500)
# Relative L2 of f32 output: the design's gates for 16-bit inputs; f32 is held to what f32 sums of 200 keys can do.
GATE = {"float32": 1e-5, "float16": 5e-4, "bfloat16": 3e-3}
LSE = 1e-5


def lengths_of(torch, case):
    """Rows and keys of each sequence; the whole tensor where lengths are not given."""
    g = torch.Generator().manual_seed(1000 + case.seed)

    def draw_lengths(longest):
        return torch.randint(0, longest + 1, (case.batch,), generator=g).tolist()

    rows = draw_lengths(case.rows) if case.lens == "packed" else [case.rows] * case.batch
    keys = [case.keys] * case.batch if case.lens == "none" else draw_lengths(case.keys)
    return rows, keys


def norm(x):
    return x.double().flatten().norm().item()


def test_the_cases_have_everything():
    """Every value of every option in at least five cases, and every pair of options at least once."""
    cases = [draw(seed) for seed in SEEDS]
    seen = collections.Counter()
    for case in cases:
        seen.update(("view", view) for view in case.views)
        seen.update([("mask", case.mask), ("mask rank", len(case.mask_shape)), ("scale", case.scale),
                     ("causal", case.causal), ("lens", case.lens), ("alibi", case.alibi), ("dtype", case.dtype),
                     ("window", tuple(side >= 0 for side in case.window)), ("group", case.heads // case.kv_heads)])
    for kind, values in {
        "view": VIEWS, "mask": MASKS, "mask rank": range(5), "scale": SCALES, "causal": (False, True, "top_left"),
        "lens": ("none", "kv_lens", "packed"), "alibi": ("none", "heads", "batch"), "dtype": GATE,
        "window": ((False, False), (True, False), (False, True), (True, True)), "group": (1, 2, 3),
    }.items():  # fmt: skip
        for value in values:
            assert seen[kind, value] >= 5, f"{kind} {value}"
    options = {
        "causal": lambda c: c.causal, "window": lambda c: c.window != (-1, -1), "mask": lambda c: c.mask != "none",
        "softcap": lambda c: c.softcap > 0, "sinks": lambda c: c.sinks, "alibi": lambda c: c.alibi != "none",
        "lens": lambda c: c.lens != "none", "empty": lambda c: 0 in (c.batch, c.rows, c.keys),
        "odd value dim": lambda c: c.value_dim % 16 and c.value_dim != c.dim, "group": lambda c: c.heads > c.kv_heads,
        "more rows than keys": lambda c: c.rows > c.keys,
    }  # fmt: skip
    for a, has_a in options.items():
        for b, has_b in options.items():
            assert any(has_a(case) and has_b(case) for case in cases), f"{a} with {b}"


@pytest.mark.parametrize("seed", SEEDS)
def test_sdpa(torch, seed):
    case = draw(seed)
    (q, k, v), options = operands(torch, case)
    rows, keys = lengths_of(torch, case)
    parts = [
        expected(torch, case, q[b, :, : rows[b]], k[b, :, : keys[b]], v[b, :, : keys[b]], options, b)
        for b in range(case.batch)
    ]
    given = dict(options)
    if case.lens == "packed":
        q = torch.cat([q[b, :, : rows[b]] for b in range(case.batch)] or [q.new_zeros(case.heads, 0, case.dim)], 1)
        nothing = [x.new_zeros(x.shape[1], 0, x.shape[3]) for x in (k, v)]
        k, v = (torch.cat([x[b, :, : keys[b]] for b in range(case.batch)] or [empty], 1)
                for x, empty in zip((k, v), nothing))  # fmt: skip
        for name, counts in (("cu_seqlens_q", rows), ("cu_seqlens_k", keys)):
            given[name] = torch.tensor([0, *counts]).cumsum(0).to(torch.int32)
        shape = (case.heads, q.shape[1])
        wanted = torch.cat([o for o, *_ in parts], 1) if parts else torch.zeros(*shape, case.value_dim).double()
        wanted_lse = torch.cat([lse for _, lse, _ in parts], 1) if parts else torch.zeros(shape).double()
    else:
        shape = (case.batch, case.heads, case.rows)
        wanted = torch.stack([o for o, *_ in parts]) if parts else torch.zeros(*shape, case.value_dim).double()
        wanted_lse = torch.stack([lse for _, lse, _ in parts]) if parts else torch.zeros(shape).double()
        if case.lens == "kv_lens":
            given["kv_lens"] = torch.tensor(keys, dtype=torch.int64)

    spread = math.hypot(*(norm(part) for _, _, part in parts))
    if case.layout == "NHD":
        q, k, v = (x.transpose(-3, -2) for x in (q, k, v))
        wanted = wanted.transpose(-3, -2)
    for name in CPUS:
        with octavo.implementation(name), octavo.threads(case.threads):
            o, lse = octavo.attention(q, k, v, recipe="exact", layout=case.layout, return_lse=True,
                                      out_dtype="float32", **given)  # fmt: skip
            same = octavo.attention(q, k, v, recipe="exact", layout=case.layout, **given)
        what = f"{name}: {case}"
        assert o.shape == wanted.shape and lse.shape == wanted_lse.shape, what
        assert norm(o - wanted) <= GATE[case.dtype] * max(norm(wanted), spread), what
        dark = wanted_lse == -math.inf
        assert torch.equal(lse == -math.inf, dark), what
        assert torch.allclose(lse[~dark].double(), wanted_lse[~dark], atol=LSE, rtol=1e-6), what
        by_row = o if case.layout == "HND" else o.transpose(-3, -2)
        assert torch.all(by_row[dark] == 0), what
        assert same.dtype == q.dtype and torch.equal(same, o.to(q.dtype)), what
