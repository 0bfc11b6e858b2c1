#!/usr/bin/env python3
"""Generates the benchmark tables of README.md and docs/performance.md from the JSON files in bench/results.

    bench_figures.py [--write]

Without --write prints the pages that differ from bench/results and exits with 1 if there are any.
"""

from __future__ import annotations

import json
import pathlib
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
sys.path[:0] = [str(ROOT / folder) for folder in ("scripts", "bench/baselines", "bench/gpu_baselines")]

import gpu_report  # noqa: E402
import processor  # noqa: E402
import report  # noqa: E402
from page_parts import part, replaced  # noqa: E402
from problem import key, shape, title  # noqa: E402


HEADLINE = shape()
# Rows of octavo on the front page; other libraries have their fastest row there.
FRONT = ("octavo int8", "octavo int8_fast", "octavo int_flash", "octavo int_flash_half", "octavo sage2_8b",
         "octavo exact bf16", "octavo exact f32")


# Instead of a file name: the reports of make gpu-check, one per GPU; all processors' baselines, most results first.
GPUS, PROCESSORS = "gpus", "processors"


def load(name: str) -> dict | list[dict] | None:
    """A file of results: of several processors' the one with most results. Its folder's name is added as "folder"."""
    if name == GPUS:
        found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
        return [data for data in found if "compute_capability" in data and "shapes" in data]
    if name == PROCESSORS:
        return every("cpu.json")
    return next(iter(every(name)), None)


def every(name: str) -> list[dict]:
    found = [json.loads(path.read_text()) | {"folder": path.parent.name} for path in RESULTS.glob(f"*/{name}")]
    return sorted((data for data in found if "verdicts" in data or headline(data)), key=weight, reverse=True)


def weight(data: dict) -> tuple[int, str]:
    return len(data["results"]), max((r["measured"] for r in data["results"] if "measured" in r), default="")


def headline(data: dict) -> dict | None:
    return next((r for r in data["results"] if key(r["shape"]) == key(HEADLINE)), None)


def library(name: str) -> str:
    return name.split()[0]


def front_rows(result: dict) -> list[str]:
    """The table's head, then FRONT and the fastest of every other library, fastest first."""
    fastest: dict[str, str] = {}
    timed = {name: e for name, e in result["timings"].items() if "gops" in e}
    for name in sorted(timed, key=lambda name: -timed[name]["gops"]):
        if not name.startswith(report.OURS):
            fastest.setdefault(library(name), name)
    shown = {name: timed[name] for name in (*FRONT, *fastest.values()) if name in timed}
    chosen = report.rows({**result, "timings": timed}, report.products())
    return [line for i, line in enumerate(chosen) if i < 2 or line.split(" | ")[0].removeprefix("| ") in shown]


def about(data: dict, result: dict) -> str:
    machine = data["machine"]
    text = (f"{title(result['shape'])}, N(0, 1), quantization included, {data['threads']} threads of "
            f"{machine['processor']} ({machine['features']}), medians of {result['rounds']} interleaved rounds, "
            f"{result['measured']}. Peaks in the same run: {report.peaks_line(result)}.{report.disturbed(result)}")
    return textwrap.fill(text, 120)


def front_block(data: dict) -> str:
    result = headline(data)
    return "\n".join([about(data, result), "", *front_rows(result), "",
                      f"![Speed against sequence length](bench/results/{data['folder']}/cpu_front.svg)"])


def processors_block(found: list[dict]) -> str:
    """The shape of the first table on every processor that has results."""
    names = ("octavo int8", "octavo int8_fast", "octavo sage2_8b", "octavo exact bf16", "octavo exact f32")
    lines = ["The same shape on every processor measured, in Gop/s, each in one interleaved run:", "",
             "| processor | measured | " + " | ".join(name.removeprefix("octavo ") for name in names) +
             " | best baseline | int8_fast / baseline |", "|:--|:--|" + "--:|" * len(names) + ":--|--:|"]
    for data in found:
        result = headline(data)
        timed = {name: e["gops"] for name, e in result["timings"].items() if "gops" in e}
        best = best_baseline(timed)
        speeds = [f"{timed[name]:.0f}" if name in timed else "" for name in names]
        link = f"[{processor.title(data['folder'])}](bench/results/{data['folder']}/cpu.md)"
        lines.append(f"| {' | '.join([link, result['measured'].split()[0], *speeds])} | {best}, {timed[best]:.0f} | "
                     f"{timed['octavo int8_fast'] / timed[best]:.2f} |")
    return "\n".join(lines)


def best_baseline(timed: dict[str, float]) -> str | None:
    return max((name for name in timed if not name.startswith(report.OURS)), key=timed.get, default=None)


def baselines_block(data: dict) -> str:
    result, results = headline(data), f"../bench/results/{data['folder']}"
    missing = report.absent(data["results"])
    others = [r for r in data["results"] if r is not result]
    lines = [about(data, result), "", *report.rows(result, report.products()), ""]
    if others:
        lines += [f"All shapes are in [cpu.md]({results}/cpu.md). `int8_fast`, `exact` and the best baseline of each:",
                  "",
                  "| shape | int8_fast Gop/s | of its peak | exact bf16 | exact f32 | best baseline | int8_fast / "
                  "baseline |",
                  "|:--|--:|--:|--:|--:|:--|--:|", *map(summary, others), ""]
    lines += [f"![Speed]({results}/cpu_speed.svg)", "", f"![Fraction of peak]({results}/cpu_peak.svg)"]
    return "\n".join(lines + (["", "Did not run:", "", *missing] if missing else []))


def summary(result: dict) -> str:
    timed = {name: e["gops"] for name, e in result["timings"].items() if "gops" in e}
    best = best_baseline(timed)
    ours = timed.get("octavo int8_fast")
    bound = report.peak_of("octavo int8_fast", report.products(), result["peak"])
    speed = lambda name: f"{timed[name]:.0f}" if name in timed else ""
    cells = [title(result["shape"]), speed("octavo int8_fast"), f"{ours / bound:.0%}" if ours and bound else "",
             speed("octavo exact bf16"), speed("octavo exact f32"), f"{best}, {timed[best]:.0f}" if best else "",
             f"{ours / timed[best]:.2f}" if ours and best else ""]
    return f"| {' | '.join(cells)} |"


HOLDS = {True: "yes", False: "no", None: "not judged"}


def growth_block(data: dict) -> str:
    lines = ["| bar | recipe | holds | figures |", "|:--|:--|:--|:--|"]
    lines += [f"| {v['what']} | {v['recipe']} | {HOLDS[v['ok']]} | {v['says']} |" for v in data["verdicts"]]
    return "\n".join([*lines, "", f"![Time of a score](../bench/results/{data['folder']}/sweep.svg)"])


def gpu_block(reports: list[dict]) -> str:
    return "\n".join(line for report in reports for line in gpu_report.front(report)).rstrip()


# Page -> mark -> (results, function that makes the block).
BLOCKS = {
    "README.md": {"front": ("cpu.json", front_block), "processors": (PROCESSORS, processors_block),
                  "gpu": (GPUS, gpu_block)},
    "docs/performance.md": {"baselines": ("cpu.json", baselines_block), "growth": ("sweep.json", growth_block)},
}


def rewritten(page: str, text: str) -> str:
    for mark, (name, block) in BLOCKS[page].items():
        begin, end = f"<!-- bench_figures.py {mark} -->\n", f"\n<!-- end of {mark} -->"
        shown = part(text, begin, end)
        data = load(name)
        text = replaced(text, begin, end, block(data) if data else shown)
    return text


def main() -> int:
    stale = []
    for page in BLOCKS:
        path = ROOT / page
        text = path.read_text()
        if (made := rewritten(page, text)) != text:
            stale.append(page)
            if "--write" in sys.argv[1:]:
                path.write_text(made)
    if "--write" in sys.argv[1:]:
        return 0
    for page in stale:
        print(f"{page} differs from bench/results: run scripts/bench_figures.py --write")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
