"""torch.nn.functional.scaled_dot_product_attention on the CPU: its flash kernel."""

from __future__ import annotations


class Torch:
    """Grouped heads are folded into rows where no mask forbids it: enable_gqa is several times slower."""

    def __init__(self, dtype: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]

    def prepare(self, q, k, v, causal):
        b, heads, m, d = self.shape = q.shape
        kv_heads = k.shape[1]
        self.grouped = heads != kv_heads and causal
        if heads != kv_heads and not causal:
            q = q.reshape(b, kv_heads, heads // kv_heads * m, d)
        self.operands = [self.torch.from_numpy(x).to(self.dtype) for x in (q, k, v)]
        self.causal = causal

    def run(self):
        with self.torch.inference_mode():
            self.out = self.torch.nn.functional.scaled_dot_product_attention(
                *self.operands, is_causal=self.causal, enable_gqa=self.grouped)

    def output(self):
        return self.out.float().numpy().reshape(self.shape)
