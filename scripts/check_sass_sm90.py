#!/usr/bin/env python3
"""Counts the instructions of Hopper's attention kernels and models what they leave of a H200's tensor cores.

usage: check_sass_sm90.py [--list] [FILE.cubin ...]

Without files, compiles the kernels that have a bound (BOUNDS) for compute capability 9.0a. What is counted is what a
consumer warp issues in one turn of the loop over the keys (16 rows and a tile's keys: 128; 64 with s8 scores and
values of E4M3, and with 256 channels of 16 bits) on an interior tile: nothing masked, no row rescaled, beside its
WGMMAs. Checks that bound, and that no code behind a setmaxnreg names a register beyond it.

The model has a subpartition's two consumer warps, one of each warpgroup, go through one turn: clocks of issue (one
instruction a clock), of the FMA and ALU pipes and of MUFU (32, 16 and 4 lanes a clock), and of the tensor cores (8192
operations of 8 bits a clock and multiprocessor, half as many of 16 bits). Two figures of TOPS follow: everything
overlaps (the longest of these counts), and products and instructions in turn (tensor plus issue). No GPU has confirmed
either.

Needs nvcc, and nvdisasm (in the CUDA toolkit, or the PyPI package nvidia-cuda-nvdisasm).
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

import check_sass

# (kernel, channels, formats of Q and K and of V, sums in f16, variant) -> the most instructions beside WGMMAs.
BOUNDS = {
    ("attend_sm90_128_folded", "128, s8, s8, false, folded"): 775,
    ("attend_sm90_128_kept", "128, s8, s8, false, kept"): 775,
    ("attend_sm90_64_folded", "64, s8, s8, false, folded"): 735,
    ("attend_sm90_64_kept", "64, s8, s8, false, kept"): 735,
    ("attend_sm90_256_folded", "256, s8, s8, false, folded"): 875,
    ("attend_sm90_256_kept", "256, s8, s8, false, kept"): 895,
    ("attend_sm90_s8_e4m3_128", "128, s8, e4m3, false, plain"): 475,
    ("attend_sm90_s8_e4m3_64", "64, s8, e4m3, false, plain"): 430,
    ("attend_sm90_e4m3_128", "128, e4m3, e4m3, false, plain"): 685,
    ("attend_sm90_e4m3_64", "64, e4m3, e4m3, false, plain"): 635,
    ("attend_sm90_f16_128", "128, f16, f16, false, plain"): 535,
    ("attend_sm90_bf16_128", "128, bf16, bf16, false, plain"): 535,
    ("attend_sm90_f16_256", "256, f16, f16, false, plain"): 390,
    ("attend_sm90_bf16_64", "64, bf16, bf16, false, plain"): 525,
    ("attend_sm90_s8_e4m3_to_f16_128", "128, s8, e4m3, true, plain"): 530,
    ("attend_sm90_s8_f16_128", "128, s8, f16, false, plain"): 670,
    ("attend_sm90_s8_f16_64", "64, s8, f16, false, plain"): 670,
}
LEAST_TOPS = 1000  # at 128 channels, overlapped, where SLOTS_USED of the issue slots are used
SLOTS_USED = 0.85

MULTIPROCESSORS, CLOCK_GHZ = 132, 1.83
TENSOR_OPS = {"IGMMA": 8192, "QGMMA": 8192, "HGMMA": 4096}  # a clock and multiprocessor
WARPGROUPS, ROWS = 2, 64

FMA = ("FFMA", "FMUL", "FADD")
HALF_RATE_FMA = ("IMAD",)
ALU = ("FMNMX", "PRMT", "I2FP", "LOP3", "FSETP", "FSEL", "ISETP", "SEL", "IADD3", "VIADD", "SHF", "MOV", "LEA")

PRODUCT = re.compile(r"([IQH]GMMA)\.64x(\d+)x(\d+)")
SPLIT = re.compile(r"USETMAXREG\S*\s+(?:UP\d+, )?(0x[0-9a-f]+)")
REGISTER = re.compile(r"\bR(\d+)\b")


def interior_turn(blocks):
    """Instructions of one turn of the loop with the most products that has no other such loop inside."""
    loops = [(to, at) for at, block in enumerate(blocks) for to in block.next if to <= at]
    loops = [loop for loop in loops if any(block.products() for block in blocks[loop[0] : loop[1] + 1])]
    has_inner = lambda loop: any(a != loop and loop[0] <= a[0] and a[1] <= loop[1] for a in loops)  # noqa: E731
    inner = [loop for loop in loops if not has_inner(loop)]
    # Waits for an mbarrier are loops, too, whose last block lies far behind.
    ways = [check_sass.interior_way(blocks, *loop) for loop in inner]
    best = max(ways, key=lambda way: sum(blocks[at].products() for at in way), default=[])
    return [line for at in best for line in blocks[at].lines]


def registers_beyond_split(blocks):
    """(limit, largest register) for each setmaxnreg, of the code that can follow it."""
    for at, block in enumerate(blocks):
        for place, line in enumerate(block.lines):
            if not (match := SPLIT.search(line)):
                continue
            named = REGISTER.findall(" ".join(block.lines[place:]))
            seen, to_do = {at}, list(block.next)
            while to_do:
                which = to_do.pop()
                if which not in seen:
                    seen.add(which)
                    to_do += blocks[which].next
                    named += REGISTER.findall(" ".join(blocks[which].lines))
            yield int(match.group(1), 16), max(map(int, named), default=0)


def model(lines):
    """Name -> clocks of one turn of both warps; and the operations of a multiprocessor in it."""
    products = [(code, 2 * ROWS * int(n) * int(k)) for line in lines for code, n, k in PRODUCT.findall(line)]
    count = collections.Counter(check_sass.INSTRUCTION.match(line).group(2).split(".")[0] for line in lines)
    clocks = {
        "issue": WARPGROUPS * len(lines),
        "FMA": WARPGROUPS * (sum(count[code] for code in FMA) + 2 * sum(count[code] for code in HALF_RATE_FMA)),
        "ALU": WARPGROUPS * 2 * sum(count[code] for code in ALU),
        "MUFU": WARPGROUPS * 8 * count["MUFU"],
        "tensor": WARPGROUPS * sum(operations // TENSOR_OPS[code] for code, operations in products),
    }
    return clocks, WARPGROUPS * sum(operations for _, operations in products)


def tops(operations, clocks):
    return operations / clocks * MULTIPROCESSORS * CLOCK_GHZ / 1e3


def check(name, blocks, bound, list_opcodes):
    """Prints a kernel's figures; returns what is wrong with them."""
    lines = interior_turn(blocks)
    if not lines:
        return [f"{name} has no loop with products"]
    products = sum(bool(PRODUCT.search(line)) for line in lines)
    others, failures = len(lines) - products, []
    clocks, operations = model(lines)
    overlapped, in_turn = max(clocks.values()), clocks["tensor"] + clocks["issue"]
    predicted = tops(operations, max(overlapped, clocks["issue"] / SLOTS_USED))
    print(
        f"  {name:28} {others:4} instructions and {products} WGMMAs; clocks of a turn: "
        + ", ".join(f"{pipe} {count}" for pipe, count in clocks.items())
        + f"; TOPS: {tops(operations, in_turn):.0f} in turn, {predicted:.0f} with {SLOTS_USED:.0%} of the slots,"
        f" {tops(operations, overlapped):.0f} overlapped"
    )
    if list_opcodes:
        codes = collections.Counter(check_sass.INSTRUCTION.match(line).group(2).split(".")[0] for line in lines)
        print("    " + " ".join(f"{code} {number}" for code, number in codes.most_common()))
    if bound is not None and (products == 0 or others > bound):
        failures.append(f"{name} has {others} instructions beside {products} WGMMAs; at most {bound} are allowed")
    if "_128_folded" in name and predicted < LEAST_TOPS:
        failures.append(f"{name}: the model predicts {predicted:.0f} TOPS, at least {LEAST_TOPS} are wanted")
    if spilled := sum(check_sass.INSTRUCTION.match(line).group(2).startswith(("LDL", "STL")) for line in lines):
        failures.append(f"{name} has {spilled} accesses of local memory in the loop")
    splits = list(registers_beyond_split(blocks))
    if len(splits) != 2:
        failures.append(f"{name} has {len(splits)} setmaxnreg instructions, not 2")
    failures += [f"{name} uses R{most} with {limit} registers" for limit, most in splits if most >= limit]
    return failures


def source_of(kernels):
    """A source with the given kernels alone, as src/cuda/targets/attention_sm90.cu has them."""
    lines = ['#include "cuda/attention/prefill_sm90.hpp"', '#include "cuda/tile/ptx_sm90.hpp"']
    lines.append("namespace octavo::cuda {")
    for name, arguments in kernels:
        channels, scores, values, f16_sums, variant = arguments.split(", ")
        shape = f"AttentionShapeSm90<{channels}, PackedFormat::{scores}, PackedFormat::{values}, {f16_sums}>"
        lines.append(
            f"__global__ void __launch_bounds__(attention_launch_sm90<{shape}>().threads, 1)\n"
            f"{name}(const __grid_constant__ AttentionParamsSm90<PtxSm90::TensorMap> p) {{ PtxSm90 machine; "
            f"attend_sm90<PtxSm90, {shape}, AttentionVariant::{variant}>(machine, p); }}"
        )
    return "\n".join([*lines, "}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cubins", nargs="*", type=pathlib.Path)
    parser.add_argument("--list", action="store_true", help="print how often each instruction occurs")
    arguments = parser.parse_args()
    nvdisasm = check_sass.find_nvdisasm()
    if nvdisasm is None:
        print("check_sass_sm90.py: needs nvdisasm, which is in PyPI's nvidia-cuda-nvdisasm", file=sys.stderr)
        return 2
    bounds = {name: bound for (name, _), bound in BOUNDS.items()}
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        cubins = arguments.cubins or [
            check_sass.compile_source(source_of(BOUNDS), pathlib.Path(folder), "compute_90a", "90a")
        ]
        for cubin in cubins:
            print(cubin.name)
            text = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True).stdout
            functions = {check_sass.plain_name(name): lines for name, lines in check_sass.functions_of(text).items()}
            for name, lines in sorted(functions.items()):
                failures += check(name, check_sass.blocks_of(lines), bounds.get(name), arguments.list)
            if not arguments.cubins:
                failures += [f"{name} was not compiled" for name in bounds.keys() - functions.keys()]
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
