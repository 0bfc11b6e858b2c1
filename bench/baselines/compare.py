"""octavo and other libraries, interleaved in one run: medians of rounds, errors against float64, fractions of peak.

    python compare.py --octavo build/release/octavo [--out bench/results] [--shapes quick|d128|causal|...]

Every library lives in its own process and is timed in turn, in a new order each round; the instruction peaks are
measured before the first round and after each, and their median counts: the clock changes within minutes. Under --out,
cpu.json gathers the shapes of all runs, a newer one in place of an older; cpu.md, cpu_speed.svg and cpu_peak.svg are
made of it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

import processor
from adapters import ADAPTERS, AVX2, environment
from problem import SHAPES, key, operations, title
from report import markdown, write_reports

SLICE = 0.1  # seconds that a library is timed for in a round, at least one call
PAUSE = 0.05  # seconds before a turn, so that the threads of the previous library go to sleep
BEFORE_PEAK = 0.5  # some of them keep spinning for 0.2 s


class Worker:
    """A library's process; it stays for all shapes."""

    def __init__(self, name: str, threads: int, avx2: bool):
        self.name, self.calls = name, 1
        self.process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("worker.py")), name, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment(threads, avx2))

    def ask(self, **request) -> dict:
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"refused": f"its process ended with code {self.process.wait()}"}

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()


def peaks(tool: str, threads: int) -> tuple[dict, float]:
    """Operations a second by instruction, and the smallest CPU share of a loop."""
    command = [tool, "bench", "peak", "--threads", str(threads), "--json", "-"]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = {name: measured[field] for name, field in
             (("vnni", "vnni_gops"), ("bf16", "bf16_gflops"), ("f32", "f32_gflops")) if measured.get(field)}
    return found, min(measured["cpu_share"][name] for name in found)


def machine(tool: str) -> dict:
    """What must match for results to be comparable."""
    run = subprocess.run([tool, "info", "--json", "-"], check=True, capture_output=True, text=True)
    about = json.loads(run.stdout)["machine"]
    return {name: about[name] for name in ("processor", "features", "logical_processors")}


def explained(answer: dict, not_installed: dict) -> dict:
    """A missing module with the reason why it could not be installed."""
    module = (answer.pop("module", None) or "").split(".")[0]
    if module in not_installed:
        answer["refused"] = f"could not be installed: {not_installed[module]}"
    return answer


def measure(s: dict, workers: list[Worker], rounds: int, peak, not_installed: dict) -> dict:
    entries, timed = {}, []
    for worker in workers:
        answer = worker.ask(prepare=s)
        first = worker.ask(run=1) if "refused" not in answer else answer
        if "refused" in first:
            entries[worker.name] = explained(first, not_installed)
            continue
        # The first call warmed up; what it took says how many fill a slice.
        worker.calls = max(1, min(200, int(SLICE / max(first["seconds"], 1e-6))))
        entries[worker.name] = {"error": answer["error"], "seconds": []}
        timed.append(worker)
    peaks_found = [peak()]  # not before: the workers import their libraries until they have answered
    for _ in range(rounds):
        random.shuffle(timed)
        for worker in timed:
            time.sleep(PAUSE)
            answer = worker.ask(run=worker.calls)
            entry = entries[worker.name]
            if "refused" in answer or "refused" in entry:
                entries[worker.name] = {"refused": answer.get("refused") or entry["refused"]}
            else:
                entry["seconds"].append(answer["seconds"])
        peaks_found.append(peak())
    for entry in entries.values():
        if "seconds" in entry:
            entry["median_ms"] = statistics.median(entry["seconds"]) * 1e3
            entry["gops"] = operations(s) / statistics.median(entry["seconds"]) / 1e9
    names = peaks_found[0][0]
    return {"shape": s, "peak": {name: statistics.median(found[name] for found, _ in peaks_found) for name in names},
            "rounds": rounds, "cpu_share": min(share for _, share in peaks_found),
            "timings": {name: entries[name] for name in sorted(entries)}}


def merged(old: list[dict], new: list[dict]) -> list[dict]:
    """Shapes in the order of SHAPES' sizes; a newer result takes an older one's place."""
    by_shape = {key(r["shape"]): r for r in old + new}
    fields = ("heads", "kv_heads", "head_dim", "causal", "batch", "seqlen_q")
    return sorted(by_shape.values(), key=lambda r: (r["shape"]["heads"] != 8, *(r["shape"][f] for f in fields)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--octavo", required=True, help="the octavo command, for the instruction peaks")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"),
                        help="results go to a folder in it that is named after this processor")
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES, "full"], default=["quick"])
    parser.add_argument("--libraries", nargs="+", choices=ADAPTERS, default=list(ADAPTERS), metavar="NAME",
                        help=", ".join(ADAPTERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--not-installed", type=pathlib.Path, help="JSON: module -> why it could not be installed")
    parser.add_argument("--avx2", action="store_true", help="run only the libraries that can be limited to AVX2; "
                        "results go to a folder of their own, avx2, without peaks")
    arguments = parser.parse_args()
    arguments.out /= processor.name()
    if arguments.avx2:
        arguments.out /= "avx2"
        if arguments.libraries == list(ADAPTERS):
            arguments.libraries = [name for name in ADAPTERS if name in AVX2]
        if others := set(arguments.libraries) - AVX2:
            parser.error(f"{', '.join(sorted(others))} cannot be limited to AVX2; {', '.join(sorted(AVX2))} can")

    not_installed = json.loads(arguments.not_installed.read_text()) if arguments.not_installed else {}
    names = [name for name in SHAPES if "full" in arguments.shapes or name in arguments.shapes]
    shapes = list({key(s): s for name in names for s in SHAPES[name]}.values())
    workers = [Worker(name, arguments.threads, arguments.avx2) for name in arguments.libraries]
    about = {"threads": arguments.threads, "machine": machine(arguments.octavo)}
    path = arguments.out / "cpu.json"
    old = json.loads(path.read_text()) if path.exists() else about | {"results": []}
    if {name: old[name] for name in about} != about:
        print("earlier results are from another machine or number of threads: dropping them", file=sys.stderr)
        old["results"] = []
    results = []

    def peak():
        time.sleep(BEFORE_PEAK)
        found, share = peaks(arguments.octavo, arguments.threads)
        return ({} if arguments.avx2 else found), share

    for s in shapes:
        start = time.monotonic()
        result = measure(s, workers, arguments.rounds, peak, not_installed)
        result["measured"] = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        results.append(result)
        print(markdown([result], processor.name()), f"({title(s)}: {time.monotonic() - start:.0f} s)\n", sep="\n",
              flush=True)
        arguments.out.mkdir(parents=True, exist_ok=True)
        everything = about | {"results": merged(old["results"], results)}
        path.write_text(json.dumps(everything, indent=1) + "\n")
    for worker in workers:
        worker.close()
    write_reports(everything, arguments.out)


if __name__ == "__main__":
    main()
