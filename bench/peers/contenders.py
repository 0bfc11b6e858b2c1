"""Who takes part in the side-by-side benchmark, and how each is called at its best.

A contender prepares one problem (q, k, v as float32 arrays [B, H, N, D]) in the form it likes, outside the timing, and
then runs it again and again. What its own users would have to do for each call (octavo: quantization, smoothing,
rotation) is part of the run. A contender that cannot be imported or refuses a problem says why.
"""

from __future__ import annotations

import os

import numpy as np


class Octavo:
    """This library through its Python package, quantization included."""

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


class Torch:
    """torch.nn.functional.scaled_dot_product_attention."""

    def __init__(self, dtype: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]

    def prepare(self, q, k, v, causal):
        self.operands = [self.torch.from_numpy(x).to(self.dtype) for x in (q, k, v)]
        self.causal = causal

    def run(self):
        with self.torch.inference_mode():
            self.out = self.torch.nn.functional.scaled_dot_product_attention(*self.operands, is_causal=self.causal)

    def output(self):
        return self.out.float().numpy()


class OnnxRuntime:
    """One-node models: MultiHeadAttention (its flash path takes nothing but q, k, v) or, causal, GroupQueryAttention."""

    def __init__(self, threads: int):
        import onnxruntime

        self.ort, self.threads = onnxruntime, threads

    def prepare(self, q, k, v, causal):
        import onnx
        from onnx import TensorProto, helper

        b, h, m, d = q.shape
        n = k.shape[2]
        packed = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(b, -1, h * d) for x in (q, k, v)]
        feeds = dict(zip("qkv", packed))
        if not causal:
            inputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [b, m if x == "q" else n, h * d]) for x in "qkv"]
            node = helper.make_node("MultiHeadAttention", list("qkv"), ["o"], domain="com.microsoft", num_heads=h)
            outputs = [helper.make_tensor_value_info("o", TensorProto.FLOAT, [b, m, h * d])]
        else:
            if m != n:
                raise RuntimeError("GroupQueryAttention wants as many queries as keys here")
            inputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [b, n, h * d]) for x in "qkv"]
            inputs += [
                helper.make_tensor_value_info("past_k", TensorProto.FLOAT, [b, h, 0, d]),
                helper.make_tensor_value_info("past_v", TensorProto.FLOAT, [b, h, 0, d]),
                helper.make_tensor_value_info("lens", TensorProto.INT32, [b]),
                helper.make_tensor_value_info("total", TensorProto.INT32, []),
            ]
            node = helper.make_node(
                "GroupQueryAttention", ["q", "k", "v", "past_k", "past_v", "lens", "total"],
                ["o", "present_k", "present_v"], domain="com.microsoft", num_heads=h, kv_num_heads=h,
            )
            outputs = [helper.make_tensor_value_info("o", TensorProto.FLOAT, [b, n, h * d])]
            empty = np.zeros((b, h, 0, d), np.float32)
            feeds |= {"past_k": empty, "past_v": empty, "lens": np.full(b, n - 1, np.int32),
                      "total": np.array(n, np.int32)}
        graph = helper.make_graph([node], "attention", inputs, outputs)
        model = helper.make_model(graph, ir_version=8, opset_imports=[
            helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        self.session = self.ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.feeds, self.shape = feeds, (b, m, h, d)

    def run(self):
        self.out = self.session.run(["o"], self.feeds)[0]

    def output(self):
        return self.out.reshape(self.shape).transpose(0, 2, 1, 3)


class OpenVino:
    """ScaledDotProductAttention (opset 13) with the precision that INFERENCE_PRECISION_HINT asks for."""

    def __init__(self, precision: str, threads: int):
        import openvino

        self.ov, self.precision, self.threads = openvino, precision, threads

    def prepare(self, q, k, v, causal):
        from openvino import opset13

        parameters = [opset13.parameter(x.shape, self.ov.Type.f32) for x in (q, k, v)]
        attention = opset13.scaled_dot_product_attention(*parameters, causal=causal)
        model = self.ov.Model([attention], parameters)
        compiled = self.ov.Core().compile_model(model, "CPU", {
            "INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": str(self.threads),
            "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"})
        self.request = compiled.create_infer_request()
        self.operands = [self.ov.Tensor(x) for x in (q, k, v)]
        self.request.set_input_tensors(self.operands) if len(self.operands) == 1 else [
            self.request.set_input_tensor(i, x) for i, x in enumerate(self.operands)]

    def run(self):
        self.request.infer()

    def output(self):
        return np.array(self.request.get_output_tensor(0).data, np.float32)


# Name -> maker; the first ones are ours.
CONTENDERS = {
    "octavo int8": lambda t: Octavo("int8", "f32", t),
    "octavo int8 (bf16 in)": lambda t: Octavo("int8", "bf16", t),
    "octavo int_flash": lambda t: Octavo("int_flash", "f32", t),
    "octavo int_flash_half": lambda t: Octavo("int_flash_half", "f32", t),
    "octavo int8_block": lambda t: Octavo("int8_block", "f32", t),
    "octavo sage2_8b": lambda t: Octavo("sage2_8b", "f32", t),
    "octavo exact f32": lambda t: Octavo("exact", "f32", t),
    "octavo exact bf16": lambda t: Octavo("exact", "bf16", t),
    "torch SDPA f32": lambda t: Torch("f32", t),
    "torch SDPA bf16": lambda t: Torch("bf16", t),
    "torch SDPA f16": lambda t: Torch("f16", t),
    "ONNX Runtime f32": lambda t: OnnxRuntime(t),
    "OpenVINO f32": lambda t: OpenVino("f32", t),
    "OpenVINO bf16": lambda t: OpenVino("bf16", t),
}


def environment(threads: int) -> dict[str, str]:
    """What a contender's process is started with: every library's own way to be told its threads."""
    return os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
                         "OCTAVO_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
