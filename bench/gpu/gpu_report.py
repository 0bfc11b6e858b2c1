"""What make gpu-check found, as JSON and as tables; made of plain dictionaries, so that it needs no card."""

from __future__ import annotations

import json
import pathlib

from gpu_contenders import OURS
from gpu_shapes import HEADLINE, title

SCHEMA = 2
HALVES = ("bf16", "f16")  # how names of contenders in 16 bits end


def assemble(machine: dict, checks: list[str], conformance: pathlib.Path | None,
             measurements: pathlib.Path | None) -> dict:
    """The report before anything is timed."""
    everything = {"schema_version": SCHEMA, **machine, "checks": dict(check.split("=", 1) for check in checks)}
    if conformance is not None:
        tests = json.loads(conformance.read_text())
        everything["conformance"] = {key: tests[key] for key in ("tests", "failures", "errors")}
    if measurements is not None:
        everything["first_measurements"] = json.loads(measurements.read_text())["measurements"]
    return everything | {"shapes": [], "left_out": []}


def timed(entry: dict) -> dict:
    return {name: result for name, result in entry["results"].items() if "tflops" in result}


def best_half(entry: dict) -> float | None:
    """The fastest of the others in 16 bits: what the bars are relative to."""
    return max((r["tflops"] for name, r in timed(entry).items() if not name.startswith(OURS) and name.endswith(HALVES)),
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


def bandwidth(everything: dict) -> str:
    copy = everything["copy_gb_per_s"]
    shares = ", ".join(f"{role.upper()} {rate / copy:.0%}" for role, rate in everything["quantize_gb_per_s"].items())
    return f"Copying runs at {copy:.0f} GB/s; quantizing (int8) at {shares} of that."


def verdict(everything: dict) -> str:
    tests = everything.get("conformance")
    parts = [f"{tests['tests'] - tests['failures'] - tests['errors']} of {tests['tests']} tests pass on it"] if tests else []
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
    out.write_text(json.dumps(everything, indent=1) + "\n")
    out.with_suffix(".md").write_text(markdown(everything))
