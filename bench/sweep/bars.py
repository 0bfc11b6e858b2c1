"""Ratios between octavo's own times that have a bar, each pair alternating in one process.

    python bars.py [--out bench/results] [--lengths 1024 4096] [--head-dims 64 128] [--threads 1]

On the same inputs, sage2's and the FP8 recipes take no longer than exact; exact of bf16 no longer than exact of f32;
a causal call at most 0.54 of a full one. Needs octavo and PyTorch (for bf16). With one thread, times are the thread's
processor time. Writes bars.json and bars.md; exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import pathlib
import statistics
import sys

import octavo
import torch

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("baselines", "short_calls")]
import processor  # noqa: E402
from short_calls import compare, ratio  # noqa: E402

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
FLOAT_RECIPES = ("sage2_8b", "sage2_4b", "sage2pp", "fa3_fp8", "fp8_e4m3", "fp8_e5m2")
CAUSAL_RECIPES = ("int8", "int8_fast", "exact")
NOISE = 1.03  # "no longer than" allows for as much
CAUSAL = 0.54
CAUSAL_FROM = 4096  # shorter calls have too large a share of blocks on the diagonal


@dataclasses.dataclass(frozen=True)
class Call:
    recipe: str
    dtype: str
    causal: bool = False

    def __str__(self) -> str:
        return f"{self.recipe} of {self.dtype}{', causal' if self.causal else ''}"


def bars(seqlen: int) -> list[tuple[Call, Call, float]]:
    """(call, what it is compared with, the largest ratio of their times)."""
    found = [(Call(recipe, dtype), Call("exact", dtype), NOISE) for dtype in ("f16", "bf16")
             for recipe in FLOAT_RECIPES]
    found.append((Call("exact", "bf16"), Call("exact", "f32"), NOISE))
    if seqlen >= CAUSAL_FROM:
        found += [(Call(recipe, "f16", True), Call(recipe, "f16"), CAUSAL) for recipe in CAUSAL_RECIPES]
    return found


def measure(seqlen: int, dim: int, args: argparse.Namespace) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(1, seqlen, args.heads, dim, generator=generator) for _ in range(3)]
    operands = {name: [x.to(dtype) for x in given] for name, dtype in DTYPES.items()}

    def run(call: Call):
        return lambda: octavo.attention(*operands[call.dtype], recipe=call.recipe, causal=call.causal)

    results = []
    for call, base, most in bars(seqlen):
        times = compare({str(call): run(call), str(base): run(base)}, args.threads, args.rounds, args.seconds)
        results.append({"seqlen": seqlen, "head_dim": dim, "call": str(call), "beside": str(base), "most": most,
                        "ms": statistics.median(times[str(call)]) * 1e3, "ratio": ratio(times, str(call), str(base))})
    return results


def markdown(data: dict) -> str:
    lines = [f"Times of octavo's calls beside others of its own (bench/sweep/bars.py): {data['processor']}, "
             f"{data['implementation']},",
             f"{data['heads']} heads, {data['threads']} threads, {data['measured']}; medians of {data['rounds']} "
             "interleaved rounds.", "",
             "| N | D | call | ms | beside | ratio | at most | holds |", "|--:|--:|:--|--:|:--|--:|--:|:--|"]
    lines += [f"| {r['seqlen']} | {r['head_dim']} | {r['call']} | {r['ms']:.1f} | {r['beside']} | {r['ratio']:.3f} | "
              f"{r['most']:.2f} | {'yes' if r['ratio'] <= r['most'] else 'no'} |" for r in data["results"]]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"),
                        help="results go to a folder in it that is named after this processor")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--head-dims", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="of repeated calls in each round")
    args = parser.parse_args()
    octavo.set_num_threads(args.threads)
    results = [r for dim in args.head_dims for seqlen in args.lengths for r in measure(seqlen, dim, args)]
    data = {"processor": processor.title(processor.name()), "implementation": octavo.info()["last_implementation"],
            "heads": args.heads, "threads": args.threads, "rounds": args.rounds,
            "measured": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"), "results": results}
    out = args.out / processor.name()
    out.mkdir(parents=True, exist_ok=True)
    (out / "bars.json").write_text(json.dumps(data, indent=1) + "\n")
    (out / "bars.md").write_text(markdown(data))
    print(markdown(data))
    return 1 if any(r["ratio"] > r["most"] for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
