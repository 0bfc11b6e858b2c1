"""ONNX Runtime's three attentions as one-node models: MultiHeadAttention, Attention (opset 23), GroupQueryAttention."""

from __future__ import annotations

import numpy as np


class OnnxRuntime:
    """The session and its one node; a subclass says which."""

    def __init__(self, threads: int):
        import onnxruntime

        self.ort, self.threads = onnxruntime, threads

    def start(self, node, inputs: dict, outputs: dict, opsets: dict, ir_version: int):
        """inputs: name -> array; outputs: name -> shape. Outputs are written to the same memory in every call."""
        from onnx import helper

        element = lambda x: helper.np_dtype_to_tensor_dtype(x.dtype)
        graph = helper.make_graph(
            [node], "attention",
            [helper.make_tensor_value_info(name, element(x), x.shape) for name, x in inputs.items()],
            [helper.make_tensor_value_info(name, element(x), x.shape) for name, x in outputs.items()])
        model = helper.make_model(graph, ir_version=ir_version,
                                  opset_imports=[helper.make_opsetid(*x) for x in opsets.items()])
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        self.session = self.ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.kept = inputs, outputs  # the binding holds addresses only
        for name, x in inputs.items():
            self.binding.bind_ortvalue_input(name, self.ort.OrtValue.ortvalue_from_numpy(x))
        self.results = {name: self.ort.OrtValue.ortvalue_from_numpy(x) for name, x in outputs.items()}
        for name, x in self.results.items():
            self.binding.bind_ortvalue_output(name, x)

    def run(self):
        self.session.run_with_iobinding(self.binding)


def rows_of_heads(x):
    """[B, H, N, D] -> [B, N, H D]"""
    b, h, n, d = x.shape
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(b, n, h * d)


class MultiHead(OnnxRuntime):
    """com.microsoft.MultiHeadAttention: anything besides q, k and v drops its flash path."""

    def prepare(self, q, k, v, causal):
        from onnx import helper

        if causal:
            raise NotImplementedError("MultiHeadAttention's flash path takes no causal mask")
        if q.shape[1] != k.shape[1]:
            raise NotImplementedError("MultiHeadAttention has no grouped heads")
        node = helper.make_node("MultiHeadAttention", list("qkv"), ["o"], domain="com.microsoft", num_heads=q.shape[1])
        inputs = dict(zip("qkv", map(rows_of_heads, (q, k, v))))
        self.shape = q.shape
        self.start(node, inputs, {"o": np.empty_like(inputs["q"])}, {"": 17, "com.microsoft": 1}, 8)

    def output(self):
        b, h, m, d = self.shape
        return self.results["o"].numpy().reshape(b, m, h, d).transpose(0, 2, 1, 3)


class OpsetAttention(OnnxRuntime):
    """ai.onnx Attention, opset 23, on [B, H, N, D]."""

    def prepare(self, q, k, v, causal):
        from onnx import helper

        node = helper.make_node("Attention", list("qkv"), ["o"], is_causal=int(causal))
        self.start(node, dict(zip("qkv", (q, k, v))), {"o": np.empty_like(q)}, {"": 23}, 10)

    def output(self):
        return self.results["o"].numpy()


class GroupQuery(OnnxRuntime):
    """com.microsoft.GroupQueryAttention over a cache that the call fills: always causal.

    bits 32: a cache of f32; 8: of s8 with a scale per tensor, quantized by the call.
    """

    def __init__(self, bits: int, threads: int):
        super().__init__(threads)
        self.bits = bits

    def prepare(self, q, k, v, causal):
        from onnx import helper

        b, h, m, d = q.shape
        kv_heads, n = k.shape[1], k.shape[2]
        if not causal or m != n:
            raise NotImplementedError("GroupQueryAttention is always causal, with as many queries as keys here")
        kind = np.float32 if self.bits == 32 else np.int8
        names = ["q", "k", "v", "past_k", "past_v", "lens", "total"]
        empty = np.zeros((b, kv_heads, 0, d), kind)
        inputs = dict(zip("qkv", map(rows_of_heads, (q, k, v))))
        inputs |= {"past_k": empty, "past_v": empty, "lens": np.full(b, n - 1, np.int32),
                   "total": np.array(n, np.int32)}
        attributes = {"num_heads": h, "kv_num_heads": kv_heads}
        if self.bits == 8:
            names += [""] * 5 + ["k_scale", "v_scale"]
            inputs |= {name + "_scale": np.array([np.abs(x).max() / 127], np.float32)
                       for name, x in (("k", k), ("v", v))}
            attributes |= {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR", "kv_cache_bit_width": 8}
        node = helper.make_node("GroupQueryAttention", names, ["o", "present_k", "present_v"], domain="com.microsoft",
                                **attributes)
        outputs = {"o": np.empty_like(inputs["q"])} | {name: np.empty((b, kv_heads, n, d), kind)
                                                      for name in ("present_k", "present_v")}
        self.shape = q.shape
        self.start(node, inputs, outputs, {"": 17, "com.microsoft": 1}, 8)

    output = MultiHead.output
