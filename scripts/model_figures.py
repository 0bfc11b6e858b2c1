#!/usr/bin/env python3
"""docs/models.md's table and chart from bench/results/models.json: model_figures.py [--check]

Writes the part of the page between its markers, and bench/results/models.svg. --check writes nothing and exits with 1
if they differ.
"""

import html
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "models.json"
PAGE = ROOT / "docs" / "models.md"
CHART = ROOT / "bench" / "results" / "models.svg"
BEGIN, END = "<!-- model_figures.py -->\n", "<!-- end of model_figures.py -->"
COLOURS = {"PyTorch f32": "#8a8d91", "PyTorch bf16": "#c3c5c8", "octavo exact": "#235789", "octavo int8": "#0b6e4f",
           "octavo int8_fast": "#e08e0b"}


def table(results):
    lines = ["| model | tokens | attention | seconds | gain | error |", "|---|--:|---|--:|--:|--:|"]
    for entry in results:
        for name, figures in entry["variants"].items():
            error = f"{figures['error']:.1e}" if figures["error"] else "0"
            lines.append(f"| {entry['description']} | {entry['tokens']} | {name} | {figures['seconds']:.2f} | "
                         f"{figures['gain']:.2f} | {error} |")
    machines = sorted({f"{e['threads']} threads of a processor with {e['processor']} "
                       f"({e['implementation']}), torch {e['torch']}"
                       for e in results})
    rounds = "\n".join(f"- {e['model']}, {e['tokens']} tokens: {e['rounds']} rounds, {e['date']}"
                       for e in results)
    return "\n".join([*lines, "", f"{'; '.join(machines)}.", "", rounds]) + "\n"


def chart(results):
    """A bar for each variant's gain, one group for each model."""
    left, wide, bar = 250, 330, 14
    most = max(f["gain"] for e in results for f in e["variants"].values())
    y, out = 34, []
    for entry in results:
        out.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">'
                   f'{html.escape(entry["model"])}, {entry["tokens"]} tokens</text>')
        for name, figures in entry["variants"].items():
            width = wide * figures["gain"] / most
            out.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 2}" fill="{COLOURS[name]}"/>'
                       f'<text x="{left + width + 5:.1f}" y="{y + 10}">{figures["gain"]:.2f}  {name}</text>')
            y += bar
        y += 12
    line = left + wide / most
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 160} {y}" font-family="sans-serif" '
            f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="{left}" y="18">Speed relative to PyTorch in f32, whole model</text>'
            f'<path d="M{line:.1f} 26V{y - 8}" stroke="black" stroke-dasharray="3 3"/>')
    return "\n".join([head, *out, "</svg>"]) + "\n"


def main():
    results = json.loads(RESULTS.read_text())
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    made = {PAGE: before + BEGIN + table(results) + END + rest.split(END)[1], CHART: chart(results)}
    if "--check" in sys.argv[1:]:
        old = [path for path in made if not path.exists() or path.read_text() != made[path]]
        print("".join(f"{path.relative_to(ROOT)} does not follow from {RESULTS.name}\n" for path in old), end="")
        return 1 if old else 0
    for path, content in made.items():
        path.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
