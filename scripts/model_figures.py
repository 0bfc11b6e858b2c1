#!/usr/bin/env python3
"""Tables and chart of whole models from bench/results/models.json: model_figures.py [--check]

Writes the parts of docs/models.md and README.md between their markers, and bench/results/models.svg. --check writes
nothing and exits with 1 if they differ.
"""

import html
import json
import pathlib
import sys

from page_parts import replaced

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "models.json"
PAGE, README = ROOT / "docs" / "models.md", ROOT / "README.md"
CHART = ROOT / "bench" / "results" / "models.svg"
BEGIN, END = "<!-- model_figures.py -->\n", "<!-- end of model_figures.py -->"
COLOURS = {"PyTorch f32": "#8a8d91", "PyTorch f32 compiled": "#5d6065", "PyTorch bf16": "#c3c5c8",
           "octavo exact": "#235789", "octavo int8": "#0b6e4f", "octavo int8 compiled": "#2f9c95",
           "octavo int8_fast": "#e08e0b", "octavo exact, f32 cache": "#235789", "octavo int8, s8 cache": "#0b6e4f",
           "octavo int8, s4 cache": "#e08e0b"}  # fmt: skip
# Columns of the README's table: heading -> the variants that stand in it.
COLUMNS = {"exact": ("octavo exact", "octavo exact, f32 cache"), "int8": ("octavo int8", "octavo int8, s8 cache"),
           "int8_fast": ("octavo int8_fast",)}  # fmt: skip


def error_of(figures):
    return f"{figures['error']:.1e}" if figures["error"] else "0"


def table(results):
    lines = ["| model | tokens | attention | seconds | gain | error |", "|---|--:|---|--:|--:|--:|"]
    for entry in results:
        for name, figures in entry["variants"].items():
            lines.append(f"| {entry['description']} | {entry['tokens']} | {name} | {figures['seconds']:.2f} | "
                         f"{figures['gain']:.2f} | {error_of(figures)} |")
    machines = sorted({f"A processor with {e['processor']} ({e['implementation']}), torch {e['torch']}"
                       for e in results})
    rounds = "\n".join(f"- {e['model']}, {e['tokens']} tokens: {how(e)}, {e['date']}" for e in results)
    return "\n".join([*lines, "", f"{'; '.join(machines)}.", "", rounds]) + "\n"


def how(entry):
    threads, rounds = entry["threads"], entry["rounds"]
    clock = ", processor time" if entry.get("clock") == "processor" else ""
    return f"{threads} thread{'s' if threads > 1 else ''}{clock}, {rounds} round{'s' if rounds > 1 else ''}"


def front(results):
    """The README's table: a row for each model."""
    headings = ["model", "tokens", "PyTorch f32", *(f"octavo {name}" for name in COLUMNS), "error of int8"]
    lines = [f"| {' | '.join(headings)} |", "|:--|--:|--:|" + "--:|" * (len(COLUMNS) + 1)]
    for entry in results:
        cells, variants = [], entry["variants"]
        for names in COLUMNS.values():
            found = [variants[name] for name in names if name in variants]
            cells.append(f"{found[0]['gain']:.2f} x" if found else "")
        int8 = next(variants[name] for name in COLUMNS["int8"] if name in variants)
        lines.append(f"| {entry['description']} | {entry['tokens']} | {variants['PyTorch f32']['seconds']:.2f} s | "
                     f"{' | '.join(cells)} | {error_of(int8)} |")
    return "\n".join(lines) + "\n"


def chart(results):
    """A bar for each variant's gain, one group for each model."""
    left, wide, bar = 220, 330, 14
    most = max(f["gain"] for e in results for f in e["variants"].values())
    y, out = 34, []
    for entry in results:
        out.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">'
                   f'{html.escape(entry["model"])}, {entry["tokens"]} tokens</text>')
        for name, figures in entry["variants"].items():
            width = wide * figures["gain"] / most
            out.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 2}" fill="{COLOURS[name]}"/>'
                       f'<text x="{left + width + 5:.1f}" y="{y + 10}" stroke="white" stroke-width="3" '
                       f'paint-order="stroke">{figures["gain"]:.2f}  {name}</text>')
            y += bar
        y += 12
    line = left + wide / most
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 200} {y}" font-family="sans-serif" '
            f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="{left}" y="18">Speed relative to PyTorch in f32, whole model</text>'
            f'<path d="M{line:.1f} 26V{y - 8}" stroke="black" stroke-dasharray="3 3"/>')
    return "\n".join([head, *out, "</svg>"]) + "\n"


def main():
    results = json.loads(RESULTS.read_text())
    parts = {PAGE: table(results), README: front(results)}
    made = {path: replaced(path.read_text(), BEGIN, END, text) for path, text in parts.items()}
    made[CHART] = chart(results)
    if "--check" in sys.argv[1:]:
        old = [path for path in made if not path.exists() or path.read_text() != made[path]]
        print("".join(f"{path.relative_to(ROOT)} does not follow from {RESULTS.name}\n" for path in old), end="")
        return 1 if old else 0
    for path, content in made.items():
        path.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
