#!/usr/bin/env python3
"""Checks the layer rule from #include lines: src depends only on lower layers; tools, io and Python use public headers.

Intrinsics are allowed only under src/cpu/simd, assembly in the files of the primitives (PTX: src/cuda/tile), conditions
on an instruction set where implementations are listed.

Prints each violation as file:line and exits with 1 when there is one.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PUBLIC = "octavo"

# Folder -> folders whose headers it may include, besides its own. `octavo` stands for include/octavo.
LAYERS = {
    "include/octavo": {PUBLIC},
    "src/core": {PUBLIC},
    "src/spec": {PUBLIC, "core"},
    "src/recipes": {PUBLIC, "core", "spec"},
    "src/reference": {PUBLIC, "core", "spec", "recipes"},
    "src/cpu": {PUBLIC, "core", "spec", "recipes"},
    "src/cuda": {PUBLIC, "core", "spec", "recipes"},
    "src/kv_cache": {PUBLIC, "core", "spec"},
    "src/api": {PUBLIC, "core", "spec", "recipes", "reference", "cpu", "cuda", "kv_cache"},
    "src/capi": {PUBLIC, "core", "recipes"},
    "testing/cuda_emulation": {PUBLIC, "core", "spec", "cuda"},
    "testing/gtest_subset": set(),
    "tools/io": {PUBLIC},
    "tools/common": {PUBLIC, "io"},
    "tools/octavo": {PUBLIC, "io", "common", "study"},
    "study": {PUBLIC, "io", "common"},
    "python/octavo": {PUBLIC},
    "examples": {PUBLIC},
    # Single kernels, called as the driver calls them; peaks are measured by loops of the command-line tool.
    "bench/micro": {PUBLIC, "core", "cpu", "common"},
    # Programs of other libraries, and instruction rates of a GPU: no headers of octavo.
    "bench/baselines": set(),
    "bench/cuda": set(),
    # octavo as a user's C++ program calls it.
    "bench/gpu_attention": {PUBLIC},
}
# Folders inside a back end, lowest first: a file includes headers of its own folder and of lower ones. Files beside
# them, and the targets, stand above all of these.
INNER_ORDER = {
    "src/cpu": ("simd", "operands", "attention"),
    "src/cuda": ("tile", "operands", "attention", "decode", "host", "targets"),
}
# The only exception: Python uses the reference's trace, which is not part of the public interface.
EXCEPTIONS = {("python/octavo/_trace.cpp", "api/trace.hpp")}
# Roots of quoted includes.
INCLUDE_ROOTS = ("src", "testing", "tools", "")
SOURCES = {".cpp", ".cu", ".hpp", ".h", ".inc"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
INTRINSIC = re.compile(r"\b(_mm\d*_\w+|__m(128|256|512)[dih]*|__mmask\d+|\w*mmintrin\.h|arm_(neon|sve)\.h)\b")
ASSEMBLY = re.compile(r"\b(asm|__asm|__asm__)\s*(volatile|__volatile__)?\s*\(")
# Primitives of CPUs and GPUs; measurements of instruction rates; feature detection and the pause instruction.
ASSEMBLY_FILES = ("src/cpu/simd/", "src/cuda/tile/", "bench/cuda/", "tools/common/peak_loops.", "src/cpu/features.",
                  "src/core/cpu_relax.")
# Preprocessor conditions on an instruction set.
INSTRUCTION_SET = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*(__(AVX|SSE|FMA|F16C|AMX|VNNI|ARM_)\w*|OCTAVO_X86)")
INSTRUCTION_SET_FILES = ("src/cpu/simd/", "src/cpu/targets/", "src/cpu/features.", "src/cpu/implementations.inc")
# Headers of frameworks and the folder that binds each of them.
FRAMEWORKS = {"nanobind": ("python/",), "CLI": ("tools/",), "nlohmann": ("tools/", "study/"),
              "gtest": ("tests/", "testing/gtest_subset/"), "cuda": ("src/cuda/", "bench/cuda/"),
              "benchmark": ("bench/",)}


def folder_of(header):
    """The folder that a quoted include names, `octavo` for the public ones; "" for one beside the file."""
    return header.split("/")[0] if "/" in header else ""


def inner_rank(layer, path):
    """Position in INNER_ORDER of a file of a back end; files beside the folders come after the last of them."""
    order = INNER_ORDER[layer]
    folder = path.removeprefix(layer + "/").split("/")[0]
    return order.index(folder) if folder in order else len(order)


def check_inner(path, layer, header):
    if layer not in INNER_ORDER or not f"src/{header}".startswith(layer + "/"):
        return None
    if inner_rank(layer, f"src/{header}") <= inner_rank(layer, path):
        return None
    return f"includes {header}; inside {layer} the order is {' < '.join(INNER_ORDER[layer])} < driver"


def check_include(path, layer, bracket, header):
    if ".." in header.split("/"):
        return f"includes {header}: no path upwards; start at src or include"
    framework = next((word for word in FRAMEWORKS if re.match(rf"{word}\b|{word}_", header)), None)
    ours = bracket == '"' and any((ROOT / top / header).is_file() for top in INCLUDE_ROOTS)
    if framework and not ours and not path.startswith(FRAMEWORKS[framework]):
        return f"includes {header}, which only {' and '.join(FRAMEWORKS[framework])} may"
    folder = folder_of(header)
    own = layer.rsplit("/", 1)[-1]
    if (bracket == "<" and folder != PUBLIC) or (path, header) in EXCEPTIONS:
        return None
    if problem := check_inner(path, layer, header):
        return problem
    own_root = ("src/", "testing/", "tools/io", "tools/common", "study")
    if folder in LAYERS[layer] or (folder == own and layer.startswith(own_root)):
        return None
    if folder == "" and (ROOT / path).parent.joinpath(header).is_file():
        return None
    if ours or (ROOT / "include" / header).is_file():
        allowed = ", ".join(sorted(LAYERS[layer]))
        return f"includes {header}; {layer} may include its own headers and those of {allowed}"
    return None


def check_file(path, layer):
    relative = path.relative_to(ROOT).as_posix()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        code = line.split("//")[0]
        if match := INCLUDE.match(line):
            if problem := check_include(relative, layer, *match.groups()):
                yield f"{relative}:{number}: {problem}"
        if INTRINSIC.search(code) and not relative.startswith("src/cpu/simd/"):
            yield f"{relative}:{number}: {INTRINSIC.search(code).group(0)}: intrinsics stand under src/cpu/simd only"
        if ASSEMBLY.search(code) and not relative.startswith(ASSEMBLY_FILES):
            yield f"{relative}:{number}: assembly outside {', '.join(ASSEMBLY_FILES)}"
        if INSTRUCTION_SET.match(line) and not relative.startswith(INSTRUCTION_SET_FILES):
            yield f"{relative}:{number}: a condition on an instruction set outside {', '.join(INSTRUCTION_SET_FILES)}"


def layer_of(path):
    relative = path.relative_to(ROOT).as_posix()
    return next((layer for layer in LAYERS if relative.startswith(layer + "/")), None)


def main():
    files = sorted(
        path
        for top in ("include", "src", "testing", "tools", "study", "python", "examples", "bench")
        for path in (ROOT / top).rglob("*")
        if path.suffix in SOURCES
    )
    problems = []
    for path in files:
        layer = layer_of(path)
        if layer is None:
            problems.append(f"{path.relative_to(ROOT)}: in no layer that {pathlib.Path(__file__).name} knows")
        else:
            problems += check_file(path, layer)
    print("\n".join(problems) if problems else f"{len(files)} files: the layer rule holds")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
