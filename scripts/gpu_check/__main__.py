"""Checks octavo on this machine's GPU; scripts/gpu_check.sh starts it.

    scripts/gpu_check.sh [--out DIR] [--prebuilt DIR] [--time-limit SECONDS] [--resume]    build and run every step
    scripts/gpu_check.sh --build DIR [--architectures "80;90a"]                            programs for another machine
    scripts/gpu_check.sh --report DIR [--publish]                                          the report of a run

Needs nvcc, a C++ compiler, CMake and Python's standard library; torch and nanobind for the comparison. Downloads
nothing. Every step is independent: a target that does not compile, a crash, a hang or a tool that the machine refuses
is a row of the report. Exit code: 0 where nothing failed, 1 where a step failed, 2 for wrong arguments, 3 without a
GPU.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import pathlib
import signal
import sys
import time

from gpu_check import builder, machine, process, programs, report, steps
from gpu_check.results import BAD, Folder

ROOT = machine.ROOT
# Conformance tests at a time: the oracle's work on the CPU is most of it.
SIDE_BY_SIDE = 4


def parse(arguments=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/gpu_check.sh", description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "gpu-check", metavar="DIR",
                        help="the folder of results")
    parser.add_argument("--prebuilt", type=pathlib.Path, metavar="DIR", help="programs that --build made elsewhere")
    parser.add_argument("--time-limit", type=float, default=480, metavar="SECONDS", help="for the whole run")
    parser.add_argument("--resume", action="store_true", help="keep the results in --out and do what is left")
    parser.add_argument("--build", type=pathlib.Path, metavar="DIR", help="only build the programs, into DIR")
    parser.add_argument("--report", type=pathlib.Path, metavar="DIR",
                        help="only write the report of a run: its folder or its summary.json")
    parser.add_argument("--publish", action="store_true",
                        help="with --report: also into bench/results, tests/cuda_words/tables and README.md")
    parser.add_argument("--architectures", metavar="LIST",
                        help='what nvcc compiles for, as "80;90a"; this machine\'s GPU, for --build all')
    parser.add_argument("--build-folder", type=pathlib.Path, default=ROOT / "build" / "gpu", metavar="DIR",
                        help="CMake's folder")
    parser.add_argument("--conformance", nargs="+", default=["*"], metavar="PATTERN",
                        help="the conformance tests to run, by name")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME",
                        help="steps to leave out, by the beginning of their names: python, sanitizer, ...")
    parser.add_argument("--quick", action="store_true", help="short measurements, for a rehearsal of the steps")
    options = parser.parse_args(arguments)
    if not 10 <= options.time_limit <= 86400:
        parser.error(f"--time-limit takes 10 to 86400 seconds, not {options.time_limit:g}")
    if options.prebuilt is not None and not options.prebuilt.is_dir():
        parser.error(f"--prebuilt: {options.prebuilt} is no folder")
    for path in ("out", "prebuilt", "build", "build_folder"):
        if (value := getattr(options, path)) is not None:
            setattr(options, path, value.absolute())
    return options


def say(row: dict) -> None:
    note = f": {row['note']}" if row["note"] else ""
    print(f"{row['status']:>11}  {row['seconds']:6.1f} s  {row['name']}{note}", flush=True)


def do_steps(context: steps.Context, folder: Folder) -> None:
    for batch in steps.batches(context):
        left = [step for step in batch if not folder.is_done(step.name)]
        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE if len(left) > 1 else 1) as pool:
            for row in pool.map(lambda step: steps.perform(step, context), left):
                folder.add(row)
                say(row)


def check(options: argparse.Namespace) -> int:
    deadline = time.monotonic() + options.time_limit
    folder = Folder(options.out)
    folder.open(options.resume)
    folder.machine = machine.facts()
    gpu = folder.machine["gpu"].get("name", "no GPU that nvidia-smi knows")
    print(f"{gpu}; results: {options.out}", flush=True)
    # A step ends some seconds before the limit: what it leaves must still be written.
    context = steps.Context(folder, options.build_folder, {}, sys.executable,
                            lambda: deadline - 5 - time.monotonic(),
                            quick=options.quick, conformance=tuple(options.conformance), skip=tuple(options.skip))
    if options.prebuilt is not None:
        context.programs = programs.prebuilt(options.prebuilt)
    else:
        for row in builder.build(context, options.architectures):
            folder.add(row)
            say(row)
    if any(row["status"] == "passed" for name, row in folder.rows.items()
           if name.startswith(("primitives", "conformance", "speed"))):
        context.gpu = True  # an earlier run met it
    do_steps(context, folder)
    return finish(folder, context)


def finish(folder: Folder, context: steps.Context) -> int:
    try:
        report.write(folder.path)
        print(folder.path / "report.md")
    except Exception as error:  # noqa: BLE001: whatever is wrong with it, the rows are there
        print(f"gpu_check: the report cannot be written: {error}", file=sys.stderr)
    counts: dict[str, int] = {}
    for row in folder.rows.values():
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    bad = [f"{row['name']} ({row['status']})" for row in folder.rows.values() if row["status"] in BAD]
    if bad:
        print(f"error: {', '.join(bad)}", file=sys.stderr)
        return 1
    return 3 if context.gpu is False else 0


def interrupted(*_) -> None:
    """What runs is killed; what ended has its row."""
    process.stop()
    sys.exit(1)


def main() -> int:
    options = parse()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupted)
    if options.report is not None:
        return report.main(options.report, options.publish)
    if options.build is not None:
        return programs.build_portable(options.build, options.build_folder, options.architectures, 3600)
    return check(options)


if __name__ == "__main__":
    sys.exit(main())
