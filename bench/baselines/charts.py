"""A figure against sequence length as an SVG, drawn without a library: one panel for each head count, size and mask."""

from __future__ import annotations

import html
import math

COLOURS = ["#0b6e4f", "#c1292e", "#235789", "#e08e0b", "#7d5ba6", "#4f7cac", "#8a8d91", "#b3589a", "#2f9c95", "#64513b",
           "#a0a83c", "#d1603d", "#5b5b5b", "#1b998b"]
DASHES = ["", "5 2", "2 2"]
WIDTH, HEIGHT, LEFT, TOP, KEY = 330, 250, 46, 34, 250


def panel_of(s: dict) -> str:
    heads = f"{s['heads']} head" + ("s" if s["heads"] > 1 else "")
    if s["kv_heads"] != s["heads"]:
        heads += f" on {s['kv_heads']}"
    return f"{heads}, D {s['head_dim']}" + (", causal" if s["causal"] else "")


def series(results: list[dict], value) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Panel -> name -> (length, value) in ascending order; panels of a single length say nothing and are left out."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for result in results:
        names = panels.setdefault(panel_of(result["shape"]), {})
        for name, entry in result["timings"].items():
            y = value(name, entry, result) if "gops" in entry else None
            if y is not None:
                names.setdefault(name, []).append((result["shape"]["seqlen_k"], y))
    for names in panels.values():
        for points in names.values():
            points.sort()
    return {panel: names for panel, names in panels.items()
            if len({x for points in names.values() for x, _ in points}) > 1}


def against_length(results: list[dict], value, unit: str, most: float | None = None,
                   only: list[str] | None = None) -> str:
    """value(name, entry, result) -> what is drawn, or None; `only` these libraries."""
    chosen = lambda name, entry, result: value(name, entry, result) if only is None or name in only else None
    panels = series(results, chosen)
    names = sorted({name for group in panels.values() for name in group},
                   key=lambda name: -max(y for g in panels.values() for _, y in g.get(name, [(0, 0)])))
    style = {name: (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]) for i, name in enumerate(names)}
    columns = min(3, max(1, len(panels)))
    lines = -(-len(panels) // columns)
    total, high = WIDTH * columns + KEY, max(HEIGHT * max(lines, 1), 15 * len(names) + 40)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {high}" font-family="sans-serif" '
           f'font-size="11"><rect width="100%" height="100%" fill="white"/>']
    for index, (panel, group) in enumerate(panels.items()):
        out += draw_panel(WIDTH * (index % columns) + LEFT, HEIGHT * (index // columns) + TOP, f"{panel}: {unit}",
                          group, style, most)
    for i, name in enumerate(names):
        x, y, (colour, dash) = WIDTH * columns + 10, TOP + 15 * i, style[name]
        out.append(f'<path d="M{x} {y}h18" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
                   f'<text x="{x + 24}" y="{y + 4}">{html.escape(name)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def draw_panel(x0: int, y0: int, heading: str, group: dict, style: dict, most: float | None) -> list[str]:
    w, h = WIDTH - LEFT - 20, HEIGHT - TOP - 34
    lengths = sorted({x for points in group.values() for x, _ in points})
    top = most or max(y for points in group.values() for _, y in points) * 1.05
    low, high = math.log2(lengths[0]), math.log2(lengths[-1])
    place = lambda n, y: (x0 + (math.log2(n) - low) / (high - low) * w, y0 + h * (1 - min(y, top) / top))
    out = [f'<text x="{x0}" y="{y0 - 12}" font-size="13">{html.escape(heading)}</text>',
           f'<path d="M{x0} {y0}V{y0 + h}H{x0 + w}" fill="none" stroke="#444"/>']
    for share in (0.25, 0.5, 0.75, 1.0):
        y = y0 + h * (1 - share)
        out.append(f'<text x="{x0 - 4}" y="{y + 4:.0f}" text-anchor="end">{top * share:.4g}</text>'
                   f'<path d="M{x0} {y:.1f}H{x0 + w}" stroke="#ddd"/>')
    for n in lengths:
        label = f"{n // 1024}k" if n >= 8192 and n % 1024 == 0 else str(n)
        out.append(f'<text x="{place(n, 0)[0]:.0f}" y="{y0 + h + 14}" text-anchor="middle">{label}</text>')
    for name, points in group.items():
        colour, dash = style[name]
        at = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        wide = 2.5 if name.startswith("octavo") else 1.3
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{wide}" '
                   f'stroke-dasharray="{dash}"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in at]
    return out
