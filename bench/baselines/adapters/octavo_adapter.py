"""This library through its Python package: quantization, smoothing and rotation are part of every call."""

from __future__ import annotations

import numpy as np


class Octavo:
    def __init__(self, recipe: str, dtype: str, threads: int):
        import octavo

        octavo.set_num_threads(threads)
        self.octavo, self.recipe, self.dtype = octavo, recipe, dtype

    def prepare(self, q, k, v, causal):
        if self.dtype == "bf16":
            import ml_dtypes

            q, k, v = (x.astype(ml_dtypes.bfloat16) for x in (q, k, v))
        elif self.dtype == "f16":
            q, k, v = (x.astype(np.float16) for x in (q, k, v))
        self.operands, self.causal = (q, k, v), causal
        self.out = np.empty(q.shape[:3] + v.shape[3:], q.dtype)

    def run(self):
        self.octavo.attention(*self.operands, recipe=self.recipe, layout="HND", causal=self.causal, out=self.out)

    def output(self):
        return self.out.astype(np.float32)
