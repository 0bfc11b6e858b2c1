#!/usr/bin/env python3
"""Errors of each head of a capture under recipes that take the schemes apart, beside an earlier simulation of them.

    head_errors.py [FILE.safetensors] [--heads] [--recipe TEXT ...]

FILE holds L<layer>.q [Hq, N, D], .k and .v [Hkv, N, D], f16 or f32, of any layers; default: data/. Prints one Markdown
row for each scheme: relative L2 of a head's output against attention in double, the median, the 90th percentile and the
worst of all heads, and what fake quantization in f32 PyTorch, written before and without this library, gave on
SmolLM2-135M (2048 tokens of English prose, D 64): on five heads of each of the layers 0, 7, 14, 21 and 29, and on all
heads of all 30 layers. --heads adds every head's figure, --recipe replaces the schemes. Needs the Python package; runs on
the fastest kernels that serve a recipe (their rounding is a fiftieth of a recipe's error), else on the oracle. Four
minutes of one core for five layers of nine heads.
"""

import argparse

import ml_dtypes
import numpy as np
from recipe_figures import DATA, digits, exact, heads_of

import octavo

PLAIN = "int8,hadamard=off,smooth_q=off,smooth_k=off,hadamard_v=off"
FLOAT_QK = "scores=input,q_scale=none,k_scale=none,hadamard=off,smooth_q=off,smooth_k=off"
FLOAT_PV = "p=input,p_range=1,p_reference=running,values=input,v_scale=none,hadamard_v=off"
QK = f"int8,{FLOAT_PV},smooth_q=off,smooth_k=off,hadamard=off"

# Recipe -> median and worst head of the simulation on the five layers, per cent.
FIVE_LAYERS = {
    "exact,accumulator=sm90": (0.46, 1.00),
    f"int8,{FLOAT_QK},hadamard_v=off,key_block=64": (0.65, 1.00),
    f"int8,{FLOAT_QK},hadamard_v=off": (0.81, 1.21),
    f"int8,{FLOAT_QK},hadamard_v=off,key_block=256": (1.09, 1.87),
    f"int8,{FLOAT_QK}": (0.69, 1.08),
    PLAIN: (1.81, 3.70),
    f"{PLAIN},smooth_k=on,hadamard=on": (1.18, 2.79),
    f"{PLAIN},smooth_k=on,smooth_q=on": (1.15, 1.94),
    "int8,hadamard_v=off": (1.03, 1.54),
    f"{QK},hadamard=on,smooth_k=on,smooth_q=on": (0.50, 1.07),
    f"{PLAIN},smooth_k=on,smooth_q=on,scores=s4": (12.4, 21.3),
    "int4,hadamard_v=off": (9.0, 21.5),
}

# The same on all thirty.
SCHEMES = {
    "exact,accumulator=sm90": (0.57, 1.31),
    # INT-FlashAttention, whole and with one thing changed
    "int_flash": (5.20, 32.81),
    "int_flash,p_reference=block": (3.46, 19.50),
    "int_flash,row_sum=weights": (5.34, 32.34),
    "int_flash,p=input,p_range=1,row_sum=weights": (3.20, 19.50),
    "int_flash,values=input,v_scale=none": (4.75, 31.84),
    "int_flash_half": (2.23, 4.74),
    # the fold
    PLAIN: (2.38, 4.86),
    f"{PLAIN},key_block=64": (2.34, 4.85),
    f"{PLAIN},key_block=256": (2.49, 4.89),
    f"{PLAIN},key_block=1024": (3.08, 11.16),
    f"{PLAIN},p=s8,p_range=127": (2.62, 4.90),
    f"{PLAIN},p_reference=running": (2.87, 15.56),
    f"{PLAIN},smooth_k=on": (2.08, 5.08),
    f"{PLAIN},smooth_k=on,key_block=64": (2.02, 5.21),
    f"{PLAIN},smooth_k=on,hadamard=on": (1.41, 2.58),
    f"{PLAIN},v_scale=block_channel": (2.73, 7.14),
    f"{PLAIN},v_scale=block_channel,key_block=64": (2.56, 6.73),
    f"{PLAIN},v_scale=channel": (2.84, 10.05),
    f"{PLAIN},v_scale=channel,row_sum=codes": (2.93, 10.05),
    # SageAttention2
    "sage2_8b": (3.08, 6.34),
    "sage2_8b,q_scale=block,k_scale=block": (3.30, 6.71),
    "sage2_8b,q_scale=block,k_scale=block,smooth_k=off": (3.84, 7.40),
    "sage2_4b": (18.34, 56.66),
    "sage2_4b,smooth_q=off": (36.62, 94.58),
    "sage2_4b,smooth_q=off,smooth_k=off": (49.70, 95.25),
    "sage2_4b,q_scale=token,k_scale=token": (15.35, 43.51),
    # 8-bit floats, 4 bits
    "fp8_e4m3": (9.32, 22.11),
    "fp8_e5m2": (18.26, 40.77),
    "int4,hadamard_v=off": (11.22, 24.96),
    f"{PLAIN},scores=s4": (40.08, 82.66),
    f"{PLAIN},scores=s4,values=s4": (41.33, 84.87),
    "int_flash_int4": (65.10, 110.64),
    # the second product alone
    f"int8,{FLOAT_QK},values=input,v_scale=none,hadamard_v=off": (0.82, 2.75),
    f"int8,{FLOAT_QK},hadamard_v=off": (0.85, 2.14),
    f"int8,{FLOAT_QK},hadamard_v=off,key_block=64": (0.73, 1.50),
    f"int8,{FLOAT_QK},hadamard_v=off,key_block=1024": (1.84, 10.98),
    f"int8,{FLOAT_QK},hadamard_v=off,p=s8,p_range=127": (1.28, 3.38),
    f"int8,{FLOAT_QK},hadamard_v=off,p_reference=running": (1.33, 15.46),
    f"int8,{FLOAT_QK},hadamard_v=off,p=input,p_range=1": (0.53, 1.16),
    f"int8,{FLOAT_QK},hadamard_v=off,v_scale=token": (1.04, 2.80),
    f"int8,{FLOAT_QK},hadamard_v=off,v_scale=block_channel": (1.21, 7.14),
    f"int8,{FLOAT_QK},hadamard_v=off,v_scale=channel": (1.42, 10.05),
    f"int8,{FLOAT_QK},hadamard_v=off,v_scale=tensor": (2.11, 19.50),
    f"int_flash,{FLOAT_QK}": (4.64, 32.82),
    f"sage2_8b,{FLOAT_QK}": (2.24, 3.14),
    # the first product alone
    f"{QK},hadamard=on,smooth_k=on": (1.10, 2.35),
    f"{QK},hadamard=on": (1.24, 2.42),
    f"{QK},smooth_k=on": (1.85, 5.31),
    f"{QK},smooth_k=on,q_scale=thread,k_scale=thread": (2.17, 5.52),
    f"{QK},smooth_k=on,q_scale=block,k_scale=block": (2.51, 5.67),
    f"{QK},q_scale=block,k_scale=block": (3.19, 6.90),
    f"{QK},scores=s4": (40.15, 82.76),
    f"{QK},scores=s4,smooth_k=on": (31.96, 78.15),
    f"{QK},scores=s4,smooth_k=on,hadamard=on": (20.25, 40.60),
    f"{QK},scores=s4,smooth_k=on,smooth_q=on": (15.17, 43.50),
    f"{QK},scores=s4,smooth_k=on,smooth_q=on,hadamard=on": (11.19, 25.06),
    f"{QK},scores=s4,smooth_k=on,smooth_q=on,q_scale=thread,k_scale=thread": (18.21, 56.78),
    f"{QK},scores=e4m3,q_scale=tensor,k_scale=tensor": (9.05, 22.21),
    f"{QK},scores=e4m3,q_scale=tensor,k_scale=tensor,hadamard=on": (5.92, 10.95),
    f"{QK},scores=e4m3,q_scale=tensor,k_scale=tensor,smooth_k=on": (7.57, 21.21),
}


def attention(q, k, v, causal, recipe):
    if octavo.recipe(recipe).accumulator != "f32":  # what a tensor core multiplies has 16 bits
        q, k, v = (x.astype(ml_dtypes.bfloat16) for x in (q, k, v))
        return octavo.reference.attention(q, k, v, recipe=recipe, causal=causal, out_dtype="float32")
    try:
        return octavo.attention(q, k, v, recipe=recipe, causal=causal)
    except NotImplementedError:
        return octavo.reference.attention(q, k, v, recipe=recipe, causal=causal)


def errors(heads, truth, recipe):
    """Relative L2 of every head, per cent."""
    recipe = str(octavo.recipe(recipe))
    norm = np.linalg.norm
    return {
        name: 100 * norm(attention(*problem, recipe) - truth[name]) / norm(truth[name])
        for name, problem in heads.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default=DATA)
    parser.add_argument("--heads", action="store_true", help="every head's error below its recipe")
    parser.add_argument("--recipe", action="append", metavar="TEXT", help="instead of the schemes; may be repeated")
    arguments = parser.parse_args()
    heads = heads_of(arguments.file)
    truth = {name: exact(*problem)[0] for name, problem in heads.items()}
    print(f"{len(heads)} heads of {arguments.file}")
    tables = {"": dict.fromkeys(arguments.recipe)} if arguments.recipe else {"5 layers": FIVE_LAYERS, "30 layers": SCHEMES}
    for layers, schemes in tables.items():
        more = (f" simulated, {layers}: median % | worst % |", "--:|--:|") if layers else ("", "")
        print(f"\n| recipe | median % | p90 % | worst % | in head |{more[0]}\n|---|--:|--:|--:|---|{more[1]}")
        for recipe, simulated in schemes.items():
            of_heads = errors(heads, truth, recipe)
            figures = list(of_heads.values())
            worst = max(of_heads, key=of_heads.get)
            cells = [digits(x) for x in (np.median(figures), np.percentile(figures, 90), of_heads[worst])]
            cells += [worst, *(digits(x) for x in simulated or ())]
            print(f"| `{octavo.recipe(recipe)}` | {' | '.join(cells)} |", flush=True)
            if arguments.heads:
                print("  " + " ".join(f"{name} {digits(error)}" for name, error in of_heads.items()))


if __name__ == "__main__":
    main()
