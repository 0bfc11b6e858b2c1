"""What make gpu-check found, as JSON and as tables; made of plain dictionaries, so that it needs no card.

    gpu_report.py REPORT.json --checks NAME=RESULT ...      what was checked after the report was written
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from gpu_contenders import OURS
from gpu_shapes import HEADLINE, title

SCHEMA = 2
HALF = "f16"  # how names of contenders in 16 bits end, bf16 among them


def named(checks: list[str]) -> dict:
    return dict(check.split("=", 1) for check in checks)


def read(path: pathlib.Path | None, *keys: str) -> dict | None:
    """The members of a program's JSON; None where there is none, or half of one: the program crashed."""
    try:
        found = json.loads(path.read_text()) if path is not None else None
        return {key: found[key] for key in keys}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def assemble(machine: dict, checks: list[str], conformance: pathlib.Path | None,
             measurements: pathlib.Path | None) -> dict:
    """The report before anything is timed. A file that cannot be read is a failed check of its name."""
    everything = {"schema_version": SCHEMA, **machine, "checks": named(checks)}
    if tests := read(conformance, "tests", "failures", "errors"):
        everything["conformance"] = tests
    elif conformance is not None and everything["checks"].get("conformance", "passed") == "passed":
        everything["checks"]["conformance"] = "failed"
    if found := read(measurements, "measurements"):
        everything["first_measurements"] = found["measurements"]
    elif measurements is not None and everything["checks"].get("measurements", "passed") == "passed":
        everything["checks"]["measurements"] = "failed"
    return everything | {"shapes": [], "left_out": []}


def timed(entry: dict) -> dict:
    return {name: result for name, result in entry["results"].items() if "tflops" in result}


def best_half(entry: dict) -> float | None:
    """The fastest of the others in 16 bits: what the bars are relative to."""
    return max((r["tflops"] for name, r in timed(entry).items() if not name.startswith(OURS) and name.endswith(HALF)),
               default=None)


def rows(entry: dict, most: int | None = None) -> list[str]:
    bar = best_half(entry)
    lines = ["| | ms | TFLOPS | of the best in 16 bits | relative L2 |", "|:--|--:|--:|--:|--:|"]
    fastest = sorted(timed(entry).items(), key=lambda item: -item[1]["tflops"])
    for name, r in fastest[:most]:
        share = f"{r['tflops'] / bar:.2f}" if bar else ""
        lines.append(f"| {name} | {r['ms']:.3f} | {r['tflops']:.0f} | {share} | {r['relative_l2']:.1e} |")
    return lines


def absent(entries: list[dict]) -> list[str]:
    """Who did not run, why, and at how many of the shapes."""
    reasons: dict[tuple[str, str], int] = {}
    for entry in entries:
        for name, result in entry["results"].items():
            if "refused" in result:
                reasons[name, result["refused"]] = reasons.get((name, result["refused"]), 0) + 1
    return [f"- {name}" + (f" ({n} of {len(entries)} shapes)" if n < len(entries) else "") + f": {reason}"
            for (name, reason), n in sorted(reasons.items())]


def failures(entries: list[dict]) -> list[str]:
    """What octavo's own contenders did not do, at which shape."""
    return [f"{name}, {title(entry['shape'])}: {result['failed']}"
            for entry in entries for name, result in entry["results"].items() if "failed" in result]


def bandwidth(everything: dict) -> str:
    if "quantize_gb_per_s" not in everything:
        return "How fast the card copies and quantizes was not measured."
    copy = everything["copy_gb_per_s"]
    shares = ", ".join(f"{role.upper()} {rate / copy:.0%}" for role, rate in everything["quantize_gb_per_s"].items())
    return f"Copying runs at {copy:.0f} GB/s; quantizing (int8) at {shares} of that."


def verdict(everything: dict) -> str:
    tests = everything.get("conformance")
    parts = []
    if tests:
        parts.append(f"{tests['tests'] - tests['failures'] - tests['errors']} of {tests['tests']} tests pass on it")
    parts += [f"{name} {result}" for name, result in everything["checks"].items()]
    return "; ".join(parts)


def about(everything: dict) -> str:
    used = ", ".join(f"{name} {version}" for name, version in everything["versions"].items())
    return f"{everything['card']}, {everything['measured']}, {used}"


def measurements(everything: dict) -> list[str]:
    lines = ["| | | unit | MHz | W |", "|:--|--:|:--|--:|--:|"]
    for m in everything["first_measurements"]:
        value = f"absent: {m['absent']}" if "absent" in m else "failed" if m["value"] is None else f"{m['value']:.5g}"
        clock, watts = (f"{m[key]:.0f}" if m.get(key) else "" for key in ("clock_mhz", "watts"))
        lines.append(f"| {m['name']} | {value} | {m['unit']} | {clock} | {watts} |")
    return lines


def sustained(entry: dict) -> list[str]:
    lines = ["| for a second | TFLOPS | MHz | W |", "|:--|--:|--:|--:|"]
    for name, r in entry["results"].items():
        if s := r.get("sustained"):
            clock, watts = (f"{s[key]:.0f}" if key in s else "" for key in ("clock_mhz", "watts"))
            lines.append(f"| {name} | {s['tflops']:.0f} | {clock} | {watts} |")
    return lines if len(lines) > 2 else []


def markdown(everything: dict) -> str:
    lines = [f"# {about(everything)}", "", verdict(everything), "", bandwidth(everything), ""]
    for entry in everything["shapes"]:
        lines += [f"## {title(entry['shape'])}", "", *rows(entry), "", *sustained(entry), ""]
    if missing := absent(everything["shapes"]):
        lines += ["## Did not run", "", *missing, ""]
    if everything["left_out"]:
        lines += ["## Left out for want of time", "", *(f"- {name}" for name in everything["left_out"]), ""]
    if said := failures(everything["shapes"]):
        lines += ["## Failed", "", *(f"- {sentence}" for sentence in said), ""]
    if "first_measurements" in everything:
        lines += ["## What the card's units do", "", *measurements(everything), ""]
    return "\n".join(lines)


def front(everything: dict) -> list[str]:
    """The front page's lines for this card: the first of the bars' shapes."""
    entry = next((e for e in everything["shapes"] if e["shape"] == HEADLINE), None)
    if entry is None:
        return [f"{about(everything)}: no run of {title(HEADLINE)}.", ""]
    return [f"{title(HEADLINE)}, N(0, 1) in bf16, quantization included; {about(everything)}. {verdict(everything)}. "
            f"{bandwidth(everything)}", "", *rows(entry), ""]


def write(everything: dict, out: pathlib.Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n")
    out.with_suffix(".md").write_text(markdown(everything))


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--checks", nargs="*", default=[], metavar="NAME=RESULT")
    options = parser.parse_args(arguments)
    try:
        everything = json.loads(options.report.read_text())
    except (OSError, ValueError) as error:
        print(f"gpu_report.py: {options.report} cannot be read: {error}", file=sys.stderr)
        return 1
    everything["checks"] |= named(options.checks)
    write(everything, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
