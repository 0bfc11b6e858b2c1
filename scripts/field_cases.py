#!/usr/bin/env python3
"""Kinds of input that were reported to break quantized attention, as their smallest examples: error by recipe.

    field_cases.py [--recipe TEXT ...] [--gate TEXT] [--write] [--only LETTER ...]

Prints one Markdown row for each case, with a column for each recipe (default: int8_fast, int8 and "bf16 attention",
scripts/bf16_attention.py): relative L2 against attention in double on what the row depends on, in per cent; in kind E
the largest error of one element, relative to that element; in kind G the error relative to the output without V's mean.
In kind A the error of the same call without the hidden or stray rows is in brackets, and the bar is 1.5 times that.
--gate exits with 1 if a recipe misses a bar. --write updates the table of docs/recipes.md. Needs the Python package;
runs on the fastest kernels, and other kernels may differ in the last digit. Ten seconds on one core.
"""

import argparse
import pathlib
import sys

import numpy as np
from bf16_attention import NAME as BF16
from bf16_attention import bf16_attention
from page_parts import replaced
from recipe_figures import digits

import octavo

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
MARKS = "<!-- scripts/field_cases.py -->\n", "\n<!-- end of field_cases -->"


def normal(*shape, seed):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def operands(rows, keys, dim, seed=0):
    """Q [1, rows, 1, dim], K and V [1, keys, 1, dim] of N(0, 1)."""
    return (normal(1, rows, 1, dim, seed=seed), normal(1, keys, 1, dim, seed=seed + 1),
            normal(1, keys, 1, dim, seed=seed + 2))


def in_double(q, k, v, visible):
    """visible [M, N]: what row i sees; hidden keys are left out, whatever they hold."""
    q, k, v = (x[0, :, 0].astype(np.float64) for x in (q, k, v))
    out = np.zeros((len(q), v.shape[1]))
    for i, sees in enumerate(visible):
        scores = k[sees] @ q[i] / np.sqrt(q.shape[1])
        weights = np.exp(scores - scores.max())
        out[i] = weights @ v[sees] / weights.sum()
    return out


class Case:
    """A call, and its error.

    seen [N]: the keys that exist, if not all; hide: how the call is told ("mask", "key_mask", "kv_lens"); rows: the
    output rows that count; clean: the same call without what must not matter; measure: what the error is relative to.
    """

    def __init__(self, q, k, v, causal=False, seen=None, hide=None, rows=slice(None), clean=None, measure="l2"):
        self.measure, self.clean, self.rows, self.seen = measure, clean, rows, seen
        self.q, self.k, self.v, self.causal, self.hide = q, k, v, causal, hide
        count, keys = q.shape[1], k.shape[1]
        self.visible = np.tri(count, keys, keys - count, dtype=bool) if causal else np.ones((count, keys), bool)
        if seen is not None:
            self.visible &= seen
        self.expected = in_double(q, k, v, self.visible)[self.rows]

    def call(self, recipe):
        if recipe == BF16:
            q, k, v = (self.q, self.k, self.v)
            if self.seen is not None:
                k, v = k[:, self.seen], v[:, self.seen]
            return bf16_attention(q, k, v, self.causal)[0, :, 0][self.rows]
        options = {"causal": self.causal, "recipe": recipe}
        if self.hide == "mask":
            options["mask"] = np.ascontiguousarray(self.visible)
        elif self.hide == "key_mask":
            options["key_mask"] = np.array(self.seen)[None]
        elif self.hide == "kv_lens":
            options["kv_lens"] = np.array([np.count_nonzero(self.seen)], np.int32)
        return octavo.attention(self.q, self.k, self.v, **options)[0, :, 0][self.rows]

    def error(self, recipe):
        """Per cent."""
        difference = self.call(recipe) - self.expected
        if self.measure == "element":
            return 100 * np.max(np.abs(difference) / np.abs(self.expected))
        whole = self.expected
        if self.measure == "without mean":
            whole = whole - self.v[0, :, 0].astype(np.float64).mean(axis=0)
        return 100 * np.linalg.norm(difference) / np.linalg.norm(whole)


def kind_a():
    """What a row cannot see, or one stray row, reaches other rows."""
    for hide in ("mask", "key_mask", "kv_lens"):
        cases = []
        seen = np.arange(40) < 30
        q, k, v = operands(40, 40, 64)
        clean = Case(q, k, v, seen=seen, hide=hide)
        for junk in (100, 1e4, 1e20, 3e38, np.nan, np.inf):
            stray_k, stray_v = k.copy(), v.copy()
            stray_k[:, 30:], stray_v[:, 30:] = junk, junk
            cases += [Case(q, *pair, seen=seen, hide=hide, clean=clean) for pair in ((stray_k, v), (k, stray_v))]
        yield f"10 of 40 keys hidden by {hide}; their K or V is 100, 1e4, 1e20, 3e38, NaN, inf (the worst)", None, cases
    q, k, v = operands(100, 100, 64)
    clean = Case(q, k, v, causal=True, rows=slice(99))
    stray_k, stray_v, stray_q = k.copy(), v.copy(), q.copy()
    stray_k[:, 99], stray_v[:, 99], stray_q[:, 50:] = 1e4, 1e20, 100
    yield "causal, the last of 100 keys is 1e4: the other 99 rows", None, [
        Case(q, stray_k, v, causal=True, rows=slice(99), clean=clean)]
    yield "causal, the last of 100 values is 1e20: the other 99 rows", None, [
        Case(q, k, stray_v, causal=True, rows=slice(99), clean=clean)]
    yield "50 of 100 query rows are 100: the other 50", None, [
        Case(stray_q, k, v, rows=slice(50), clean=Case(q, k, v, rows=slice(50)))]
    q, k, v = operands(50, 4096, 64)
    k += 5 * normal(64, seed=9)
    clean = Case(q, k[:, :200], v[:, :200])
    k[:, 200:], v[:, 200:] = 0, 0
    yield "200 used slots of 4096, the rest zeros behind a mask; K with a common vector", None, [
        Case(q, k, v, seen=np.arange(4096) < 200, hide="mask", clean=clean)]


def kind_b():
    """A coherent tail of weights below half a code."""
    w = normal(64, seed=5)
    for rows, keys, leader in ((128, 128, 0), (77, 77, 38), (1024, 1024, 512), (4096, 4096, 2048), (1, 128, 64)):
        q, k = np.zeros((1, rows, 1, 64), np.float32), np.zeros((1, keys, 1, 64), np.float32)
        v = np.tile(w, (1, keys, 1, 1))
        q[..., 0], k[0, leader, 0, 0], v[0, leader] = 1, 6.3 * 8, -w
        text = f"{keys} keys k = 0, v = w but key {leader}, which leads by 6.3 nats, v = -w; {rows} row"
        yield text + "s" * (rows > 1), 3, [Case(q, k, v)]


def kind_c():
    """K's bias turns with the position, as Qwen2's under RoPE."""
    for strength, bar in ((50, 2.5), (150, 4), (400, 8)):
        for dim in (128, 64):
            q, k, v = operands(2048, 2048, dim)
            position = np.arange(2048, dtype=np.float32)
            for pair, frequency in enumerate((0.0024, 0.0015, 0.0008)):
                k[0, :, 0, 2 * pair] += strength * np.cos(position * frequency)
                k[0, :, 0, 2 * pair + 1] += strength * np.sin(position * frequency)
            yield f"K bias of {strength} under RoPE, 2048 tokens, causal, D {dim}", bar, [Case(q, k, v, causal=True)]


def kind_d():
    """Odd head sizes with a strong last channel: the last rotation block is small."""
    for dim in (65, 72, 80, 96, 129):
        q, k, v = operands(512, 512, dim)
        k[..., -1] *= 30
        q[..., -1] /= 3
        yield f"D {dim}, the last channel of K x 30, of Q / 3", 4, [Case(q, k, v)]


def kind_e():
    """V is constant: every output element is that constant."""
    for keys, causal in ((1, False), (100, False), (1000, True)):
        q, k, v = operands(keys, keys, 128)
        text = f"V = 1, {keys} key{'s' * (keys > 1)}{', causal' * causal}, D 128: the worst element"
        yield text, 0.5, [Case(q, k, np.ones_like(v), causal=causal, measure="element")]


def kind_f():
    """Two near copies of a key with scores of 120 nats."""
    q, k, v = operands(64, 64, 64)
    common = normal(64, seed=7)
    copy = normal(64, seed=8)
    copy -= common * (copy @ common) / (common @ common)
    q[:] = common + 0.1 * q
    k[0, 0, 0] = common * 120 * 8 / (common @ common)
    k[0, 1, 0] = k[0, 0, 0] + copy
    yield "two near copies of a key at 120 nats (8-bit scores; no bar)", None, [Case(q, k, v)]


def kind_g():
    """V with a large common mean: the part that is not the mean."""
    for factor in (3, 10):
        q, k, v = operands(1024, 1024, 128)
        v += factor * normal(128, seed=6)
        yield f"V = N(0, 1) + {factor} x a common vector, 1024 keys: the part without the mean", 4, [
            Case(q, k, v, measure="without mean")]


KINDS = {"A": kind_a, "B": kind_b, "C": kind_c, "D": kind_d, "E": kind_e, "F": kind_f, "G": kind_g}


def figure(x):
    return f"{x:.0e}" if x >= 1e5 or 0 < x < 0.005 else "0" if x == 0 else digits(x)


def table(recipes, kinds, gate=None):
    """Lines of the table; and what the recipe `gate` misses."""
    labels = [recipe if recipe == BF16 else f"`{recipe}`" for recipe in recipes]
    yield f"| kind | input | bar | {' | '.join(labels)} |", None
    yield "|---|---|--:|" + "--:|" * len(recipes), None
    for kind in kinds:
        for text, bar, cases in KINDS[kind]():
            cells, missed = [], None
            for recipe in recipes:
                error = np.max([case.error(recipe) for case in cases])  # NaN is the maximum
                cells.append(figure(error))
                limit = bar
                if cases[0].clean:
                    clean = cases[0].clean.error(recipe)
                    cells[-1] += f" ({figure(clean)})"
                    limit = 1.5 * clean
                if recipe == gate and limit is not None and not error <= limit:
                    missed = f"{kind}: {text}: {error:.3g} %; bar {limit:.3g} %"
            shown = "1.5 x" if cases[0].clean else "-" if bar is None else f"{bar:g}"
            yield f"| {kind} | {text} | {shown} | {' | '.join(cells)} |", missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", metavar="TEXT", help="instead of the default columns")
    parser.add_argument("--gate", metavar="TEXT", help="the recipe that must meet the bars")
    parser.add_argument("--only", action="append", choices=KINDS, help="these kinds; may be repeated")
    parser.add_argument("--write", action="store_true", help="put the table into docs/recipes.md")
    arguments = parser.parse_args()
    recipes = [r if r == BF16 else str(octavo.recipe(r)) for r in arguments.recipe or ("int8_fast", "int8", BF16)]
    gate = arguments.gate and str(octavo.recipe(arguments.gate))
    recipes += [gate] if gate and gate not in recipes else []
    lines, failures = [], []
    for line, missed in table(recipes, arguments.only or KINDS, gate):
        print(line, flush=True)
        lines.append(line)
        failures += [missed] if missed else []
    if arguments.write:
        PAGE.write_text(replaced(PAGE.read_text(), *MARKS, "\n".join(lines)))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
