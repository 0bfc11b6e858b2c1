#!/usr/bin/env python3
"""octavo beside PyTorch's attention on one CUDA card, interleaved in one run; the whole gpu-check as one JSON file.

Times are medians of single calls between CUDA events, Q, K and V N(0, 1); octavo's include quantization. TFLOPS count
2 * (D + Dv) for every pair of a query and a key that it sees. Errors: relative L2 against float64 attention of a slice.
"""

import argparse
import json
import math
import pathlib
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import octavo

SHAPES = [  # batch, query heads, KV heads, rows, head_dim, causal
    (1, 32, 8, 16384, 128, False),
    (1, 32, 8, 16384, 128, True),
    (1, 32, 32, 16384, 64, False),
    (8, 32, 8, 1024, 128, True),
    (4, 32, 32, 4096, 64, False),
]
RECIPES = ("int8", "int8_block", "int_flash", "int_flash_half", "exact")
BACKENDS = {"torch_flash": SDPBackend.FLASH_ATTENTION, "torch_cudnn": SDPBackend.CUDNN_ATTENTION}


def contenders(q, k, v, causal):
    calls = {name: lambda r=name: octavo.attention(q, k, v, recipe=r, causal=causal, layout="HND") for name in RECIPES}

    def sdpa(backend):
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

    for name, backend in BACKENDS.items():
        calls[name] = lambda b=backend: sdpa(b)
    return calls


def milliseconds(call):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def exact_slice(q, k, v, causal, rows):
    """The last rows of the first head of the first batch entry, in float64."""
    scores = q[0, 0, -rows:].double() @ k[0, 0].double().T / math.sqrt(q.shape[-1])
    if causal:
        seen = torch.arange(k.shape[2], device=q.device) <= torch.arange(k.shape[2] - rows, k.shape[2],
                                                                         device=q.device)[:, None]
        scores = scores.masked_fill(~seen, -math.inf)
    return torch.softmax(scores, -1) @ v[0, 0].double()


def measure(shape, repeat):
    batch, q_heads, kv_heads, rows, dim, causal = shape
    make = lambda heads: torch.randn(batch, heads, rows, dim, device="cuda", dtype=torch.bfloat16)  # noqa: E731
    q, k, v = make(q_heads), make(kv_heads), make(kv_heads)
    pairs = batch * q_heads * (rows * (rows + 1) // 2 if causal else rows * rows)
    expected = exact_slice(q, k, v, causal, 128)
    calls, results = contenders(q, k, v, causal), {}
    for name in list(calls):
        try:
            out = calls[name]()
            torch.cuda.synchronize()
        except (RuntimeError, NotImplementedError) as error:
            results[name] = {"unsupported": str(error).splitlines()[0]}
            del calls[name]
            continue
        error = (out[0, 0, -128:].double() - expected).norm() / expected.norm()
        results[name] = {"relative_l2": float(error)}
    times = {name: [] for name in calls}
    for _ in range(repeat):  # in turns: clocks and temperature are everybody's
        for name, call in calls.items():
            times[name].append(milliseconds(call))
    for name, list_of in times.items():
        median = statistics.median(list_of)
        results[name] |= {"ms": median, "ms_min": min(list_of), "tflops": 4 * dim * pairs / median / 1e9}
    return {"batch": batch, "heads": q_heads, "kv_heads": kv_heads, "rows": rows, "head_dim": dim, "causal": causal,
            "results": results}


def copy_bandwidth():
    x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    y.copy_(x)
    return 2 * x.numel() / statistics.median(milliseconds(lambda: y.copy_(x)) for _ in range(10)) / 1e6


def quantize_bandwidth():
    """GB/s read and written by octavo.quantize, its allocation included."""
    x = torch.randn(1, 16384, 32, 128, device="cuda", dtype=torch.bfloat16)
    found = {}
    for role in ("q", "k", "v"):
        codes = octavo.quantize(x, role=role)
        moved = x.numel() * 2 + codes.nbytes
        found[role] = moved / statistics.median(
            milliseconds(lambda r=role: octavo.quantize(x, role=r)) for _ in range(10)) / 1e6
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--conformance", help="GoogleTest's JSON of the tests on the card")
    parser.add_argument("--checks", nargs="*", default=[], metavar="NAME=RESULT")
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    torch.manual_seed(0)
    properties = torch.cuda.get_device_properties(0)
    report = {
        "schema_version": 1,
        "card": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "torch": torch.__version__,
        "octavo": octavo.info()["version"],
        "checks": dict(check.split("=", 1) for check in options.checks),
    }
    if options.conformance:
        tests = json.loads(pathlib.Path(options.conformance).read_text())
        report["conformance"] = {key: tests[key] for key in ("tests", "failures", "errors")}
    report["copy_gb_per_s"] = copy_bandwidth()
    report["quantize_gb_per_s"] = quantize_bandwidth()
    report["attention"] = []
    for shape in SHAPES:
        entry = measure(shape, options.repeat)
        report["attention"].append(entry)
        print({key: value for key, value in entry.items() if key != "results"})
        for name, result in entry["results"].items():
            print(f"  {name:16}", result.get("unsupported") or
                  f"{result['ms']:9.3f} ms  {result['tflops']:7.1f} TFLOPS  error {100 * result['relative_l2']:.3f} %")
    pathlib.Path(options.out).write_text(json.dumps(report, indent=2) + "\n")
    print(options.out)


if __name__ == "__main__":
    main()
