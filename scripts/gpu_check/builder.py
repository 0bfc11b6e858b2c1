"""Builds the programs on the machine that runs them; a row for the configuration and for each program."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_check import machine, programs, tools
from gpu_check.process import run, tail
from gpu_check.programs import PROGRAMS, Missing

# Without a GPU there is nothing to choose by: one architecture, for the build to be short.
WITHOUT_GPU = "90a"


def row_of(name: str, outcome, log: str) -> dict:
    row = {"name": name, "status": outcome.status, "seconds": round(outcome.seconds, 2), "note": outcome.note}
    return row if outcome.status == "passed" else row | {"log": log}


def error_of(log: str, name: str) -> str:
    """The first error of the build's log that names the program, or the first of all."""
    lines = log.splitlines()
    failed = [i for i, line in enumerate(lines) if line.startswith("FAILED: ")]
    mine = next((i for i in failed if name in lines[i]), failed[0] if failed else None)
    if mine is None:
        return "it was not built"
    return next((line for line in lines[mine:] if "error:" in line.lower()), lines[mine])[:300]


def build(context, architectures: str | None) -> Iterator[dict]:
    """Rows as they come; `context.programs` has what was built."""
    build_folder, folder = context.build, context.folder
    build_folder.mkdir(parents=True, exist_ok=True)
    capability = folder.machine["gpu"].get("compute_capability")
    chosen = architectures or (machine.architecture(capability) if capability else WITHOUT_GPU)
    environment = tools.environment()
    name = "build: configure"
    try:
        command = programs.configure_command(build_folder, f"-DOCTAVO_CUDA_ARCHITECTURES={chosen}",
                                             "-DOCTAVO_BUILD_PYTHON=OFF")
    except Missing as missing:
        yield {"name": name, "status": "failed", "seconds": 0.0, "note": str(missing)}
        return
    outcome = run(command, max(1.0, min(120.0, context.remaining())), folder.out(name), folder.log(name),
                  env=environment)
    yield row_of(name, outcome, tail(folder.log(name)) or tail(folder.out(name)))
    if outcome.status != "passed":
        return
    name = "build: programs"
    outcome = run(programs.build_command(build_folder, *PROGRAMS), max(1.0, min(300.0, context.remaining())),
                  folder.out(name), folder.log(name), env=environment)
    log = tail(folder.out(name), 1 << 20) + tail(folder.log(name), 1 << 20)
    for program in PROGRAMS:
        path = programs.built(build_folder, program)
        if path.is_file() and (outcome.status == "passed" or is_up_to_date(context, program, environment)):
            context.programs[program] = path
            yield {"name": f"build: {program}", "status": "passed", "seconds": round(outcome.seconds, 2), "note": ""}
        else:
            note = error_of(log, program) if outcome.status == "failed" else outcome.note
            yield {"name": f"build: {program}", "status": "not built", "seconds": round(outcome.seconds, 2),
                   "note": note, "log": log[-4000:]}


def is_up_to_date(context, program: str, environment: dict) -> bool:
    """Whether the program is of these sources, when others were not built: one of an earlier build can lie there."""
    name = f"build: {program}"
    limit = max(5.0, min(60.0, context.remaining()))
    outcome = run(programs.build_command(context.build, program), limit, context.folder.out(name),
                  context.folder.log(name), env=environment)
    return outcome.status == "passed"
