"""Results of compare.py as Markdown tables of ratios and as charts."""

from __future__ import annotations

import pathlib
import textwrap

import charts
import processor
from problem import title

OURS = "octavo "
# The front page's chart.
SHORT_LIST = ["octavo int8", "octavo int8_fast", "octavo int_flash", "octavo sage2_8b", "octavo exact bf16",
              "octavo exact f32", "OpenVINO bf16", "OpenVINO f32", "ONNX Runtime MultiHeadAttention f32",
              "PyTorch SDPA f32", "PyTorch SDPA bf16", "oneDNN graph int8", "ik_llama.cpp q8_0"]


def peak_of(name: str, products: dict, peaks: dict) -> float | None:
    """Operations a second at which both products of a library would run at their instruction's peak."""
    bound = products.get(name)
    if bound is None or any(instruction not in peaks for instruction in bound):
        return None
    return 2 / sum(1 / peaks[instruction] for instruction in bound)


def products() -> dict:
    from adapters import ALL

    return {adapter.name: adapter.products for adapter in ALL if adapter.products}


def best_baseline(result: dict) -> float | None:
    speeds = [e["gops"] for name, e in result["timings"].items() if "gops" in e and not name.startswith(OURS)]
    return max(speeds, default=None)


def rows(result: dict, bounds: dict) -> list[str]:
    best = best_baseline(result)
    timed = {name: e for name, e in result["timings"].items() if "gops" in e}
    lines = ["| | ms | Gop/s | of its peak | x best baseline | relative L2 |", "|:--|--:|--:|--:|--:|--:|"]
    for name, e in sorted(timed.items(), key=lambda item: -item[1]["gops"]):
        bound = peak_of(name, bounds, result["peak"])
        ms = f"{e['median_ms']:.0f}" if e["median_ms"] >= 100 else f"{e['median_ms']:.3g}"
        lines.append(f"| {name} | {ms} | {e['gops']:.0f} | " + (f"{e['gops'] / bound:.0%}" if bound else "") +
                     " | " + (f"{e['gops'] / best:.2f}" if best else "") + f" | {e['error']:.1e} |")
    return lines


def peaks_line(result: dict) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in result["peak"].items()) + " Gop/s"


def port_line(result: dict, name: str | None, bounds: dict) -> list[str]:
    """How much of what the ports allow the integer recipes reach, where the processor is known."""
    bound = processor.port_bound(name, result["shape"]["head_dim"]) if name and "vnni" in result["peak"] else None
    if bound is None:
        return []
    reached = [f"{recipe.removeprefix(OURS)} {e['gops'] / result['peak']['vnni'] / bound:.0%}"
               for recipe, e in sorted(result["timings"].items(), key=lambda item: -item[1].get("gops", 0))
               if recipe.startswith(OURS) and bounds.get(recipe) == ("vnni", "vnni") and "gops" in e]
    text = f"The ports allow {bound:.0%} of the vnni peak at D {result['shape']['head_dim']}; reached of that: "
    return ["", textwrap.fill(text + ", ".join(reached) + ".", 120)] if reached else []


def disturbed(result: dict) -> str:
    """A warning where other processes ran at the same time."""
    taken = 1 - result["cpu_share"]
    if taken < 0.05:
        return ""
    return (f" **Taken on a busy machine: other processes had up to {taken:.0%} of the processors. "
            "Times are too long, fractions of peak mean nothing, ratios little.**")


def absent(results: list[dict]) -> list[str]:
    """Libraries that did not run, each with its reason and the shapes it applies to."""
    reasons: dict[tuple[str, str], list[dict]] = {}
    for result in results:
        for name, e in result["timings"].items():
            if "refused" in e:
                reasons.setdefault((name, e["refused"]), []).append(result["shape"])
    shapes = [result["shape"] for result in results]
    return [f"- {name}{where(refused, shapes)}: {reason}" for (name, reason), refused in sorted(reasons.items())]


def where(refused: list[dict], shapes: list[dict]) -> str:
    """Nothing for all shapes, a word for all causal or all other ones, else their titles."""
    causal = [s for s in shapes if s["causal"]]
    if len(refused) == len(shapes):
        return ""
    if refused == causal:
        return " (causal)"
    if refused == [s for s in shapes if not s["causal"]]:
        return " (not causal)"
    return f" ({'; '.join(map(title, refused))})"


def markdown(results: list[dict], name: str | None = None) -> str:
    """`name`: of the processor (processor.name())."""
    bounds, lines = products(), []
    for result in results:
        peaks = f"Peaks: {peaks_line(result)}; " if result["peak"] else ""
        about = f"{peaks}{result['rounds']} rounds, {result.get('measured', 'now')}.{disturbed(result)}"
        lines += [f"### {title(result['shape'])}", "", textwrap.fill(about, 120), "", *rows(result, bounds),
                  *port_line(result, name, bounds), ""]
    missing = absent(results)
    return "\n".join(lines + (["### Did not run", "", *missing, ""] if missing else []))


def write_reports(everything: dict, out: pathlib.Path) -> None:
    results, bounds = everything["results"], products()
    head = (f"octavo beside other libraries: {everything['machine'].get('processor', 'this processor')}, "
            f"{everything['threads']} threads. Peak: instructions measured in the same run, "
            "both products at their own.")
    (out / "cpu.md").write_text(textwrap.fill(head, 120) + "\n\n" + markdown(results, out.name))
    speed = lambda name, entry, result: entry["gops"]
    (out / "cpu_speed.svg").write_text(charts.against_length(results, speed, "Gop/s"))
    front = [r for r in results if r["shape"]["heads"] == r["shape"]["kv_heads"] == 8 and not r["shape"]["causal"]]
    (out / "cpu_front.svg").write_text(charts.against_length(front, speed, "Gop/s", only=SHORT_LIST))

    def fraction(name, entry, result):
        bound = peak_of(name, bounds, result["peak"])
        return 100 * entry["gops"] / bound if bound else None

    (out / "cpu_peak.svg").write_text(charts.against_length(results, fraction, "% of peak", most=100))
