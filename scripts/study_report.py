"""What the studies in Python write: the same files as `octavo study` does, with its columns, marks and bars.

    NAME.json, NAME_TABLE.csv, NAME_PLOT.svg, NAME.md (the parts that scripts/study_pages.py puts into the page)
"""

import csv
import html
import json
import math

COLOURS = ("#2f7fd1", "#d1495b", "#2a9d6f", "#c98a10", "#8a63c9", "#12a0b0", "#b85c9e", "#7f8c3a", "#a0653a", "#7a828c")
STYLE = ("<style>text{font:12px sans-serif;fill:#333}.t{font-size:15px}.a{stroke:#777;fill:none}.g{stroke:#8884;"
         "fill:none}.b{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ccc}.b{fill:#14181d}}</style>")


def short(value):
    """Three significant digits, as on the other pages."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, (int, float)):
        return str(value)
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.00995 or size >= 1e6:
        return f"{value:.1e}"
    return f"{value:.3f}" if size < 0.995 else f"{value:.2f}" if size < 9.995 else (
        f"{value:.1f}" if size < 99.95 else f"{value:.0f}")


class Table:
    """rows: dicts of the same keys; columns: key -> heading on the page (None: only in the CSV)."""

    def __init__(self, name, caption, columns, rows=(), digits=None):
        self.name, self.caption, self.columns, self.rows = name, caption, columns, list(rows)
        self.digits = digits or {}

    def cell(self, key, value):
        return self.digits[key].format(value) if key in self.digits and value is not None else short(value)

    def markdown(self):
        shown = {key: heading for key, heading in self.columns.items() if heading is not None}
        rule = ("---" if isinstance(self.rows[0][key], str) else "--:" for key in shown)
        lines = [f"| {' | '.join(shown.values())} |", f"|{'|'.join(rule)}|"]
        lines += [f"| {' | '.join(self.cell(key, row[key]) for key in shown)} |" for row in self.rows]
        return "\n".join(lines)


def bar(text, value, limit):
    return {"bar": text, "value": value, "at_most": limit, "holds": bool(value <= limit)}


def lines_svg(title, x_label, y_label, series):
    """series: name -> [(x, y)], y > 0 on a logarithmic axis, x from 1 on a linear one."""
    left, top, right, bottom = 66, 40, 586, max(380, 60 + 18 * len(series)) - 46
    width = right + 46 + 6.6 * max(map(len, series))
    points = [point for line in series.values() for point in line if point[1] > 0]
    low, high = (step(math.log10(f(y for _, y in points))) for f, step in ((min, math.floor), (max, math.ceil)))
    most = max(x for x, _ in points)
    place = lambda x, y: (left + (x - 1) / max(most - 1, 1) * (right - left),
                          bottom - (math.log10(y) - low) / max(high - low, 1) * (bottom - top))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom + 46}">{STYLE}',
           '<rect class="b" width="100%" height="100%"/>',
           f'<text x="14" y="22" class="t">{html.escape(title)}</text>']
    for power in range(low, high + 1):
        y = place(1, 10**power)[1]
        out.append(f'<path class="g" d="M{left} {y:.1f}H{right}"/><text x="{left - 6}" y="{y + 4:.1f}" '
                   f'text-anchor="end">{10**power:g}</text>')
    for x in range(5, int(most) + 1, 5):
        out.append(f'<text x="{place(x, 10**low)[0]:.1f}" y="{bottom + 18}" text-anchor="middle">{x}</text>')
    out.append(f'<path class="a" d="M{left} {top}V{bottom}H{right}"/><text x="{(left + right) / 2}" y="{bottom + 36}" '
               f'text-anchor="middle">{html.escape(x_label)}</text><text text-anchor="middle" transform="translate(16 '
               f'{(top + bottom) / 2}) rotate(-90)">{html.escape(y_label)}</text>')
    for i, (name, line) in enumerate(series.items()):
        at = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line if y > 0)
        y, dash = top + 8 + 18 * i, "" if i < len(COLOURS) else "6 3"
        stroke = f'fill="none" stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="2" stroke-dasharray="{dash}"'
        out.append(f'<polyline points="{at}" {stroke}/><path d="M{right + 12} {y}h20" {stroke}/>'
                   f'<text x="{right + 38}" y="{y + 4}">{html.escape(name)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def as_json(table):
    return {"name": table.name, "caption": table.caption, "columns": table.columns, "digits": table.digits,
            "rows": table.rows}


def write_parts(folder, study, question, method, order, found, **about):
    """Writes a study of parts. Those that were not run are kept from folder/STUDY.json, if it was as quick."""
    path = folder / f"{study}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    kept = before.get("parts", {}) if before.get("quick") == about.get("quick") else {}
    parts = {}
    for name in order:
        if name in found:
            part = found[name]
            parts[name] = {"answer": part.get("answer", ""), "bars": part.get("bars", []),
                           "tables": [as_json(table) for table in part["tables"]]}
            for plot, text in part.get("plots", {}).items():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{study}_{plot}.svg").write_text(text)
        elif name in kept:
            parts[name] = kept[name]
    tables = [Table(t["name"], t["caption"], t["columns"], t["rows"], t["digits"]) for part in parts.values()
              for t in part["tables"]]
    answer = " ".join(part["answer"] for part in parts.values() if part["answer"])
    bars = [b for part in parts.values() for b in part["bars"]]
    return write(folder, study, question, answer, method, tables, bars, parts=parts, **about)


def write(folder, study, question, answer, method, tables, bars, **about):
    """Writes all files but plots; returns whether every bar holds. `about` joins the JSON: quick, machine ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        with open(folder / f"{study}_{table.name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(table.columns), lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: f"{x:.9g}" if isinstance(x, float) else x for key, x in row.items()}
                             for row in table.rows)
    data = {"schema_version": 1, "kind": "study", "study": study, "question": question, **about, "method": method,
            "answer": answer, "bars": bars, "tables": [as_json(table) for table in tables]}
    (folder / f"{study}.json").write_text(json.dumps(data, indent=1) + "\n")
    sections = {"answer": answer, "method": method}
    if bars:
        rows = [f"| {b['bar']} | {short(b['value'])} | <= {short(b['at_most'])} | {'yes' if b['holds'] else '**no**'} |"
                for b in bars]
        sections["bars"] = "\n".join(["| bar | measured | limit | holds |", "|---|--:|--:|---|", *rows])
    for table in tables:
        if any(heading is not None for heading in table.columns.values()):
            sections[table.name] = (table.caption + "\n\n" if table.caption else "") + table.markdown()
    marked = [f"<!-- octavo study {study}: {part} -->\n{text}\n<!-- end of {part} -->\n"
              for part, text in sections.items()]
    (folder / f"{study}.md").write_text("".join(marked))
    return all(b["holds"] for b in bars)
