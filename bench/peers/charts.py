"""Speed against sequence length as an SVG, drawn without any library: one panel for each head size and mask."""

from __future__ import annotations

import math

COLOURS = ["#0b6e4f", "#c1292e", "#235789", "#e08e0b", "#7d5ba6", "#4f7cac", "#8a8d91", "#b3589a", "#2f9c95", "#64513b",
           "#a0a83c", "#d1603d", "#5b5b5b", "#1b998b"]


def speed_against_length(results: list[dict]) -> str:
    panels: dict[tuple, list[dict]] = {}
    for result in results:
        s = result["shape"]
        panels.setdefault((s["head_dim"], s["causal"]), []).append(result)
    names = list(dict.fromkeys(name for r in results for name, e in r["contenders"].items() if "gops" in e))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    width, height, left, top = 330, 240, 52, 36
    total = width * len(panels) + 190
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height + 20}" font-family="sans-serif" '
           f'font-size="11"><rect width="100%" height="100%" fill="white"/>']
    for index, ((dim, causal), group) in enumerate(panels.items()):
        x0, w, h = index * width + left, width - left - 20, height - top - 36
        lengths = sorted({r["shape"]["seqlen_k"] for r in group})
        most = max(e["gops"] for r in group for e in r["contenders"].values() if "gops" in e) * 1.05
        low, high = math.log2(lengths[0]), math.log2(lengths[-1])

        def at(n: int, gops: float) -> tuple[float, float]:
            share = (math.log2(n) - low) / (high - low) if high > low else 0.5
            return x0 + share * w, top + h * (1 - gops / most)

        out.append(f'<text x="{x0}" y="{top - 14}" font-size="13">D {dim}{", causal" if causal else ""}: Gop/s</text>')
        out.append(f'<path d="M{x0} {top}V{top + h}H{x0 + w}" fill="none" stroke="#444"/>')
        for share in (0.25, 0.5, 0.75, 1.0):
            y = top + h * (1 - share / 1.05)
            out.append(f'<text x="{x0 - 4}" y="{y + 4:.0f}" text-anchor="end">{most / 1.05 * share:.0f}</text>')
            out.append(f'<path d="M{x0} {y:.1f}H{x0 + w}" stroke="#ddd"/>')
        for n in lengths:
            out.append(f'<text x="{at(n, 0)[0]:.0f}" y="{top + h + 14}" text-anchor="middle">{n}</text>')
        for name in names:
            points = sorted((r["shape"]["seqlen_k"], r["contenders"][name]["gops"]) for r in group
                            if "gops" in r["contenders"].get(name, {}))
            if not points:
                continue
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in points))
            wide = 2.5 if name.startswith("octavo") else 1.2
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour[name]}" stroke-width="{wide}"/>')
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour[name]}"/>' for x, y in
                    (at(*p) for p in points)]
    for i, name in enumerate(names):
        x, y = width * len(panels) + 12, top + 15 * i
        out.append(f'<rect x="{x}" y="{y - 8}" width="10" height="10" fill="{colour[name]}"/>'
                   f'<text x="{x + 15}" y="{y + 1}">{name}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
