"""One row of decoding over a key-value cache: octavo's formats beside ONNX Runtime, OpenVINO and PyTorch.

    python decode.py [--lengths 4096 32768] [--formats s8 s4 e4m3 f16 f32] [--peers ort_int8 ort_f32 openvino_u8 torch]

All take turns in one process. ONNX Runtime's GroupQueryAttention and OpenVINO's PagedAttention (u8 with a scale and a
zero point per token, K by channel) also write the new token into their caches; PyTorch's heads of a group are folded
into query rows. The median of the times and of the ratios of neighbouring measurements; GB/s of the bytes that a cache
holds. Needs octavo, NumPy and what the peers need (onnxruntime and onnx, openvino, torch).
"""

from __future__ import annotations

import argparse
import math
import pathlib
import statistics
import sys
from collections.abc import Callable

import numpy as np
import octavo
from short_calls import compare, ratio

FORMATS = ("s8", "s4", "e4m3", "f16", "bf16", "f32")


def octavo_call(format: str, q: np.ndarray, k: np.ndarray, v: np.ndarray, bytes_of: dict[str, int]) -> Callable:
    batch, n, kv_heads, dim = k.shape
    cache = octavo.KVCache(batch, kv_heads, dim, capacity=n, format=format)
    for first in range(0, n, 1024):
        cache.append(k[:, first : first + 1024], v[:, first : first + 1024])
    bytes_of[f"octavo {format}"] = cache.nbytes
    out = np.empty_like(q)
    return lambda: cache.attend(q, out=out)


def ort_call(bits: int, q: np.ndarray, k: np.ndarray, v: np.ndarray, threads: int) -> Callable:
    import onnxruntime
    from onnx import TensorProto, helper

    batch, n, kv_heads, dim = k.shape
    heads = q.shape[2]
    rows = lambda x: np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], -1)
    cached = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in (k, v)]
    inputs = {"q": rows(q), "k": rows(k[:, -1:]), "v": rows(v[:, -1:])}
    options: dict[str, object] = {}
    if bits == 8:
        scales = [np.float32([np.abs(x).max() / 127]) for x in cached]
        cached = [np.clip(np.rint(x / s), -127, 127).astype(np.int8) for x, s in zip(cached, scales, strict=True)]
        options = {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR", "kv_cache_bit_width": 8}
    inputs |= {"past_key": cached[0], "past_value": cached[1]}
    inputs |= {"seqlens_k": np.full(batch, n - 1, np.int32), "total": np.array(n, np.int32)}
    names = ["q", "k", "v", "past_key", "past_value", "seqlens_k", "total"]
    if bits == 8:
        inputs |= {"k_scale": scales[0], "v_scale": scales[1]}
        names += ["", "", "", "", "", "k_scale", "v_scale"]
    outputs = {"o": np.empty_like(inputs["q"]), "present_key": cached[0], "present_value": cached[1]}
    node = helper.make_node("GroupQueryAttention", names, list(outputs), domain="com.microsoft", num_heads=heads,
                            kv_num_heads=kv_heads, scale=1 / math.sqrt(dim), **options)  # fmt: skip
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int8): TensorProto.INT8,
             np.dtype(np.int32): TensorProto.INT32}  # fmt: skip
    value = lambda name, x: helper.make_tensor_value_info(name, kinds[x.dtype], x.shape)
    ends = ([value(*x) for x in part.items()] for part in (inputs, outputs))
    graph = helper.make_graph([node], "decode", *ends)
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads, session_options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(x) for name, x in inputs.items()}
    for name, x in held.items():
        binding.bind_ortvalue_input(name, x)
    # The cache is written in place: present and past are one.
    held |= {"o": onnxruntime.OrtValue.ortvalue_from_numpy(outputs["o"]), "present_key": held["past_key"]}
    held["present_value"] = held["past_value"]
    for name in outputs:
        binding.bind_ortvalue_output(name, held[name])

    def call(held: dict = held) -> object:
        session.run_with_iobinding(binding)
        return held["o"]

    return call


def openvino_call(q: np.ndarray, k: np.ndarray, v: np.ndarray, threads: int, bytes_of: dict[str, int]) -> Callable:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "baselines"))
    from adapters import OpenVinoPaged

    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
    heads, n = q.shape[1], k.shape[2]
    paged = OpenVinoPaged("f32", "u8", threads)
    paged.open(heads, k.shape[1], q.shape[3], n)
    paged.set_tokens(np.zeros((1, heads, n - 1, q.shape[3]), np.float32), k[:, :, :-1], v[:, :, :-1], 0)
    paged.run()
    paged.set_tokens(q, k[:, :, -1:], v[:, :, -1:], n - 1)
    bytes_of["OpenVINO u8"] = sum(page.byte_size for page in paged.pages)

    def call() -> np.ndarray:
        paged.run()
        return paged.output().transpose(0, 2, 1, 3)

    return call


def torch_call(q: np.ndarray, k: np.ndarray, v: np.ndarray, threads: int) -> Callable:
    import torch

    torch.set_num_threads(threads)
    batch, _, heads, dim = q.shape
    kv_heads = k.shape[2]
    rows = torch.from_numpy(q).reshape(batch, kv_heads, heads // kv_heads, dim)  # a group's heads are rows
    keys, values = (torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1, 3))) for x in (k, v))
    return lambda: torch.nn.functional.scaled_dot_product_attention(rows, keys, values)


def check(name: str, o: np.ndarray, expected: np.ndarray) -> None:
    error = np.linalg.norm(o - expected) / np.linalg.norm(expected)
    if not error < 0.3:
        raise SystemExit(f"{name}: relative L2 {error:.2f} from the exact result; it computes something else")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 32768])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["s8", "s4", "e4m3", "f16", "f32"])
    parser.add_argument("--peers", nargs="*", choices=("ort_int8", "ort_f32", "openvino_u8", "torch"),
                        default=["ort_int8", "openvino_u8", "torch"])
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="of repeated calls in each round")
    args = parser.parse_args()
    octavo.set_num_threads(args.threads)
    rng = np.random.default_rng(1)
    print(f"one row, {args.heads}/{args.kv_heads} heads, D {args.head_dim}, N(0, 1), {args.threads} threads")
    print("| N | | us | GB/s | x first |\n|--:|:--|--:|--:|--:|")
    for n in args.lengths:
        shape = lambda rows, heads: (1, rows, heads, args.head_dim)
        q = rng.standard_normal(shape(1, args.heads), np.float32)
        k, v = (rng.standard_normal(shape(n, args.kv_heads), np.float32) for _ in "kv")
        exact = octavo.attention(q, k, v, recipe="exact")
        bytes_of: dict[str, int] = {}
        calls: dict[str, Callable] = {}
        for peer in args.peers:
            if peer == "torch":
                calls["PyTorch f32"] = torch_call(q, k, v, args.threads)
                check(peer, calls["PyTorch f32"]().numpy().reshape(q.shape), exact)
            elif peer == "openvino_u8":
                calls["OpenVINO u8"] = openvino_call(q, k, v, args.threads, bytes_of)
                check(peer, calls["OpenVINO u8"](), exact)
            else:
                bits = 8 if peer == "ort_int8" else 32
                name = "ONNX Runtime " + ("int8" if bits == 8 else "f32")
                calls[name] = ort_call(bits, q, k, v, args.threads)
                check(peer, calls[name]().numpy().reshape(q.shape), exact)
                bytes_of[name] = 2 * k.size * bits // 8
        for format in args.formats:
            calls[f"octavo {format}"] = octavo_call(format, q, k, v, bytes_of)
            check(format, calls[f"octavo {format}"](), exact)
        times = compare(calls, args.threads, args.rounds, args.seconds)
        first = next(iter(calls))
        for name in calls:
            median = statistics.median(times[name])
            rate = f"{bytes_of.get(name, 2 * k.nbytes) / median / 1e9:.1f}"
            print(f"| {n} | {name} | {median * 1e6:.0f} | {rate} | {1 / ratio(times, name, first):.2f} |")


if __name__ == "__main__":
    main()
