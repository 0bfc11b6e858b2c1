#!/usr/bin/env python3
"""Counts the instructions that a warp issues for a key block in the attention kernels, and holds them to bounds.

usage: check_sass.py [--list] [FILE.cubin ...]

Without files, compiles the kernels that have a bound (BOUNDS) for compute capability 8.0 and 9.0, those with products
of s4 for 8.0. What is counted is
one turn of the loop over the keys on an interior tile: nothing masked, no row rescaled, the next tile copied. In
branches the way with the most products is taken, of those the one with the most copies, of those the shortest.
Needs nvcc, and nvdisasm (in the CUDA toolkit, or the PyPI package nvidia-cuda-nvdisasm).
"""

import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
ARCHITECTURES = ["80", "90"]
# (kernel, channels, formats, variant) -> the most instructions of a warp (16 rows) for 128 keys.
BOUNDS = {
    ("attend_s8_s8_64_folded", "64, s8, s8, folded"): 1000,
    ("attend_s8_s8_128_folded", "128, s8, s8, folded"): 1250,
    ("attend_s8_s8_128_kept", "128, s8, s8, kept"): 1300,
    ("attend_s4_s8_64_folded", "64, s4, s8, folded"): 960,
    ("attend_s4_s8_128_folded", "128, s4, s8, folded"): 1180,
}


def bounds_for(architecture):
    """Those of the kernels that a GPU of the architecture runs: from 9.0 on no products of s4."""
    return {key: most for key, most in BOUNDS.items() if architecture == "80" or not key[0].startswith("attend_s4_")}


SECTION = re.compile(r"^\s*\.section\s+\.text\.(\S+?),")
LABEL = re.compile(r"^(\.L_x_\d+):")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);")
PREDICATE = re.compile(r"/\s+@!?U?P\w+\s")
TARGET = re.compile(r"`\((\.L_x_\d+)\)")
PRODUCTS = ("IMMA", "HMMA", "QMMA", "IGMMA", "HGMMA", "QGMMA")
ENDS = ("BRA", "EXIT", "RET", "BRX", "JMP")


class Block:
    """Instructions without a branch into or out of their midst."""

    def __init__(self):
        self.opcodes, self.lines, self.next = [], [], []

    def products(self):
        return sum(code.startswith(PRODUCTS) for code in self.opcodes)

    def copies(self):
        """Of tiles: a vector is one copy, by one warp alone."""
        count = sum(code.startswith("LDGSTS") for code in self.opcodes)
        return count if count > 1 else 0


def functions_of(text):
    """name -> lines of its code, of nvdisasm's output."""
    functions, lines = {}, None
    for line in text.splitlines():
        if match := SECTION.match(line):
            lines = functions.setdefault(match.group(1), [])
        elif re.match(r"\s*\.section\s", line):
            lines = None
        elif lines is not None:
            lines.append(line)
    return functions


def blocks_of(lines):
    """The control flow of a function: blocks in the order of their addresses."""
    blocks, by_label, jumps = [Block()], {}, []
    for line in lines:
        if match := LABEL.match(line):
            if blocks[-1].opcodes:
                blocks.append(Block())
                blocks[-2].next.append(len(blocks) - 1)
            by_label[match.group(1)] = len(blocks) - 1
        elif match := INSTRUCTION.match(line):
            opcode = match.group(2)
            blocks[-1].opcodes.append(opcode)
            blocks[-1].lines.append(line)
            if opcode.split(".")[0] in ENDS:
                at = len(blocks) - 1
                if target := TARGET.search(match.group(3)):
                    jumps.append((at, target.group(1)))
                blocks.append(Block())
                # A predicate before the opcode, or as BRA's own operand.
                if PREDICATE.search(line) or re.match(r"\s*!?U?P\d", match.group(3)):
                    blocks[at].next.append(len(blocks) - 1)
    for at, label in jumps:
        blocks[at].next.append(by_label[label])
    return blocks


def longest_loop(blocks):
    """(first, last) block of the loop with the most products: a branch backwards and what lies between."""
    loops = [(to, at) for at, block in enumerate(blocks) for to in block.next if to <= at]
    products = lambda loop: sum(block.products() for block in blocks[loop[0] : loop[1] + 1])  # noqa: E731
    loops = [loop for loop in loops if products(loop) > 0]
    # Of loops with as many products the tightest.
    return max(loops, key=lambda loop: (products(loop), loop[0] - loop[1]), default=None)


def interior_way(blocks, first, last):
    """The way from the loop's first block to its last one that the module's docstring describes."""
    best = {first: ((blocks[first].products(), blocks[first].copies(), -len(blocks[first].opcodes)), [first])}
    for at in range(first, last + 1):
        if at not in best:
            continue
        for to in blocks[at].next:
            if to <= at or to > last:
                continue
            block = blocks[to]
            (products, copies, length), way = best[at]
            value = (products + block.products(), copies + block.copies(), length - len(block.opcodes))
            if to not in best or value > best[to][0]:
                best[to] = value, [*way, to]
    return best[last][1] if last in best else []


def plain_name(mangled):
    match = re.search(r"\d+((?:attend|join)_[a-z0-9_]+?)E(?:NS|v|$)", mangled)
    return match.group(1) if match else mangled


def find_nvdisasm():
    beside = pathlib.Path(sysconfig.get_path("purelib")) / "nvidia"
    found = shutil.which("nvdisasm") or next((str(path) for path in beside.glob("*/bin/nvdisasm")), None)
    return found or next((str(path) for path in pathlib.Path("/usr/local/cuda/bin").glob("nvdisasm")), None)


def turns_of(cubin, nvdisasm):
    """kernel -> opcodes of its interior turn."""
    text = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True).stdout
    for name, lines in functions_of(text).items():
        blocks = blocks_of(lines)
        loop = longest_loop(blocks)
        if loop:
            yield plain_name(name), [code for at in interior_way(blocks, *loop) for code in blocks[at].opcodes]


def source_of(kernels):
    """A source with the given kernels alone, as src/cuda/targets/attention_sm80.cu has them."""
    lines = ['#include "cuda/attention/prefill_sm80.hpp"', '#include "cuda/tile/ptx.hpp"', "namespace octavo::cuda {"]
    for name, arguments in kernels:
        dim, scores, values, variant = arguments.split(", ")
        shape = f"AttentionShape<{dim}, PackedFormat::{scores}, PackedFormat::{values}>"
        lines.append(
            f"__global__ void __launch_bounds__(attention_launch<{shape}>().threads, 1)\n"
            f"{name}(const __grid_constant__ AttentionKernelParams p) {{ Ptx machine; "
            f"attend<Ptx, {shape}, AttentionVariant::{variant}>(machine, p); }}"
        )
    return "\n".join([*lines, "}"])


def compile_source(text, folder, front, architecture):
    source, cubin = folder / "kernels.cu", folder / f"kernels_{architecture}.cubin"
    source.write_text(text)
    command = ["nvcc", "-std=c++20", f"-I{ROOT / 'include'}", f"-I{ROOT / 'src'}", "-cubin", "-diag-suppress"]
    command += ["177,20012,20013,20015", f"-gencode=arch={front},code=sm_{architecture}", source, "-o", cubin]
    subprocess.run(command, check=True)
    return cubin


def report(name, turn, bound, list_opcodes):
    """Prints a kernel's count; whether it is within its bound."""
    count = collections.Counter(code.split(".")[0] for code in turn)
    products = sum(number for code, number in count.items() if code.startswith(PRODUCTS))
    fits = bound is None or (products > 0 and len(turn) <= bound)
    limit = "" if bound is None else f", at most {bound}" + ("" if fits else ": too many")
    print(f"  {name:36} {len(turn):5} instructions{limit}; {products} products")
    if list_opcodes:
        print("    " + " ".join(f"{code} {number}" for code, number in count.most_common()))
    return fits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cubins", nargs="*", type=pathlib.Path)
    parser.add_argument("--list", action="store_true", help="print how often each instruction occurs")
    arguments = parser.parse_args()
    nvdisasm = find_nvdisasm()
    if nvdisasm is None or (not arguments.cubins and shutil.which("nvcc") is None):
        print("check_sass.py: needs nvcc and nvdisasm; the latter is in PyPI's nvidia-cuda-nvdisasm", file=sys.stderr)
        return 2
    fits = True
    with tempfile.TemporaryDirectory() as folder:
        bounds = {name: bound for (name, _), bound in BOUNDS.items()}
        # Of given files nothing is known to be missing.
        compiled = [(path, {}) for path in arguments.cubins] or [
            (compile_source(source_of(bounds_for(which)), pathlib.Path(folder), "compute_80", which), bounds_for(which))
            for which in ARCHITECTURES
        ]
        for cubin, expected in compiled:
            print(cubin.name)
            turns = dict(turns_of(cubin, nvdisasm))
            for name, turn in sorted(turns.items()):
                fits = report(name, turn, bounds.get(name), arguments.list) and fits
            if missing := {name for name, _ in expected} - turns.keys():
                print(f"  no loop found in {', '.join(sorted(missing))}")
                fits = False
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
