"""The programs of the check: built here, or built elsewhere and copied (`--build DIR`, `--prebuilt DIR`)."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import stat

from gpu_check import machine, tools
from gpu_check.process import Outcome, run, tail, text_of
from gpu_check.results import write_json

ROOT = machine.ROOT
# Program -> its folder below the build folder.
PROGRAMS = {
    "cuda_primitive_dump": "tests/gpu_programs/gpu",
    "cuda_primitive_compare": "tests/gpu_programs/gpu",
    "cuda_first_measurements": "bench/cuda",
    "gpu_conformance": "tests/gpu_programs/gpu",
    "gpu_attention_bench": "tests/gpu_programs/gpu",
}
# What the programs may ask of another machine.
MOST = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 30)}
# The C++ runtime is one of them: a static one brings calls of the newer glibc that it was built with.
SYSTEM_LIBRARIES = {"libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0",
                    "librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


class Missing(Exception):
    """Why a step has nothing to run."""


def configure_command(build: pathlib.Path, *definitions: str) -> list:
    cmake = tools.find("cmake")
    if cmake is None:
        raise Missing("cmake was not found")
    if tools.find("nvcc") is None:
        raise Missing("nvcc was not found on the PATH or in /usr/local/cuda/bin")
    generator = "Ninja" if tools.find("ninja") else "Unix Makefiles"
    return [cmake, "-G", generator, "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DOCTAVO_CUDA=ON",
            "-DOCTAVO_GPU_PROGRAMS=ON", "-DOCTAVO_BUILD_TESTS=OFF", "-DOCTAVO_BUILD_TOOL=OFF", *definitions]


def build_command(build: pathlib.Path, *targets: str) -> list:
    """All targets, whichever fail."""
    go_on = ["-k", "0"] if (build / "build.ninja").is_file() else ["-k"]
    return [tools.find("cmake"), "--build", build, "-j", tools.jobs(), "--target", *targets, "--", *go_on]


def built(build: pathlib.Path, name: str) -> pathlib.Path:
    return build / PROGRAMS[name] / name


def prebuilt(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The programs of a folder; a copy can have lost the right to be executed."""
    found = {}
    for name in PROGRAMS:
        path = (folder / name).resolve()
        if not path.is_file():
            continue
        if not os.access(path, os.X_OK):
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        found[name] = path
    return found


def needs_of(program: pathlib.Path) -> tuple[set[str], dict[str, tuple[int, ...]]]:
    """Shared libraries, and the newest versions of symbols that it asks for."""
    text = text_of([tools.find("objdump") or "objdump", "-p", program]) or ""
    newest = {kind: max((tuple(map(int, found.split("."))) for found in re.findall(rf"\b{kind}_([0-9.]+)", text)),
                        default=()) for kind in MOST}
    return set(re.findall(r"NEEDED[ \t]+(\S+)", text)), newest


def portability(program: pathlib.Path) -> str:
    """Why the program may not run on another machine; empty: it should."""
    libraries, newest = needs_of(program)
    if not libraries:
        return "objdump cannot tell what it needs"
    if foreign := libraries - SYSTEM_LIBRARIES:
        return f"it needs {', '.join(sorted(foreign))}"
    for kind, most in MOST.items():
        if newest[kind] > most:
            return f"it needs {kind}_{'.'.join(map(str, newest[kind]))}; {kind}_{'.'.join(map(str, most))} is allowed"
    return ""


def build_portable(folder: pathlib.Path, build: pathlib.Path, architectures: str | None, limit: float) -> int:
    """`--build DIR`: the programs, stripped, and what they are; 0 where all are there and portable."""
    folder.mkdir(parents=True, exist_ok=True)
    build.mkdir(parents=True, exist_ok=True)
    definitions = [f"-DOCTAVO_CUDA_ARCHITECTURES={architectures}"] if architectures else []
    environment = tools.environment()
    try:
        commands = [configure_command(build, *definitions), lambda: build_command(build, *PROGRAMS)]
    except Missing as missing:
        print(f"gpu_check: {missing}")
        return 1
    for command in commands:
        command = command() if callable(command) else command
        outcome: Outcome = run(command, limit, build / "gpu_check.out", build / "gpu_check.log", env=environment)
        if outcome.status != "passed":
            print(tail(build / "gpu_check.out"), tail(build / "gpu_check.log"), sep="\n")
            print(f"gpu_check: {command[0]}: {outcome.note}")
    problems = []
    for name in PROGRAMS:
        (folder / name).unlink(missing_ok=True)
        if not built(build, name).is_file():
            problems.append(f"{name}: it was not built")
            continue
        shutil.copy2(built(build, name), folder / name)
        if strip := tools.find("strip"):
            text_of([strip, folder / name])
        size = (folder / name).stat().st_size / 2**20
        print(f"{folder / name}: {size:.1f} MiB")
        if problem := portability(folder / name):
            problems.append(f"{name}: {problem}")
    write_json(folder / "programs.json", {"machine": machine.facts(), "architectures": architectures or "default"})
    for problem in problems:
        print(f"gpu_check: {problem}")
    return 1 if problems else 0
