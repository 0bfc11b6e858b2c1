"""The shapes that are measured: their names, their titles, how much there is to compute."""

from __future__ import annotations


def shape(heads=8, seqlen=4096, head_dim=128, causal=False, batch=1, kv_heads=None) -> dict:
    return {"batch": batch, "heads": heads, "kv_heads": kv_heads or heads, "seqlen_q": seqlen, "seqlen_k": seqlen,
            "head_dim": head_dim, "causal": causal}


LENGTHS = (128, 256, 512, 1024, 2048, 4096)

# Full runs of one name take under ten minutes each on two cores.
SHAPES = {
    "headline": [shape()],
    "quick": [shape(), shape(seqlen=1024), shape(seqlen=256), shape(head_dim=64), shape(causal=True)],
    "d128": [shape(seqlen=n) for n in LENGTHS],
    "d64": [shape(seqlen=n, head_dim=64) for n in LENGTHS],
    "causal": [shape(seqlen=n, head_dim=d, causal=True) for d in (128, 64) for n in (256, 1024, 4096)],
    "grouped": [shape(heads=32, kv_heads=8, seqlen=n, causal=c) for n in (512, 2048) for c in (False, True)],
    "single": [shape(heads=1, seqlen=n, head_dim=d) for d in (128, 64) for n in (512, 2048, 8192)],
}


def title(s: dict) -> str:
    heads = f"{s['heads']} head" + ("s" if s["heads"] > 1 else "")
    if s["kv_heads"] != s["heads"]:
        heads += f" on {s['kv_heads']}"
    return f"{heads}, {s['seqlen_q']} x {s['seqlen_k']}, D {s['head_dim']}" + (", causal" if s["causal"] else "")


def key(s: dict) -> tuple:
    return tuple(sorted(s.items()))


def visible_pairs(s: dict) -> int:
    """Of one head; a causal mask ends at the last query and the last key."""
    m, n = s["seqlen_q"], s["seqlen_k"]
    if not s["causal"]:
        return m * n
    return sum(max(0, min(n, i + n - m + 1)) for i in range(m))


def operations(s: dict) -> float:
    """A product and an addition for each of the two products, each visible pair and each channel."""
    return 4.0 * s["batch"] * s["heads"] * visible_pairs(s) * s["head_dim"]
