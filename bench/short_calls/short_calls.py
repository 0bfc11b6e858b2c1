"""Short calls of octavo's CPU kernels, each beside what it is compared with, alternating in one process.

    python short_calls.py kept [--lengths 256 1024 4096] [--head-dims 64 128] [--causal]   int8 beside int8_fast
    python short_calls.py many     many small sequences beside PyTorch's scaled_dot_product_attention in f32
    python short_calls.py tiny     one call of 1 head, 16 x 16, D 64, NumPy arrays

`kept` needs octavo and NumPy, `many` PyTorch, too. With one thread, times are the thread's processor time, which other
work on the machine disturbs least; with more, wall time. Ratios are medians of the ratios of neighbouring measurements.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import octavo

KEPT = "int8"
PLAIN = "int8_fast"


def timer(threads: int) -> Callable[[], float]:
    return time.thread_time if threads == 1 else time.perf_counter


Calls = dict[str, Callable[[], object]]


def compare(calls: Calls, threads: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of one call of each, a list of `rounds` numbers: the calls take turns, each repeated for `seconds`."""
    clock = timer(threads)
    repeats = {}
    for name, call in calls.items():
        call()
        start = clock()
        call()
        repeats[name] = max(1, int(seconds / max(clock() - start, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            for _ in range(repeats[name]):
                call()
            times[name].append((clock() - start) / repeats[name])
    return times


def ratio(times: dict[str, list[float]], name: str, base: str) -> float:
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def operands(
    batch: int, seqlen: int, heads: int, dim: int, dtype: type, kv_heads: int | None = None
) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [
        rng.standard_normal((batch, seqlen, h, dim), dtype=np.float32).astype(dtype)
        for h in (heads, kv_heads or heads, kv_heads or heads)
    ]


def kept(args: argparse.Namespace) -> None:
    print(f"int8 beside int8_fast, f16 in, {args.heads}/{args.kv_heads or args.heads} heads, {args.threads} threads")
    print("| N | D | causal | int8_fast ms | int8 ms | ratio |\n|--:|--:|:--|--:|--:|--:|")
    for dim in args.head_dims:
        for n in args.lengths:
            q, k, v = operands(1, n, args.heads, dim, np.float16, args.kv_heads)
            run = lambda recipe: lambda: octavo.attention(q, k, v, recipe=recipe, causal=args.causal)  # noqa: B023
            calls = {"plain": run(args.plain), "kept": run(args.kept)}
            times = compare(calls, args.threads, args.rounds, args.seconds)
            plain, full = (statistics.median(times[name]) * 1e3 for name in calls)
            print(f"| {n} | {dim} | {args.causal} | {plain:.3f} | {full:.3f} | {ratio(times, 'kept', 'plain'):.3f} |")


def many(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(args.threads)
    print(f"many small sequences beside PyTorch {torch.__version__} SDPA f32, f32 in, {args.threads} threads")
    print("| B x H, M x N, D | PyTorch ms | recipe | ms | x PyTorch |\n|:--|--:|:--|--:|--:|")
    recipes = {"exact": "exact", "int8_fast": args.plain, "int8": args.kept}
    for batch, heads, n, dim in ((4096, 8, 16, 32), (4096, 8, 16, 64), (1024, 3, 49, 32), (1024, 3, 49, 64)):
        q, k, v = operands(batch, n, heads, dim, np.float32)
        heads_first = [torch.from_numpy(x).transpose(1, 2) for x in (q, k, v)]
        calls: Calls = {
            "torch": lambda: torch.nn.functional.scaled_dot_product_attention(*heads_first)  # noqa: B023
        }
        for name, text in recipes.items():
            calls[name] = lambda text=text: octavo.attention(q, k, v, recipe=text)  # noqa: B023
        times = compare(calls, args.threads, args.rounds, args.seconds)
        base = statistics.median(times["torch"]) * 1e3
        for name in recipes:
            print(f"| {batch} x {heads}, {n} x {n}, {dim} | {base:.2f} | {name} | "
                  f"{statistics.median(times[name]) * 1e3:.2f} | {1 / ratio(times, name, 'torch'):.2f} |")


def tiny(args: argparse.Namespace) -> None:
    q, k, v = operands(1, 16, 1, 64, np.float32)
    recipes = {"exact": "exact", "int8_fast": args.plain, "int8": args.kept}
    calls = {name: lambda text=text: octavo.attention(q, k, v, recipe=text) for name, text in recipes.items()}
    times = compare(calls, args.threads, args.rounds, args.seconds)
    print("one call of 1 head, 16 x 16, D 64, f32, NumPy\n| recipe | us, median | least |\n|:--|--:|--:|")
    for name in recipes:
        print(f"| {name} | {statistics.median(times[name]) * 1e6:.2f} | {min(times[name]) * 1e6:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kept", "many", "tiny"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.05, help="of repeated calls in each round")
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--kv-heads", type=int)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--head-dims", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--kept", default=KEPT, help="the recipe with kept keys")
    parser.add_argument("--plain", default=PLAIN, help="the recipe without them")
    args = parser.parse_args()
    octavo.set_num_threads(args.threads)
    {"kept": kept, "many": many, "tiny": tiny}[args.part](args)


if __name__ == "__main__":
    main()
