#!/usr/bin/env python3
"""Compiles src/cuda for every GPU generation; ptxas may spill no register of a hot kernel nor ignore a setmaxnreg.

usage: check_cuda.py [--architectures 80,90] [--jobs 2] [FILE.cu ...]
       check_cuda.py --log FILE      the output of a build with CMAKE_CUDA_FLAGS=-Xptxas=-v instead of compiling

Hot kernels are the plain ones of up to 128 channels; others may spill a little (MOST_SPILLED bytes). Prints a table of
registers and spills, and the seconds that each file took. Needs nvcc.
"""

import argparse
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# GPU generations with machine code in the library, and their PTX, as in src/cuda/targets/gencode.cmake.
GENERATIONS = ["80", "90", "100", "120"]
# Of files whose instructions other GPUs lack.
GENERATIONS_OF = {"attention_sm89": ["89", "120"], "attention_s4_sm80": ["80"], "attention_s4_sm89": ["89"]}
# Files whose PTX for 10.0 and later is of 10.0; of others it is that of the first generation.
LATE_FRONT = ["decode_sm80", "kept_keys_sm80"]
# Files whose PTX for 9.0 and later is of 9.0.
FRONT_OF_9 = ["operands"]
# What a kernel may store to memory because registers ran out, per thread; hot: nothing. Three planes of 256 channels
# (attend_f32_f32_256_score_mod, the worst) keep more sums than there are registers: up to 1920 bytes with nvcc 13.0.
MOST_SPILLED = 2048
# Of hot kernels, for recipes without the fold: attend_s8_s8_128 stores 4 bytes on compute capability 10.0.
MOST_SPILLED_UNFOLDED = 16
# Kernels of their own bound: scores of FP8 in f16, 64 sums and O of 128 channels, store 48 bytes on 10.0, none
# elsewhere; Hopper's int8_fast stores 100 bytes in masked tiles (check_sass_sm90.py sees to the loop of the others),
# and those of 256 channels little outside that loop. A cache of f32 has three planes of each number of V beside the
# weights: 52 bytes on 9.0.
MOST_SPILLED_OF = {
    "attend_float8_float8_128": 48,
    "attend_cache_f32_entry": 64,
    "attend_sm90_128_folded": 112,
    "attend_sm90_256_folded": 0,
    "attend_sm90_256_kept": 48,
    "attend_sm90_f16_256": 16,
    "attend_sm90_bf16_256": 16,
}
COLD = re.compile(r"_(256|score_mod|p16)(_|$)")
HOT = re.compile(r"attend_")

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def plain_name(mangled):
    """The kernel's own name, out of a mangled one."""
    found = re.search(r"(attend_[a-z0-9_]*?)E[A-Z]?|N_1\d*([a-z][a-z0-9_]*)E", mangled)
    return next((group for group in found.groups() if group), mangled) if found else mangled


def kernels_of(log):
    """(name, registers, bytes stored, bytes loaded) for each kernel that ptxas -v reports."""
    name, spills = None, (0, 0)
    for line in log.splitlines():
        if match := ENTRY.search(line):
            name, spills = f"{plain_name(match.group(1))} {match.group(2)}", (0, 0)
        elif match := SPILL.search(line):
            spills = tuple(map(int, match.groups()))
        elif name and (match := REGISTERS.search(line)):
            yield name, int(match.group(1)), *spills
            name = None


def is_hot(name):
    return bool(HOT.search(name)) and not COLD.search(name)


def judge(log):
    """Prints ptxas's figures of each kernel; returns messages for kernels that spill too much or ignore setmaxnreg."""
    failures = []
    for name, registers, stored, loaded in kernels_of(log):
        hot = is_hot(name.split()[0])
        print(f"  {name:46} {registers:4} registers, spills {stored} / {loaded} bytes{', hot' if hot else ''}")
        unfolded = not name.split()[0].endswith(("_folded", "_kept"))
        most = MOST_SPILLED if not hot else MOST_SPILLED_UNFOLDED if unfolded else 0
        if stored > MOST_SPILLED_OF.get(name.split()[0], most):
            failures.append(f"{name} spills {stored} bytes")
    # The kernel would run with the registers of its launch.
    return failures + sorted({line.strip() for line in log.splitlines() if "'setmaxnreg' ignored" in line})


def generations_of(source, asked):
    """Hopper's instructions are in its own PTX alone, 9.0a; products of E4M3 are in that of 8.9 and 12.0."""
    if not source.stem.endswith("_sm90"):
        return GENERATIONS_OF.get(source.stem, asked)
    return ["90a"] if any(generation.startswith("90") for generation in asked) else []


def compile_for(source, generation, folder):
    target = folder / f"{source.stem}_{generation}.cubin"
    command = ["nvcc", "-std=c++20", f"-I{ROOT / 'include'}", f"-I{ROOT / 'src'}", "-cubin", "-Xptxas", "-v"]
    # "90a" has instructions of its own, which no other PTX may be asked for.
    first = GENERATIONS_OF.get(source.stem, GENERATIONS)[0]
    late = generation.isdigit() and int(generation) >= 100 and source.stem in LATE_FRONT
    front = generation if not generation.isdigit() else "100" if late else first
    if source.stem in FRONT_OF_9 and generation.isdigit() and int(generation) >= 90:
        front = "90"
    command += ["-diag-suppress", "177,20012", f"-gencode=arch=compute_{front},code=sm_{generation}"]
    start = time.monotonic()
    done = subprocess.run([*command, source, "-o", target], capture_output=True, text=True, check=False)
    return source, generation, time.monotonic() - start, done, target


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", type=pathlib.Path)
    parser.add_argument("--architectures", default=",".join(GENERATIONS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--log", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.log:
        log = arguments.log.read_text()
        failures = judge(log)
        if not any(is_hot(name.split()[0]) for name, *_ in kernels_of(log)):
            failures.append(f"{arguments.log} says nothing of a hot kernel: was everything built already?")
        print("\n".join(failures))
        return 1 if failures else 0
    if shutil.which("nvcc") is None:
        print("check_cuda.py: nvcc is not on the PATH", file=sys.stderr)
        return 2
    sources = [path.resolve() for path in arguments.sources] or sorted((ROOT / "src/cuda/targets").glob("*.cu"))
    failures, size, seconds = [], 0, 0.0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [
            pool.submit(compile_for, source, generation, pathlib.Path(folder))
            for source in sources
            for generation in generations_of(source, arguments.architectures.split(","))
        ]
        for job in jobs:
            source, generation, took, done, target = job.result()
            if done.returncode != 0:
                failures.append(f"{source.name} does not compile for sm_{generation}:\n{done.stderr[-4000:]}")
                continue
            size += target.stat().st_size
            seconds += took
            print(f"{source.name} sm_{generation}: {took:.0f} s, {target.stat().st_size / 1e6:.2f} MB")
            failures += judge(done.stdout + done.stderr)
    print(f"all: {seconds:.0f} s of nvcc, {size / 1e6:.1f} MB")
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
