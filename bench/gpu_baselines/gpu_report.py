"""Tables of what was measured on a GPU; made of plain dictionaries, so that this needs no GPU."""

from __future__ import annotations

import json
import os
import pathlib

from gpu_entries import OURS
from gpu_shapes import HEADLINE, title

HALF = "f16"  # how names of entries in 16 bits end, bf16 among them


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
    """What octavo's own entries did not do, at which shape."""
    return [f"{name}, {title(entry['shape'])}: {result['failed']}"
            for entry in entries for name, result in entry["results"].items() if "failed" in result]


def bandwidth(everything: dict) -> str:
    if "copy_gb_per_s" not in everything:
        return "The bandwidth of copies and of the quantizers was not measured."
    copy = everything["copy_gb_per_s"]
    shares = ", ".join(f"{role.upper()} {rate / copy:.0%}"
                       for role, rate in everything.get("quantize_gb_per_s", {}).items())
    return f"Copying runs at {copy:.0f} GB/s" + (f"; quantizing (int8_fast) at {shares} of that." if shares else ".")


def verdict(everything: dict) -> str:
    tests = everything.get("conformance")
    parts = [f"{tests['passed']} of {tests['tests']} conformance tests pass"] if tests else []
    counts: dict[str, int] = {}
    for result in everything["checks"].values():
        counts[result] = counts.get(result, 0) + 1
    return "; ".join(parts + [f"{count} steps {result}" for result, count in counts.items()])


def about(everything: dict) -> str:
    used = [f"{name} {version}" for name, version in everything.get("versions", {}).items()]
    return ", ".join([everything["gpu"], everything["measured"], *used])


def measurements(everything: dict) -> list[str]:
    lines = ["| | | unit | MHz | W |", "|:--|--:|:--|--:|--:|"]
    for m in everything.get("first_measurements", []):
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


def comparison(everything: dict) -> list[str]:
    """The part of a report that gpu_compare.py measured."""
    lines = [bandwidth(everything), ""]
    for entry in everything["shapes"]:
        lines += [f"### {title(entry['shape'])}", "", *rows(entry), "", *sustained(entry), ""]
    if missing := absent(everything["shapes"]):
        lines += ["### Did not run", "", *missing, ""]
    if everything["left_out"]:
        lines += ["### Left out for want of time", "", *(f"- {name}" for name in everything["left_out"]), ""]
    if said := failures(everything["shapes"]):
        lines += ["### Failed", "", *(f"- {message}" for message in said), ""]
    return lines


def front(everything: dict) -> list[str]:
    """The front page's lines for this GPU: the first of the bars' shapes."""
    entry = next((e for e in everything["shapes"] if e["shape"] == HEADLINE), None)
    if entry is None:
        return [f"{about(everything)}: no run of {title(HEADLINE)}.", ""]
    return [f"{title(HEADLINE)}, N(0, 1) in bf16, quantization included; {about(everything)}. {verdict(everything)}. "
            f"{bandwidth(everything)}", "", *rows(entry), ""]


def write(everything: dict, out: pathlib.Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n")
    os.replace(part, out)  # whole or not at all, whenever the run is cut off
