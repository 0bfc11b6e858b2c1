"""OpenVINO's CPU plugin: ScaledDotProductAttention with the precision asked for; PagedAttention of its servers."""

from __future__ import annotations

import numpy as np

PAGE = 32  # keys of a block of the CPU plugin's cache


class OpenVino:
    def __init__(self, precision: str, threads: int):
        import openvino

        self.ov, self.precision, self.threads = openvino, precision, threads

    def compile(self, model, **more):
        """The plugin at its best for one request at a time."""
        properties = {"INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": str(self.threads),
                      "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
        return self.ov.Core().compile_model(model, "CPU", properties | more)

    def prepare(self, q, k, v, causal):
        from openvino import opset13

        b, heads, m, d = q.shape
        kv_heads, n = k.shape[1], k.shape[2]
        if heads != kv_heads:
            if causal:
                raise NotImplementedError("ScaledDotProductAttention has no grouped heads; folded into rows, causal "
                                          "has no meaning")
            q = q.reshape(b, kv_heads, heads // kv_heads * m, d)
        parameters = [opset13.parameter(x.shape, self.ov.Type.f32) for x in (q, k, v)]
        attention = opset13.scaled_dot_product_attention(*parameters, causal=causal)
        compiled = self.compile(self.ov.Model([attention], parameters))
        self.request = compiled.create_infer_request()
        self.operands = [self.ov.Tensor(np.ascontiguousarray(x)) for x in (q, k, v)]
        for i, x in enumerate(self.operands):
            self.request.set_input_tensor(i, x)
        self.shape = (b, heads, m, d)

    def run(self):
        self.request.infer()

    def output(self):
        return np.array(self.request.get_output_tensor(0).data, np.float32).reshape(self.shape)


class OpenVinoPaged(OpenVino):
    """One sequence over a paged cache; always causal. `prepare`: all tokens as one chunk into an empty cache, quantized
    on the way in, read back from it. bench/short_calls/decode.py: single tokens over a filled one.
    """

    def __init__(self, precision: str, cache: str, threads: int):
        super().__init__(precision, threads)
        self.cache = cache

    def prepare(self, q, k, v, causal):
        b, heads, m, d = q.shape
        kv_heads, n = k.shape[1], k.shape[2]
        if not causal or m != n:
            raise NotImplementedError("PagedAttention is always causal, with as many queries as keys here")
        if b != 1:
            raise NotImplementedError("one sequence here")
        self.open(heads, kv_heads, d, n)
        self.set_tokens(q, k, v, 0)

    def open(self, heads, kv_heads, d, n):
        """The compiled model, and pages for n tokens."""
        from openvino import opset13
        from openvino.op import _PagedAttentionExtension

        kind, i32 = self.ov.Type.f32, self.ov.Type.i32
        parameter = lambda shape, of: opset13.parameter(self.ov.PartialShape(shape), of)
        operands = [parameter([-1, count * d], kind) for count in (heads, kv_heads, kv_heads)]
        caches = [parameter([-1, kv_heads, -1, -1], self.ov.Type.dynamic) for _ in range(2)]
        lists = [parameter([-1], i32) for _ in range(4)]  # past lengths, begins, blocks, begins of blocks
        longest = parameter([], i32)
        scalar = lambda value, of=np.int32: opset13.constant(np.array(value, of))
        nothing = lambda shape=(0,), of=np.int32: opset13.constant(np.zeros(shape, of))
        inputs = [*operands, *caches, *lists, scalar(1 / np.sqrt(d), np.float32), scalar(0), nothing(of=np.float32),
                  longest, nothing(), nothing(), nothing(), nothing(of=np.float32), nothing(of=np.float32), scalar(0),
                  scalar(0), nothing((0, 0, 0, 0), np.float32), scalar(0), nothing(), nothing(), nothing(), nothing(),
                  nothing(of=np.uint8), nothing()]
        attention = _PagedAttentionExtension([x.output(0) for x in inputs])
        for name, value in (("num_k_heads", kv_heads), ("k_head_size", d),
                            ("num_v_heads", kv_heads), ("v_head_size", d)):
            attention.get_rt_info()[name] = value
        model = self.ov.Model([attention.output(0)], [*operands, *caches, *lists, longest])
        compiled = self.compile(model, KV_CACHE_PRECISION=self.cache)
        self.request = compiled.create_infer_request()
        blocks = (n + PAGE - 1) // PAGE
        self.pages = []
        for i in (3, 4):
            port = compiled.inputs[i]
            shape = [x.get_length() if x.is_static else blocks if axis == 0 else PAGE
                     for axis, x in enumerate(port.partial_shape)]
            self.pages.append(self.ov.Tensor(port.element_type, self.ov.Shape(shape)))
        self.blocks, self.heads = blocks, (heads, d)

    def set_tokens(self, q, k, v, past):
        """The tokens of the next `run`: [1, H, T, D], after `past` ones that are in the cache."""
        count = q.shape[2]
        tokens = [np.ascontiguousarray(x[0].transpose(1, 0, 2)).reshape(count, -1) for x in (q, k, v)]
        numbers = ([past], [0, count], range(self.blocks), [0, self.blocks], past + count)
        integers = [np.array(x, np.int32) for x in numbers]
        self.operands = [*map(self.ov.Tensor, tokens), *self.pages, *map(self.ov.Tensor, integers)]
        for i, x in enumerate(self.operands):
            self.request.set_input_tensor(i, x)

    def output(self):
        out = np.array(self.request.get_output_tensor(0).data, np.float32)
        return out.reshape(out.shape[0], *self.heads).transpose(1, 0, 2)[None]
