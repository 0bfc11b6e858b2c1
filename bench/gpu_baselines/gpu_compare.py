#!/usr/bin/env python3
"""octavo beside the baselines on one GPU, interleaved in one run.

Q, K and V are N(0, 1) in bf16. A time is the median over rounds of a stretch of calls between CUDA events, octavo's
with quantization; a round goes once through all entries. Operations: 2 * (D + Dv) for every pair of a query and a key
that it sees. Errors: relative L2 against float64 attention, of the last 128 rows of a head.

Where octavo's Python package cannot be imported, gpu_attention_bench (--program) times octavo at each shape.

Exit code: 1 where an entry of octavo's own was refused, is not finite or has an error above its bound, 3 without a
GPU, 4 without torch.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import pathlib
import statistics
import sys
import time

import gpu_report as report
import octavo_program
from gpu_entries import ENTRIES, OURS, Absent, bound_of, first_line
from gpu_shapes import HEADLINE, ORDER, SHAPES, operations, title
from telemetry import Telemetry

DEVICE = "cuda"
ROWS = 128  # of which the error is taken
STRETCH_MS = 3.0


def milliseconds(torch, ready, calls: int) -> float:
    """Of one call, in a stretch of them."""
    if ready.wait is not None:
        start = time.perf_counter()
        for _ in range(calls):
            ready.run()
        ready.wait()
        return 1e3 * (time.perf_counter() - start) / calls
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        ready.run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls


def exact_rows(torch, q, k, v, causal):
    """The last rows of the first head of the first batch entry, in float64."""
    scores = q[0, 0, -ROWS:].double() @ k[0, 0].double().T / math.sqrt(q.shape[-1])
    if causal:
        keys = torch.arange(k.shape[2], device=q.device)
        scores = scores.masked_fill(keys > keys[-ROWS:, None], -math.inf)
    return torch.softmax(scores, -1) @ v[0, 0].double()


def refused(name: str, why: str) -> dict:
    """Another library may refuse; octavo is asked for nothing that it does not serve."""
    return {"refused": why} | ({"failed": why} if name.startswith(OURS) else {})


def attempt(name: str, results: dict, call):
    """What `call` returns; None where it raises, and then the entry's result is the reason."""
    try:
        return call()
    except Absent as absent:
        results[name] = refused(name, str(absent))
    except Exception as error:  # whatever another library raises: its words are the reason
        results[name] = refused(name, first_line(error))
    return None


def judged(name: str, error: float) -> dict:
    """An entry's result as far as its error goes."""
    if not math.isfinite(error):
        return refused(name, "its result is not finite")
    bound = bound_of(name)
    if bound is None or error <= bound:
        return {"relative_l2": error}
    return {"relative_l2": error, "failed": f"relative L2 {error:.2e}, above {bound:g}"}


def first_call(torch, make, problem, expected):
    """(ready, relative L2) after one call."""
    ready = make(*problem)
    out = ready.run()
    if ready.wait is not None:
        ready.wait()
    torch.cuda.synchronize()
    rows = ready.last_rows(out, ROWS).double().to(expected.device)
    return ready, float((rows - expected).norm() / expected.norm())


def measure(torch, shape, seconds: float, telemetry=None) -> dict:
    make = lambda heads: torch.randn(  # noqa: E731
        shape["batch"], heads, shape["rows"], shape["head_dim"], device=DEVICE, dtype=torch.bfloat16)
    q, k, v = make(shape["heads"]), make(shape["kv_heads"]), make(shape["kv_heads"])
    problem = (q, k, v, shape["causal"])
    expected = exact_rows(torch, *problem)
    ready, results, calls, times = {}, {}, {}, {}
    for name, entry in ENTRIES.items():
        found = attempt(name, results, lambda make=entry: first_call(torch, make, problem, expected))
        if found is None:
            continue
        results[name] = judged(name, found[1])
        if "refused" in results[name]:
            continue
        one = attempt(name, results, lambda found=found: milliseconds(torch, found[0], 2))
        if one is not None:
            ready[name], times[name] = found[0], []
            calls[name] = max(1, math.ceil(STRETCH_MS / max(one, 1e-3)))
    began = time.monotonic()
    while times and (min(map(len, times.values())) < 3 or time.monotonic() - began < seconds):
        for name in list(times):  # in turns: clock and temperature are the same for all
            took = attempt(name, results, lambda name=name: milliseconds(torch, ready[name], calls[name]))
            if took is None:
                del times[name]
            else:
                times[name].append(took)
        if times and len(next(iter(times.values()))) >= 50:
            break
    for name, measured in times.items():
        median = statistics.median(measured)
        results[name] |= {"ms": median, "ms_min": min(measured), "rounds": len(measured),
                          "tflops": operations(shape) / median * 1e-9}
    for name in times if telemetry is not None else ():
        settled = attempt(name, results, lambda name=name: sustain(torch, shape, ready[name], calls[name], telemetry))
        if settled is not None:
            results[name]["sustained"] = settled
    return {"shape": shape, "results": results}


def sustain(torch, shape, ready, calls, telemetry, seconds=1.0) -> dict:
    """A second of nothing else: what clock and power come to."""
    began, measured = time.time(), []
    while time.time() - began < seconds:
        measured.append(milliseconds(torch, ready, calls))
    half = statistics.median(measured[len(measured) // 2:])
    # The first half of it is warming up.
    ended = time.time()
    return {"ms": half, "tflops": operations(shape) / half * 1e-9} | telemetry.between((began + ended) / 2, ended)


def copy_bandwidth(torch) -> float:
    x = torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)
    y = torch.empty_like(x)
    return 2 * x.numel() / median_ms(torch, lambda: y.copy_(x)) * 1e-6


def quantize_bandwidth(torch) -> dict:
    """GB/s read and written by octavo.quantize, its allocation included."""
    import octavo

    x = torch.randn(1, 16384, 32, 128, device=DEVICE, dtype=torch.bfloat16)
    found = {}
    for role in ("q", "k", "v"):
        moved = x.numel() * 2 + octavo.quantize(x, role=role).nbytes
        found[role] = moved / median_ms(torch, lambda r=role: octavo.quantize(x, role=r)) * 1e-6
    return found


def median_ms(torch, call) -> float:
    from gpu_entries import Ready

    ready = Ready(call, None)
    milliseconds(torch, ready, 2)
    return statistics.median(milliseconds(torch, ready, 1) for _ in range(10))


def versions() -> dict:
    import importlib.metadata

    found = {}
    for package in ("torch", "triton", "jax", "sageattention", "flash-attn", "flash_attn_3"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the results, JSON; written after each shape")
    parser.add_argument("--program", type=pathlib.Path, help="gpu_attention_bench, where octavo cannot be imported")
    parser.add_argument("--seconds", type=float, default=180, help="of side-by-side runs; shapes beyond are left out")
    return parser.parse_args(arguments)


def without_octavo(error: BaseException, program: pathlib.Path | None) -> None:
    """octavo's entries are left to the program, or absent with the reason."""
    for name in [name for name in ENTRIES if name.startswith(OURS)]:
        del ENTRIES[name]
    if program is None:
        print(f"gpu_compare.py: octavo cannot be imported: {first_line(error)}", file=sys.stderr)


def begin(torch, program: pathlib.Path | None) -> dict:
    """The results before anything is timed."""
    properties = torch.cuda.get_device_properties(0)
    everything = {
        "gpu": properties.name, "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count, "memory_bytes": properties.total_memory,
        "versions": versions(), "shapes": [], "left_out": [],
        "measured": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}
    try:
        import octavo

        everything["octavo"] = octavo.info()["version"]
    except Exception as error:  # noqa: BLE001: whatever an import may raise
        everything["octavo_cannot_be_imported"] = first_line(error)
        without_octavo(error, program)
    return everything


def bandwidths(torch, everything: dict) -> None:
    everything["copy_gb_per_s"] = copy_bandwidth(torch)
    if "octavo" in everything:
        try:
            everything["quantize_gb_per_s"] = quantize_bandwidth(torch)
        except Exception as error:  # noqa: BLE001: the shapes are measured all the same
            print(f"gpu_compare.py: quantize: {first_line(error)}", file=sys.stderr)


def main() -> int:
    options = parse()
    # JAX would take three quarters of the GPU's memory for itself.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import torch
    except Exception as error:  # noqa: BLE001: a library that torch needs may be missing, too
        print(f"gpu_compare.py: torch cannot be imported: {first_line(error)}", file=sys.stderr)
        return 4
    if not torch.cuda.is_available():
        print("gpu_compare.py: torch sees no CUDA device", file=sys.stderr)
        return 3
    torch.manual_seed(0)
    everything = begin(torch, options.program)
    by_program = options.program is not None and "octavo" not in everything
    report.write(everything, options.out)
    began = time.monotonic()
    with Telemetry() as telemetry:
        for group in ORDER:
            for shape in SHAPES[group]:
                if time.monotonic() - began > options.seconds:
                    everything["left_out"].append(title(shape))
                    continue
                entry = measure(torch, shape, 3.0, telemetry if shape == HEADLINE else None)
                if by_program:
                    torch.cuda.empty_cache()
                    entry["results"] |= octavo_program.measure(options.program, shape, judged)
                everything["shapes"].append(entry | {"group": group})
                print("\n".join([title(shape), *report.rows(entry)]), flush=True)
                torch.cuda.empty_cache()
                report.write(everything, options.out)  # what there is, should the next one end the run
    bandwidths(torch, everything)
    report.write(everything, options.out)
    failed = report.failures(everything["shapes"])
    for message in failed:
        print(f"gpu_compare.py: failed: {message}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
