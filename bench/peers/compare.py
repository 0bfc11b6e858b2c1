"""octavo beside other libraries, interleaved, in one run: medians of rounds, errors against float64, fractions of peak.

    python compare.py --octavo build/release/octavo --out bench/results [--shapes prefill|short|scaling|...]

Every contender lives in its own process and is timed in turn, in a new order each round; the instruction peak is
measured before and after each shape. Writes NAME.json, NAME.md and NAME.svg under --out.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys

import charts
from contenders import CONTENDERS, environment


def shape(heads=8, seqlen=4096, head_dim=128, causal=False, batch=1):
    return {"batch": batch, "heads": heads, "seqlen_q": seqlen, "seqlen_k": seqlen, "head_dim": head_dim,
            "causal": causal}


SHAPES = {
    "prefill": [shape(seqlen=n, head_dim=d, causal=c) for d in (128, 64) for n in (1024, 4096) for c in (False, True)],
    "short": [shape(seqlen=n, head_dim=d) for d in (128, 64) for n in (128, 256, 512, 1024)],
    "single": [shape(heads=1, seqlen=n) for n in (512, 2048, 8192)],
    "quick": [shape(seqlen=1024)],
    "long": [shape(seqlen=n, heads=h) for n, h in ((16384, 2), (65536, 1))],
}


def flops(s: dict) -> float:
    """2 operations for each of the two products and each visible pair."""
    pairs = s["seqlen_q"] * s["seqlen_k"]
    if s["causal"]:
        m, n = s["seqlen_q"], s["seqlen_k"]
        pairs = m * (n - m) + m * (m + 1) // 2
    return 4.0 * s["batch"] * s["heads"] * pairs * s["head_dim"]


class Worker:
    def __init__(self, name: str, threads: int):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("worker.py")), name, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment(threads))

    def ask(self, **request) -> dict:
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"refused": f"its process ended with code {self.process.wait()}"}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peak(tool: str, threads: int) -> dict:
    command = [tool, "bench", "peak", "--threads", str(threads), "--json", "-"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(s: dict, names: list[str], rounds: int, threads: int, tool: str) -> dict:
    before = peak(tool, threads)
    workers, result = [], {"shape": s, "contenders": {}}
    for name in names:
        worker = Worker(name, threads)
        answer = worker.ask(prepare=s)
        if "refused" in answer:
            result["contenders"][name] = answer
            worker.close()
            continue
        first = worker.ask(run=1)["seconds"]
        worker.calls = max(1, min(200, int(0.15 / max(first, 1e-6))))
        result["contenders"][name] = {"error": answer["error"], "seconds": []}
        workers.append(worker)
    for _ in range(rounds):
        random.shuffle(workers)
        for worker in workers:
            result["contenders"][worker.name]["seconds"].append(worker.ask(run=worker.calls)["seconds"])
    for worker in workers:
        worker.close()
    after = peak(tool, threads)
    result["peak"] = {key: max(before[key], after[key]) for key in ("vnni_gops", "bf16_gflops", "f32_gflops")
                      if before.get(key)}
    for entry in result["contenders"].values():
        if "seconds" in entry:
            entry["median_ms"] = statistics.median(entry["seconds"]) * 1e3
            entry["gops"] = flops(s) / statistics.median(entry["seconds"]) / 1e9
    return result


def title(s: dict) -> str:
    return (f"{s['heads']} heads, {s['seqlen_q']} x {s['seqlen_k']}, D {s['head_dim']}" +
            (", causal" if s["causal"] else ""))


def peak_of(name: str, peaks: dict) -> float | None:
    """The instruction peak a contender's products are bound by; None where two kinds are mixed."""
    if name.startswith("octavo int8") or name == "octavo int_flash":
        return peaks.get("vnni_gops")
    if "bf16" in name:
        return peaks.get("bf16_gflops")
    return peaks.get("f32_gflops") if name.endswith("f32") else None


def markdown(results: list[dict]) -> str:
    lines = []
    for result in results:
        entries, peaks = result["contenders"], result["peak"]
        timed = {name: e for name, e in entries.items() if "gops" in e}
        peers = {name: e["gops"] for name, e in timed.items() if not name.startswith("octavo")}
        best = max(peers.values(), default=None)
        lines += [f"### {title(result['shape'])}", "",
                  "Peaks: " + ", ".join(f"{key.split('_')[0]} {value:.0f}" for key, value in peaks.items()) + " Gop/s.", "",
                  "| | ms | Gop/s | of its peak | of the best peer | relative L2 |", "|:--|--:|--:|--:|--:|--:|"]
        for name, e in sorted(timed.items(), key=lambda item: -item[1]["gops"]):
            bound = peak_of(name, peaks)
            lines.append(f"| {name} | {e['median_ms']:.3f} | {e['gops']:.0f} | " +
                         (f"{e['gops'] / bound:.0%}" if bound else "") + " | " +
                         (f"{e['gops'] / best:.2f}" if best else "") + f" | {e['error']:.1e} |")
        lines += [f"\n{name}: did not run ({e['refused']})" for name, e in entries.items() if "refused" in e] + [""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--octavo", required=True, help="the octavo command, for the instruction peaks")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--name", default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["prefill", "short"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    results = []
    for s in [s for group in arguments.shapes for s in SHAPES[group]]:
        results.append(measure(s, arguments.contenders, arguments.rounds, arguments.threads, arguments.octavo))
        print(markdown(results[-1:]), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    base = arguments.out / arguments.name
    base.with_suffix(".json").write_text(json.dumps({"threads": arguments.threads, "results": results}, indent=1) + "\n")
    base.with_suffix(".md").write_text(markdown(results) + "\n")
    base.with_suffix(".svg").write_text(charts.speed_against_length(results))


if __name__ == "__main__":
    main()
