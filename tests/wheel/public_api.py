"""Calls of every public name of octavo, for `mypy --strict`; scripts/check_wheel.sh also runs it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import octavo

Floats = NDArray[np.float32]


def operands() -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((1, 40, 4, 64), dtype=np.float32)
    k = rng.standard_normal((1, 70, 2, 64), dtype=np.float32)
    v = rng.standard_normal((1, 70, 2, 64), dtype=np.float32)
    return q, k, v


def relative_l2(a: Floats, b: Floats) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def main() -> None:
    q, k, v = operands()
    exact: Floats = octavo.attention(q, k, v, recipe="exact", causal=True)
    o, lse = octavo.attention(q, k, v, causal="bottom_right", window=(63, 0), scale=0.125, return_lse=True)
    assert o.shape == q.shape and lse.shape == (1, 4, 40)

    name: str = "int8_fast"
    recipe: octavo.Recipe = octavo.recipe(name).replace(smooth_q=False)
    summaries: dict[str, str] = octavo.recipes()
    assert name in summaries
    assert relative_l2(octavo.attention(q, k, v, recipe=recipe, causal=True), exact) < 0.05

    quantized: octavo.Quantized = octavo.quantize(k, role="k", recipe=name)
    assert relative_l2(quantized.dequantize(), k) < 0.01
    assert octavo.attention(q, quantized, v, recipe=name).shape == q.shape

    first = octavo.attention(q, k[:, :30], v[:, :30], recipe="exact", return_lse=True)
    second = octavo.attention(q, k[:, 30:], v[:, 30:], recipe="exact", return_lse=True)
    merged, _ = octavo.merge_state(*first, *second)
    assert relative_l2(merged, octavo.attention(q, k, v, recipe="exact")) < 1e-5

    size: int = octavo.workspace_size(q, k, v)
    octavo.attention(q, k, v, workspace=np.empty(size, np.uint8))
    octavo.set_num_threads(0)
    with octavo.threads(1), octavo.implementation("reference"):
        assert relative_l2(octavo.attention(q, k, v, recipe="exact", causal=True), exact) < 1e-5
    assert relative_l2(octavo.reference.attention(q, k, v, recipe="exact", causal=True), exact) < 1e-5

    steps: octavo.reference.Trace = octavo.reference.trace(q, k, v, recipe="int_flash")
    assert steps.codes.shape == (1, 4, 40, 70)

    cache: octavo.KVCache = octavo.KVCache(1, 2, 64, capacity=128, format="f32")
    cache.append(k, v)
    lengths: list[int] = cache.lengths
    assert lengths == [70] and cache.nbytes > 0
    assert relative_l2(octavo.attention(q, cache, causal=True), exact) < 1e-5
    assert octavo.KVCache.load(cache.save()).attend(q).shape == q.shape

    facts: dict[str, Any] = octavo.info()
    version: str = octavo.__version__
    assert facts["version"] == version
    print(f"octavo {version}, {facts['active_implementation']}")


if __name__ == "__main__":
    main()
