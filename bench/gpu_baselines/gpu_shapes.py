"""The shapes that are measured on a GPU, and what a call of each has to compute. In the order of their worth: where
the time is short, the last ones are left out."""

from __future__ import annotations


def shape(rows, head_dim=128, causal=False, batch=1, heads=64, kv_heads=None) -> dict:
    return {"batch": batch, "heads": heads, "kv_heads": kv_heads or heads, "rows": rows, "head_dim": head_dim,
            "causal": causal}


# The bars' shapes first.
HEADLINE = shape(16384, kv_heads=8)
SHAPES = {
    "bars": [HEADLINE, shape(16384, kv_heads=8, causal=True), shape(16384, 64, heads=32),
             shape(1024, causal=True, batch=8, heads=32, kv_heads=8),
             shape(2048, causal=True, batch=4, heads=32, kv_heads=8)],
    # INT-FlashAttention (arXiv 2409.16997), figure 2.
    "paper": [shape(n, 64, batch=4, heads=32) for n in (1024, 2048, 4096, 8192, 16384)],
    # cudnn-frontend's published figures of an H200: batch 1, 64 heads on 8.
    "cudnn": [shape(n, kv_heads=8, causal=causal) for n in (2048, 4096, 8192) for causal in (True, False)],
}
ORDER = ("bars", "paper", "cudnn")


def title(s: dict) -> str:
    heads = f"{s['heads']} heads" + (f" on {s['kv_heads']}" if s["kv_heads"] != s["heads"] else "")
    causal = ", causal" if s["causal"] else ""
    return f"B {s['batch']}, {heads}, {s['rows']} x {s['rows']}, D {s['head_dim']}{causal}"


def operations(s: dict) -> float:
    """A product and an addition for each of the two products, each visible pair and each channel."""
    pairs = s["rows"] * (s["rows"] + 1) // 2 if s["causal"] else s["rows"] ** 2
    return 4.0 * s["batch"] * s["heads"] * pairs * s["head_dim"]
