#!/usr/bin/env python3
"""Errors of each head of a capture, with recipes that isolate single steps of the schemes.

    head_errors.py [FILE.safetensors ...] [--heads] [--recipe TEXT ...] [--limit RECIPE:MEDIAN,WORST]

FILE holds L<layer>.q [Hq, N, D], .k and .v [Hkv, N, D], f16 or f32, of any layers; default: data/. Attention is causal
unless the file's metadata has causal = "0" (scripts/capture_models.py writes it). Prints one Markdown row for each
scheme: relative L2 of a head's output against attention in double, the median, the 99th percentile and the worst of all
heads. Several files make one table of "median / worst", a column for each.

--heads adds every head's figure, --recipe replaces the schemes; the name "bf16 attention" is attention with Q, K, V, P
and O rounded to bf16 (scripts/bf16_attention.py). --limit exits with 1 if a scheme's median or worst head exceeds it in
a file. Needs the Python package; runs on the fastest kernels that serve a recipe (their rounding is a fiftieth of a
recipe's error), else on the oracle. Four minutes of one core for five layers of nine heads.
"""

import argparse
import pathlib
import sys

import numpy as np
from bf16_attention import NAME as BF16
from bf16_attention import bf16_attention
from recipe_figures import DATA, digits, exact, layers_of

import octavo


def changed(recipe, fields):
    """A recipe's text with fields that may stand in it already: the grammar takes each once."""
    preset, *given = recipe.split(",")
    return ",".join([preset, *map("=".join, dict(f.split("=") for f in (*given, *fields.split(","))).items())])


PLAIN = "int8_fast,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off"
FLOAT_QK = "scores=input,q_scale=none,k_scale=none,hadamard=off,smooth_q=off,smooth_k=off"
FLOAT_PV = "p=input,p_range=1,p_reference=running,values=input,v_scale=none,hadamard_v=off"
QK = f"int8_fast,{FLOAT_PV},smooth_q=off,smooth_k=off,hadamard=off"

SCHEMES = [
    BF16,
    "int8",
    "int8_fast",
    "exact,accumulator=sm90",
    # INT-FlashAttention, and with one field changed
    "int_flash",
    "int_flash,p_reference=block",
    "int_flash,row_sum=weights",
    "int_flash,p=input,p_range=1,row_sum=weights",
    "int_flash,values=input,v_scale=none",
    "int_flash_half",
    # the fold
    PLAIN,
    changed(PLAIN, "key_block=64"),
    changed(PLAIN, "key_block=256"),
    changed(PLAIN, "key_block=1024"),
    changed(PLAIN, "p=s8,p_range=127"),
    changed(PLAIN, "p_reference=running"),
    changed(PLAIN, "smooth_k=on"),
    changed(PLAIN, "smooth_k=on,key_block=64"),
    changed(PLAIN, "smooth_k=on,hadamard=on"),
    changed(PLAIN, "smooth_k=on,smooth_q=on"),
    "int8_fast,hadamard_v=off",
    changed(PLAIN, "v_scale=block_channel"),
    changed(PLAIN, "v_scale=block_channel,key_block=64"),
    changed(PLAIN, "v_scale=channel"),
    changed(PLAIN, "v_scale=channel,row_sum=codes"),
    # SageAttention2
    "sage2_8b",
    "sage2_8b,q_scale=block,k_scale=block",
    "sage2_8b,q_scale=block,k_scale=block,smooth_k=off",
    "sage2_4b",
    "sage2_4b,smooth_q=off",
    "sage2_4b,smooth_q=off,smooth_k=off",
    "sage2_4b,q_scale=token,k_scale=token",
    # 8-bit floats, 4 bits
    "fp8_e4m3",
    "fp8_e5m2",
    "int4,hadamard_v=off",
    changed(PLAIN, "scores=s4"),
    changed(PLAIN, "scores=s4,values=s4"),
    changed(PLAIN, "smooth_k=on,smooth_q=on,scores=s4"),
    "int_flash_int4",
    # the second product alone
    f"int8_fast,{FLOAT_QK},values=input,v_scale=none,hadamard_v=off",
    f"int8_fast,{FLOAT_QK},hadamard_v=off",
    f"int8_fast,{FLOAT_QK}",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,key_block=64",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,key_block=256",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,key_block=1024",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,p=s8,p_range=127",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,p_reference=running",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,p=input,p_range=1",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,v_scale=token",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,v_scale=block_channel",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,v_scale=channel",
    f"int8_fast,{FLOAT_QK},hadamard_v=off,v_scale=tensor",
    f"int_flash,{FLOAT_QK}",
    f"sage2_8b,{FLOAT_QK}",
    # the first product alone
    changed(QK, "hadamard=on,smooth_k=on,smooth_q=on"),
    changed(QK, "hadamard=on,smooth_k=on"),
    changed(QK, "hadamard=on"),
    changed(QK, "smooth_k=on"),
    changed(QK, "smooth_k=on,q_scale=thread,k_scale=thread"),
    changed(QK, "smooth_k=on,q_scale=block,k_scale=block"),
    changed(QK, "q_scale=block,k_scale=block"),
    changed(QK, "scores=s4"),
    changed(QK, "scores=s4,smooth_k=on"),
    changed(QK, "scores=s4,smooth_k=on,hadamard=on"),
    changed(QK, "scores=s4,smooth_k=on,smooth_q=on"),
    changed(QK, "scores=s4,smooth_k=on,smooth_q=on,hadamard=on"),
    changed(QK, "scores=s4,smooth_k=on,smooth_q=on,q_scale=thread,k_scale=thread"),
    changed(QK, "scores=e4m3,q_scale=tensor,k_scale=tensor"),
    changed(QK, "scores=e4m3,q_scale=tensor,k_scale=tensor,hadamard=on"),
    changed(QK, "scores=e4m3,q_scale=tensor,k_scale=tensor,smooth_k=on"),
]


def scheme_of(text):
    """Its one spelling, by which rows and limits are matched."""
    return BF16 if text == BF16 else str(octavo.recipe(text))


def attention(q, k, v, causal, scheme):
    if scheme == BF16:
        return bf16_attention(q, k, v, causal)
    if octavo.recipe(scheme).accumulator != "f32":  # what a tensor core multiplies has 16 bits
        import ml_dtypes

        q, k, v = (x.astype(ml_dtypes.bfloat16) for x in (q, k, v))
        return octavo.reference.attention(q, k, v, recipe=scheme, causal=causal, out_dtype="float32")
    try:
        return octavo.attention(q, k, v, recipe=scheme, causal=causal)
    except NotImplementedError:
        return octavo.reference.attention(q, k, v, recipe=scheme, causal=causal)


def errors(layers, truth, scheme):
    """Relative L2 of every head, per cent: "L14.h2" -> error."""
    of_heads = {}
    for name, problem in layers.items():
        difference = attention(*problem, scheme) - truth[name]
        norms = (np.sqrt(np.square(x).sum(axis=(0, 1, 3))) for x in (difference, truth[name]))
        of_heads |= {f"{name}.h{head}": 100 * error / norm for head, (error, norm) in enumerate(zip(*norms))}
    return of_heads


def limits_of(texts):
    """RECIPE:MEDIAN,WORST -> scheme -> (median, worst)."""
    limits = {}
    for text in texts:
        scheme, _, figures = text.rpartition(":")
        median, _, worst = figures.partition(",")
        limits[scheme_of(scheme)] = float(median), float(worst or "inf")
    return limits


class Capture:
    """A file's layers and their exact outputs."""

    def __init__(self, path):
        self.name = pathlib.Path(path).stem
        self.layers = layers_of(path)
        self.truth = {name: exact(*problem)[0] for name, problem in self.layers.items()}
        print(f"{sum(o.shape[2] for o in self.truth.values())} heads of {path}", flush=True)

    def errors(self, scheme):
        return errors(self.layers, self.truth, scheme)


def summary(of_heads):
    """Median, 99th percentile, worst of the heads' errors."""
    figures = list(of_heads.values())
    return np.median(figures), np.percentile(figures, 99), max(figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", default=[DATA])
    parser.add_argument("--heads", action="store_true", help="every head's error below its recipe")
    parser.add_argument("--recipe", action="append", metavar="TEXT", help="instead of the schemes; may be repeated")
    parser.add_argument("--limit", action="append", default=[], metavar="RECIPE:MEDIAN,WORST",
                        help="largest errors allowed, per cent; may be repeated")
    arguments = parser.parse_args()
    limits = limits_of(arguments.limit)
    schemes = [scheme_of(text) for text in arguments.recipe or SCHEMES]
    schemes += [scheme for scheme in limits if scheme not in schemes]
    captures = [Capture(path) for path in arguments.files]
    if len(captures) == 1:
        print("\n| recipe | median % | p99 % | worst % | in head |\n|---|--:|--:|--:|---|")
    else:
        print("\n| recipe, median / worst % | " + " | ".join(capture.name for capture in captures) + " |")
        print("|---|" + "--:|" * len(captures))
    failures = []
    for scheme in schemes:
        of_files = [capture.errors(scheme) for capture in captures]
        cells = []
        for capture, of_heads in zip(captures, of_files):
            median, p99, worst = summary(of_heads)
            if len(captures) == 1:
                cells += [digits(median), digits(p99), digits(worst), max(of_heads, key=of_heads.get)]
            else:
                cells.append(f"{digits(median)} / {digits(worst)}")
            for what, error, limit in zip(("median", "worst"), (median, worst), limits.get(scheme, ())):
                if not error <= limit:
                    failures.append(f"{capture.name}: {scheme}: {what} error {error:.3f} %; at most {limit} %")
        label = scheme if scheme == BF16 else f"`{scheme}`"
        print(f"| {label} | {' | '.join(cells)} |", flush=True)
        if arguments.heads:
            for of_heads in of_files:
                print("  " + " ".join(f"{name} {digits(error)}" for name, error in of_heads.items()))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
