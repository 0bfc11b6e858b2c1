"""The report of a run, made from its folder or its summary.json on any machine: report.md and report.json, the record
that bench/results keeps of a GPU."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

from gpu_check import machine
from gpu_check.results import BAD, load, write_json

ROOT = machine.ROOT
sys.path.insert(0, str(ROOT / "bench" / "gpu_baselines"))

import gpu_report  # noqa: E402

SCHEMA = 3
LOG_LINES = 15  # of a step that failed


def rows_of(summary: dict, prefix: str) -> list[dict]:
    return [row for row in summary["rows"] if row["name"].startswith(prefix)]


def conformance(summary: dict) -> dict | None:
    found = [row for row in rows_of(summary, "conformance: ") if row["status"] in ("passed", *BAD)]
    return {"tests": len(found), "passed": sum(row["status"] == "passed" for row in found)} if found else None


def measurements(summary: dict) -> list[dict]:
    return [m for row in rows_of(summary, "measurements: ") for m in (row.get("data") or {}).get("measurements", [])]


def speeds(summary: dict) -> dict[str, list[dict]]:
    """What the C++ bench program measured, by shape."""
    return {row["name"].removeprefix("speed: "): row["data"] for row in rows_of(summary, "speed: ") if row.get("data")}


def record(summary: dict) -> dict:
    """Everything that bench/results keeps, without the logs."""
    facts = summary["machine"]
    compared = next((row["data"] for row in rows_of(summary, "baselines") if row.get("data")), {})
    made = {"schema_version": SCHEMA, "gpu": facts.get("gpu", {}).get("name", "no GPU"),
            "measured": facts.get("measured", "at an unknown time"), "versions": facts.get("packages", {}),
            "compute_capability": facts.get("gpu", {}).get("compute_capability", ""),
            "machine": facts, "shapes": [], "left_out": [], **compared,
            "checks": {row["name"]: row["status"] for row in summary["rows"]}}
    if tests := conformance(summary):
        made["conformance"] = tests
    if found := measurements(summary):
        made["first_measurements"] = found
    if found := speeds(summary):
        made["speeds"] = found
    return made


def step_table(summary: dict) -> list[str]:
    lines = ["| step | result | s | |", "|:--|:--|--:|:--|"]
    for row in summary["rows"]:
        note = row["note"].replace("|", "\\|")
        lines.append(f"| {row['name']} | {row['status']} | {row['seconds']:.1f} | {note} |")
    return lines


def failed_tests(row: dict) -> list[str]:
    tests = [test for test in row.get("data") or [] if isinstance(test, dict) and test.get("failures")]
    return [f"- {failure}" for test in tests for failure in test["failures"]]


def failures(summary: dict) -> list[str]:
    """What each failed step said."""
    lines = []
    for row in summary["rows"]:
        if row["status"] not in BAD:
            continue
        lines += [f"### {row['name']}: {row['status']}", ""]
        if said := failed_tests(row):
            lines += [*said, ""]
        if log := row.get("log", "").strip():
            lines += ["```", *log.splitlines()[-LOG_LINES:], "```", ""]
    return lines


def differences(summary: dict) -> list[str]:
    data = next((row.get("data") for row in rows_of(summary, "primitives: emulation")), None)
    if not data:
        return []
    lines = [f"{len(data['equal'])} primitives are the emulation's."]
    return lines + [f"- {name} differs" for name in data["different"]] + [""]


def speed_table(summary: dict) -> list[str]:
    lines = ["| shape | | ms | TFLOPS | relative L2 |", "|:--|:--|--:|--:|--:|"]
    for shape, entries in speeds(summary).items():
        for e in entries:
            lines.append(f"| {shape} | {e['name']} | {e['ms']:.3f} | {e['tflops']:.0f} | {e['relative_l2']:.1e} |"
                         if "ms" in e else f"| {shape} | {e['name']} | {e['refused']} | | |")
    return lines


def markdown(summary: dict) -> str:
    made = record(summary)
    facts = {key: value for key, value in summary["machine"].items() if key not in ("packages", "measured") and value}
    lines = [f"# {gpu_report.about(made)}", "", gpu_report.verdict(made) + ".", "",
             *(f"- {key}: {value}" for key, value in facts.items()), "", "## Steps", "", *step_table(summary), ""]
    if said := failures(summary):
        lines += ["## What failed", "", *said]
    if said := differences(summary):
        lines += ["## Primitives", "", *said]
    if speeds(summary):
        lines += ["## Attention by itself (gpu_attention_bench)", "", *speed_table(summary), ""]
    if made["shapes"]:
        lines += ["## Beside the baselines", "", *gpu_report.comparison(made)]
    if "first_measurements" in made:
        lines += ["## First measurements", "", *gpu_report.measurements(made), ""]
    return "\n".join(lines).rstrip() + "\n"


def write(path: pathlib.Path) -> dict:
    """report.md and report.json beside the summary; the record."""
    summary = load(path)
    folder = path if path.is_dir() else path.parent
    made = record(summary)
    write_json(folder / "report.json", made)
    (folder / "report.md").write_text(markdown(summary))
    return made


def publish(path: pathlib.Path, root: pathlib.Path = ROOT) -> list[pathlib.Path]:
    """The record and the GPU's table of primitives into the repository."""
    summary = load(path)
    if not any(row["status"] == "passed" for row in rows_of(summary, "conformance: ")):
        raise SystemExit("gpu_check: no conformance test passed: nothing is published")
    made = record(summary)
    name = re.sub(r"[^A-Za-z0-9]+", "_", made["gpu"])
    written = [root / "bench" / "results" / f"{name}.json"]
    gpu_report.write(made, written[0])
    written.append(written[0].with_suffix(".md"))
    written[1].write_text(markdown(summary))
    table = next((row.get("data") for row in rows_of(summary, "primitives") if row["name"] == "primitives"), None)
    if table:
        written.append(root / "tests" / "cuda_words" / "tables" / f"{name}.json")
        written[2].parent.mkdir(parents=True, exist_ok=True)
        # A line for each primitive, as cuda_primitive_dump prints it and the test reads it.
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
        written[2].write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return written


def main(path: pathlib.Path, to_repository: bool) -> int:
    try:
        write(path)
    except (OSError, ValueError, KeyError) as error:
        print(f"gpu_check: {path} holds no results of a run: {error}", file=sys.stderr)
        return 1
    folder = path if path.is_dir() else path.parent
    print(folder / "report.md")
    if to_repository:
        for written in publish(path):
            print(written)
        return subprocess.run([sys.executable, ROOT / "scripts" / "bench_figures.py", "--write"]).returncode
    return 0
