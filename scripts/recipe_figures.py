#!/usr/bin/env python3
"""The figures of docs/recipes.md: relative L2 errors against attention in double, by the implementation "reference".

    recipe_figures.py [--write] [recipes] [options] [length] [accumulators]

Prints the tables named (default: all), or with --write puts them between their marks in docs/recipes.md. Needs the
Python package; no figure depends on the machine. About five minutes on one core.
"""

import argparse
import functools
import json
import pathlib
import re

import numpy as np
from page_parts import replaced

import octavo

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "recipes.md"
DATA = ROOT / "data" / "smollm2_qkv_small.safetensors"

OPTIONS = (
    "int8",
    "int8_fast",
    "int8_fast,key_block=64",
    "int8_fast,p=s8,p_range=127",
    "int8_fast,p_reference=running",
    "int8_fast,smooth_q=off",
    "int8_fast,smooth_q=off,smooth_k=off",
    "int8_fast,hadamard=off",
    "int8_fast,hadamard_v=off",
    "int8_fast,smooth_q=off,smooth_k=off,hadamard=off,hadamard_v=off",
    "int8_fast,v_scale=tensor",
    "int8_fast,v_scale=block_channel",
    "int8_fast,channel_gains=on",
    "int_flash",
    "int_flash,row_sum=weights",
    "int_flash,p_reference=block",
    "int_flash_int4",
    "int_flash_int4,p=u8,p_range=255",
    "sage1",
    "sage1,accumulator=f16,key_block=64",
    "sage2pp",
    "sage2pp,p_range=224,v_range=4.5",
)
LENGTHS = (1024, 4096, 16384, 65536)
ACCUMULATOR_LENGTHS = (1024, 4096, 16384)
ACCUMULATORS = tuple(
    f"{recipe},accumulator={accumulator}" if accumulator else recipe
    for recipe in ("fp8_e4m3", "sage2_8b")
    for accumulator in ("", "sm89", "sm89,two_level=off", "sm90", "sm90,two_level=off", "sm100,two_level=off")
)
LENGTH_RECIPES = ("int8", "int8_fast", "int8_fast,p_reference=running", "int_flash", "int_flash_half", "sage2_8b")


def normal(rows, keys, heads, dim, seed=1):
    """Q [1, rows, heads, dim], K and V [1, keys, heads, dim] of N(0, 1)."""
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((1, count, heads, dim), dtype=np.float32) for count in (rows, keys, keys))


@functools.cache
def gaussian():
    return [(*normal(256, 4096, 2, 128), False)]


@functools.cache
def sink():
    """The scores of key 0 exceed the others by about 8 nats, along a direction common to all queries; its value is a
    fiftieth of theirs."""
    q, k, v = normal(256, 4096, 2, 128)
    dim = q.shape[-1]
    direction = np.where(np.arange(dim) % 3 == 0, -1, 1) / np.sqrt(np.float32(dim))
    q += (4 * direction).astype(np.float32)
    k[:, 0] = 8 * np.sqrt(dim) / 4 * direction
    v[:, 0] /= 50
    return [(q, k, v, False)]


def layers_of(path):
    """The layers of a capture (data/README.md): "L14" -> Q [1, N, Hq, D], K and V [1, N, Hkv, D] in f32, and whether
    attention is causal: it is unless the file's metadata has causal = "0"."""
    raw = pathlib.Path(path).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    causal = header.get("__metadata__", {}).get("causal", "1") != "0"

    def tensor(name):
        begin, end = (8 + size + offset for offset in header[name]["data_offsets"])
        dtype = {"F16": np.float16, "F32": np.float32}[header[name]["dtype"]]
        heads = np.frombuffer(raw[begin:end], dtype).reshape(header[name]["shape"])
        return np.ascontiguousarray(heads.swapaxes(0, 1)[None], dtype=np.float32)

    layers = sorted(int(name[1:-2]) for name in header if re.fullmatch(r"L\d+\.q", name))
    return {f"L{layer}": (*(tensor(f"L{layer}.{role}") for role in "qkv"), causal) for layer in layers}


@functools.cache
def captured():
    """The layers of data/: Q [1, 2048, 3, 64], K and V [1, 2048, 1, 64], causal."""
    return list(layers_of(DATA).values())


def exact(q, k, v, causal):
    """Attention in double: O [1, M, Hq, Dv] and the log-sum-exp [1, Hq, M]."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    (batch, rows, heads, dim), (_, keys, kv_heads, value_dim) = q.shape, v.shape
    out, lse = np.empty((batch, rows, heads, value_dim)), np.empty((batch, heads, rows))
    hidden = np.arange(keys)[None, :] > np.arange(rows)[:, None] + keys - rows if causal else None
    for b, h in np.ndindex(batch, heads):
        shared = h // (heads // kv_heads)
        scores = q[b, :, h] @ k[b, :, shared].T / np.sqrt(dim)
        if causal:
            scores[hidden] = -np.inf
        largest = scores.max(axis=-1)
        weights = np.exp(scores - largest[:, None])
        total = weights.sum(axis=-1)
        out[b, :, h] = weights @ v[b, :, shared] / total[:, None]
        lse[b, h] = largest + np.log(total)
    return out, lse


@functools.cache
def truth(problems):
    return [exact(*problem) for problem in problems()]


@functools.cache
def errors(problems, recipe):
    """In per cent of the exact norm: the error of each head, and of the worst row of all; the worst row's error of the
    LSE, in nats."""
    of_heads, worst_row, worst_lse = [], 0.0, 0.0
    for (q, k, v, causal), (o_exact, lse_exact) in zip(problems(), truth(problems)):
        o, lse = octavo.reference.attention(q, k, v, recipe=recipe, causal=causal, return_lse=True)
        difference = o - o_exact
        norm = np.linalg.norm
        of_heads += [100 * norm(difference[:, :, h]) / norm(o_exact[:, :, h]) for h in range(q.shape[2])]
        worst_row = max(worst_row, 100 * np.max(norm(difference, axis=-1) / norm(o_exact, axis=-1)))
        worst_lse = max(worst_lse, np.abs(lse - lse_exact).max())
    return of_heads, worst_row, worst_lse


def digits(x):
    """Three significant digits, two at most behind the point; what is below that as a power of ten."""
    return f"{x:.0e}" if x < 0.005 else f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def row(recipe):
    heads, worst_row, lse = errors(captured, recipe)
    figures = [np.mean(errors(gaussian, recipe)[0]), np.mean(errors(sink, recipe)[0])]
    figures += [np.median(heads), np.max(heads), worst_row, lse]
    return f"| `{recipe}` | " + " | ".join(digits(figure) for figure in figures) + " |"


HEADER = (
    "| recipe | N(0, 1) % | sink % | data/: median head % | worst head % | worst row % | LSE, worst row, nats |\n"
    "|---|--:|--:|--:|--:|--:|--:|"
)


def recipes_table():
    return "\n".join([HEADER, *(row(recipe) for recipe in octavo.recipes())])


def options_table():
    return "\n".join([HEADER, *(row(recipe) for recipe in OPTIONS)])


def length_table():
    lines = ["| recipe | " + " | ".join(f"N = {keys}" for keys in LENGTHS) + " |", "|---|" + "--:|" * len(LENGTHS)]
    problems = {keys: functools.cache(lambda keys=keys: [(*normal(64, keys, 4, 64), False)]) for keys in LENGTHS}
    for recipe in LENGTH_RECIPES:
        figures = [np.mean(errors(problems[keys], recipe)[0]) for keys in LENGTHS]
        lines.append(f"| `{recipe}` | " + " | ".join(digits(figure) for figure in figures) + " |")
    return "\n".join(lines)


def accumulators_table():
    """V of N(0, 1) and of N(1, 1): a sum that grows with the keys exceeds a short accumulator."""
    columns = [(4096, 0), *((keys, 1) for keys in ACCUMULATOR_LENGTHS)]
    lines = ["| recipe | " + " | ".join(f"V of N({mean}, 1), N = {keys}" for keys, mean in columns) + " |"]
    lines.append("|---|" + "--:|" * len(columns))

    def problem(keys, mean):
        q, k, v = normal(16, keys, 2, 64)
        return [(q, k, v + np.float32(mean), False)]

    problems = [functools.cache(lambda column=column: problem(*column)) for column in columns]
    for recipe in ACCUMULATORS:
        figures = [np.mean(errors(of_column, recipe)[0]) for of_column in problems]
        lines.append(f"| `{recipe}` | " + " | ".join(digits(figure) for figure in figures) + " |")
    return "\n".join(lines)


TABLES = {
    "recipes": recipes_table,
    "options": options_table,
    "length": length_table,
    "accumulators": accumulators_table,
}


def marks(table):
    return f"<!-- scripts/recipe_figures.py {table} -->\n", f"\n<!-- end of {table} -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; default: all")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/recipes.md")
    arguments = parser.parse_args()
    for table in arguments.tables:
        if table not in TABLES:
            parser.error(f"table {table!r} is unknown; allowed: {', '.join(TABLES)}")
    for table in arguments.tables or TABLES:
        text = TABLES[table]()
        print(text, flush=True)
        if arguments.write:
            PAGE.write_text(replaced(PAGE.read_text(), *marks(table), text))


if __name__ == "__main__":
    main()
