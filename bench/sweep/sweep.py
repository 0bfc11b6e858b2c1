"""Time and memory of octavo's attention against sequence length, batch, heads and threads, by `octavo bench attention`.

    python sweep.py --octavo build/release/octavo [--out bench/results] [--most 65536] [--recipes int8 exact]

Requirements, from 1k to 64k: the time per score is constant within 10 %; under a causal mask, where short calls have
many half-empty blocks, it is at most 10 % above that of 1k; memory beyond inputs and output is O(N D), so the
allocation per key and channel does not grow. Writes sweep.json, sweep.md, sweep.svg. Exits with 1 if a requirement is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "baselines"))
import charts  # noqa: E402
import processor  # noqa: E402

FROM, SPREAD = 1024, 1.10  # required from this length on: largest over smallest time per score (causal: over FROM's)
UNDISTURBED = 0.9  # smallest CPU share with which times are judged
GROWTH = 1.5  # required: bytes per key and channel at the longest length over those at FROM
BASE = {"batch": 1, "heads": 2, "seqlen": 4096, "head_dim": 128, "threads": 2, "causal": False}
SECONDS = 1.5  # of measured calls for each point, as far as five of them allow


def points(most: int) -> dict[str, list[dict]]:
    lengths = [n for n in (2**i for i in range(7, 17)) if n <= most]
    of = lambda **values: BASE | values
    return {
        "length": [of(seqlen=n) for n in lengths],
        "length, causal": [of(seqlen=n, causal=True) for n in lengths if n >= FROM],
        "batch": [of(batch=n, seqlen=1024) for n in (1, 2, 4, 8)],
        "heads": [of(heads=n, seqlen=1024) for n in (1, 2, 4, 8, 16, 32)],
        "threads": [of(threads=n, heads=8) for n in range(1, (os.cpu_count() or 1) + 1)],
    }


def scores(p: dict) -> float:
    pairs = p["seqlen"] * (p["seqlen"] + 1) / 2 if p["causal"] else p["seqlen"] ** 2
    return p["batch"] * p["heads"] * pairs


def operand_bytes(p: dict, element: int = 2) -> int:
    """q, k, v and out in f16, the bench's own format."""
    return 4 * element * p["batch"] * p["heads"] * p["seqlen"] * p["head_dim"]


def command(tool: str, p: dict, recipe: str, repeat: int, json_file: str) -> list[str]:
    flags = {"--recipe": recipe, "--batch": p["batch"], "--heads": p["heads"], "--seqlen-q": p["seqlen"],
             "--head-dim": p["head_dim"], "--threads": p["threads"], "--repeat": repeat, "--json": json_file}
    words = [str(word) for pair in flags.items() for word in pair]
    return [tool, "bench", "attention", *words, *(["--causal"] if p["causal"] else [])]


def run(tool: str, p: dict, recipe: str, repeat: int) -> tuple[dict, int]:
    """The bench's answer, and the largest resident size of its process in bytes."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        child = subprocess.Popen(command(tool, p, recipe, repeat, answer.name), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
        complaint = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise RuntimeError(f"{' '.join(child.args)}: {complaint.strip()}")
        return json.loads(pathlib.Path(answer.name).read_text()), usage.ru_maxrss * 1024


def measure(tool: str, p: dict, recipe: str, bare: int) -> dict:
    """bare: the resident size of the same command on next to nothing."""
    first, resident = run(tool, p, recipe, 1)
    repeat = max(2, min(50, int(SECONDS / (first["time_us"]["median"] * 1e-6))))
    if first["time_us"]["median"] < 5e6:
        first, resident = run(tool, p, recipe, repeat)
    beyond = max(0, resident - bare - operand_bytes(p))
    return {**p, "recipe": recipe, "ms": first["time_us"]["median"] / 1e3, "gops": first["gops"],
            "cpu_share": first["cpu_share"], "workspace": first.get("workspace_bytes"), "resident_beyond": beyond,
            "implementation": first["implementation"],
            "ps_per_score": first["time_us"]["median"] * 1e6 / scores(p) * p["threads"]}


def bytes_per_channel(r: dict) -> float:
    used = r["workspace"] if r["workspace"] is not None else r["resident_beyond"]
    return used / (r["batch"] * r["heads"] * r["seqlen"] * r["head_dim"])


def verdicts(results: list[dict]) -> list[dict]:
    """The growth bar of each recipe: whether it holds (None: the machine was too busy to say), and the figures."""
    found = []
    for recipe in dict.fromkeys(r["recipe"] for r in results):
        for axis in ("length", "length, causal"):
            run = sorted((r for r in results if r["recipe"] == recipe and r["axis"] == axis and r["seqlen"] >= FROM),
                         key=lambda r: r["seqlen"])
            if len(run) < 2:
                continue
            times = [r["ps_per_score"] for r in run]
            span = f"N {run[0]['seqlen']} to {run[-1]['seqlen']}"
            spread = max(times) / min(times) if axis == "length" else max(times[1:]) / times[0]
            change = (f"within {spread - 1:.0%}" if axis == "length" else
                      f"grows by {spread - 1:.0%}" if spread > 1 else
                      f"does not grow, at least {1 - spread:.0%} below that of N {run[0]['seqlen']}")
            share = min(r["cpu_share"] for r in run)
            says = (f"{span}: {change} ({min(times):.1f} to {max(times):.1f} ps a score and thread); the bar is "
                    f"{SPREAD - 1:.0%}")
            if share < UNDISTURBED:
                says = f"{span}: other processes had up to {1 - share:.0%} of the processors"
            found.append({"recipe": recipe, "what": f"time of a score, {axis}",
                          "ok": spread <= SPREAD if share >= UNDISTURBED else None, "says": says})
            if axis == "length":
                first, last = bytes_per_channel(run[0]), bytes_per_channel(run[-1])
                found.append({"recipe": recipe, "what": "memory beyond inputs and output", "ok": last <= GROWTH * first,
                              "says": f"{span}: {first:.1f} to {last:.1f} bytes for each key and channel; O(N^2) would "
                                      f"be {run[-1]['seqlen'] // run[0]['seqlen']} times as many"})
    return found


def word(ok: bool | None) -> str:
    return "not judged" if ok is None else "yes" if ok else "no"


def markdown(data: dict) -> str:
    lines = [f"octavo bench attention, {data['machine'].get('processor', 'this processor')}, f16 operands, "
             "quantization included. `ps` is the time of one score on one thread.", "",
             "| bar | recipe | holds | figures |", "|:--|:--|:--|:--|"]
    lines += [f"| {v['what']} | {v['recipe']} | {word(v['ok'])} | {v['says']} |" for v in data["verdicts"]]
    for recipe in dict.fromkeys(r["recipe"] for r in data["results"]):
        for axis in dict.fromkeys(r["axis"] for r in data["results"]):
            run = [r for r in data["results"] if r["recipe"] == recipe and r["axis"] == axis]
            lines += ["", f"### {recipe}, {axis}", "",
                      "| batch | heads | N | threads | ms | Gop/s | ps | workspace MiB | "
                      "resident beyond operands MiB |",
                      "|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
            for r in run:
                workspace = "" if r["workspace"] is None else f"{r['workspace'] / 2**20:.1f}"
                lines.append(f"| {r['batch']} | {r['heads']} | {r['seqlen']} | {r['threads']} | {r['ms']:.3g} | "
                             f"{r['gops']:.0f} | {r['ps_per_score']:.1f} | {workspace} | "
                             f"{r['resident_beyond'] / 2**20:.1f} |")
    return "\n".join(lines) + "\n"


def chart(data: dict) -> str:
    """Time of a score against length, on the baselines' axes."""
    results = []
    for r in data["results"]:
        if r["axis"].startswith("length"):
            s = {"heads": r["heads"], "kv_heads": r["heads"], "head_dim": r["head_dim"], "causal": r["causal"],
                 "seqlen_k": r["seqlen"]}
            results.append({"shape": s, "timings": {f"octavo {r['recipe']}": {"gops": r["ps_per_score"]}}})
    return charts.against_length(results, lambda name, entry, result: entry["gops"], "ps a score and thread")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--octavo", required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"),
                        help="results go to a folder in it that is named after this processor")
    parser.add_argument("--most", type=int, default=65536, help="the longest sequence")
    parser.add_argument("--recipes", nargs="+", default=["int8", "int8_fast", "exact"])
    arguments = parser.parse_args()

    tiny, data = BASE | {"seqlen": 16}, {"machine": {}, "results": []}
    for recipe in arguments.recipes:
        answer, bare = run(arguments.octavo, tiny, recipe, 1)
        data["machine"] = answer["machine"]
        for axis, of_axis in points(arguments.most).items():
            for p in of_axis:
                result = {"axis": axis} | measure(arguments.octavo, p, recipe, bare)
                data["results"].append(result)
                print(f"{recipe}, {axis}: batch {p['batch']}, {p['heads']} heads, N {p['seqlen']}, "
                      f"{p['threads']} threads{', causal' if p['causal'] else ''}: {result['ms']:.3g} ms, "
                      f"{result['ps_per_score']:.1f} ps", flush=True)
    data["verdicts"] = verdicts(data["results"])
    arguments.out /= processor.name()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sweep.json").write_text(json.dumps(data, indent=1) + "\n")
    (arguments.out / "sweep.md").write_text(markdown(data))
    (arguments.out / "sweep.svg").write_text(chart(data))
    for verdict in data["verdicts"]:
        print(f"holds: {word(verdict['ok'])}: {verdict['recipe']}, {verdict['what']}, {verdict['says']}")
    return 1 if any(v["ok"] is False for v in data["verdicts"]) else 0


if __name__ == "__main__":
    sys.exit(main())
