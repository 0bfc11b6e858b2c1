"""The steps on a GPU, in the order of their worth: where the time is short, the last ones are left out."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.util
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from gpu_check import programs, tools
from gpu_check.machine import ROOT
from gpu_check.process import Outcome, run, tail, text_of
from gpu_check.programs import Missing

# So many steps of a kind that hang stand for the others: they would take the time of every step after them.
MOST_HUNG = 3
# Exit codes of this project's programs.
NO_GPU, ABSENT = 3, 4
BASELINES = ROOT / "bench" / "gpu_baselines"
# Tests that the sanitizers run: small ones of each kind, for they take a hundred times as long.
SANITIZED = ("*NoRows", "*IsTheCpus", "*/3_*", "*/6_*")
# What a sanitizer says where the machine does not allow it, instead of a finding.
REFUSALS = re.compile(r"device not supported|not supported on|unable to (init|attach|find)|failed to initialize|"
                      r"initialization error|internal (sanitizer )?error|operation not permitted|permission|"
                      r"terminated before first instrumented", re.IGNORECASE)
# The shapes of the first bars: (name, arguments of gpu_attention_bench, environment).
LONG = ("--rows", "16384", "--heads", "64", "--kv-heads", "8")
SPEEDS = (("D 128, 16384 keys", LONG, {}),
          ("D 128, 16384 keys, without ping-pong", LONG, {"OCTAVO_CUDA_PING_PONG": "off"}),
          ("D 128, 16384 keys, causal", (*LONG, "--causal"), {}),
          ("D 64, 16384 keys", ("--rows", "16384", "--heads", "32", "--kv-heads", "32", "--head-dim", "64"), {}),
          ("D 128, 1024 keys, causal", ("--rows", "1024", "--batch", "8", "--heads", "32", "--kv-heads", "8",
                                        "--causal"), {}))

@dataclasses.dataclass
class Context:
    folder: object  # results.Folder
    build: pathlib.Path
    programs: dict[str, pathlib.Path]
    python: str
    remaining: Callable[[], float]
    # None until a step has found out whether the machine has a GPU.
    gpu: bool | None = None
    quick: bool = False  # the rehearsal: short measurements
    conformance: tuple[str, ...] = ("*",)  # patterns of tests
    skip: tuple[str, ...] = ()  # how names of steps begin that are left out
    hung: dict[str, int] = dataclasses.field(default_factory=dict)  # kind of step -> how many timed out

    def program(self, name: str) -> pathlib.Path:
        if name not in self.programs:
            raise Missing(f"{name} was not built")
        return self.programs[name]


@dataclasses.dataclass
class Step:
    name: str
    command: Callable[[Context], list]  # raises Missing
    limit: float  # seconds
    least: float = 5  # seconds that must be left for a start
    read: Callable[[pathlib.Path], object] | None = None  # the row's data
    file: str | None = None  # of the results' folder, that `read` reads; None: the standard output
    judge: Callable[[Context, Outcome, str], str] | None = None  # (outcome, all output) -> status
    after: Callable[[Context, Outcome], None] | None = None
    environment: Callable[[Context], dict] | None = None
    on_gpu: bool = True


def json_of(path: pathlib.Path):
    return json.loads(path.read_text())


def json_lines(path: pathlib.Path) -> list:
    """Every line that is JSON: a program that crashed leaves the lines before, and half of one."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


# Primitives.

def keep_table(context: Context, outcome: Outcome) -> None:
    """The dump's table, where the comparison and the report find it."""
    out = context.folder.out("primitives")
    if outcome.code in (0, 1) and out.stat().st_size:
        (context.folder.path / "primitives.json").write_bytes(out.read_bytes())


def compare_command(context: Context) -> list:
    table = context.folder.path / "primitives.json"
    if not table.is_file():
        raise Missing("the GPU gave no table of its primitives")
    return [context.program("cuda_primitive_compare"), table]


# Conformance.

ORDER = ("CudaQuantizeTest", "CudaMergeTest", "Recipes/", "CudaLargeScores", "CudaValueUnit")


def conformance_tests(context: Context) -> list[str]:
    names = (text_of([context.program("gpu_conformance"), "--list"]) or "").split()
    names = [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in context.conformance)]
    if not names:
        raise Missing("gpu_conformance --list prints no such test")
    place = {prefix: i for i, prefix in enumerate(ORDER)}
    return sorted(names, key=lambda name: next((i for p, i in place.items() if name.startswith(p)), len(place)))


def conformance_steps(context: Context) -> list[Step]:
    """A process for each test: after an illegal access every later call of the same process fails."""
    try:
        names = conformance_tests(context)
    except Missing as missing:
        return [Step("conformance", absent(str(missing)), 60)]
    return [Step(f"conformance: {name}", lambda c, name=name: [c.program("gpu_conformance"), name], 40, read=json_lines)
            for name in names]


def absent(reason: str):
    def command(_: Context) -> list:
        raise Missing(reason)
    return command


# Measurements and speed.

def measurement_steps(context: Context) -> list[Step]:
    """A process for each kind (what stands before the first underscore): one that hangs does not hide the others."""
    try:
        names = (text_of([context.program("cuda_first_measurements"), "--list"]) or "").splitlines()
    except Missing as missing:
        return [Step("measurements", absent(str(missing)), 60)]
    kinds = dict.fromkeys(line.split("_")[0] for line in names if "_" in line)
    return [Step(f"measurements: {kind}", measurements_command(kind), 60, least=20, read=json_of)
            for kind in kinds] or [Step("measurements", absent("cuda_first_measurements --list prints nothing"), 60)]


def measurements_command(prefix: str):
    def command(context: Context) -> list:
        return [context.program("cuda_first_measurements"), "--only", prefix, "--seconds",
                "0.05" if context.quick else "0.5"]
    return command


def speed_command(arguments: tuple[str, ...]):
    def command(context: Context) -> list:
        small = ["--rows", "64", "--batch", "1", "--heads", "2", "--kv-heads", "1", "--head-dim", "64", "int8", "exact"]
        return [context.program("gpu_attention_bench"), "--seconds", "0.01" if context.quick else "0.7", *arguments,
                *(small if context.quick else [])]
    return command


# Python.

def python_configure(context: Context) -> list:
    if importlib.util.find_spec("nanobind") is None:
        raise Missing("nanobind is not installed")
    return programs.configure_command(context.build, "-DOCTAVO_BUILD_PYTHON=ON",
                                      f"-DPython_EXECUTABLE={context.python}")


def python_build(context: Context) -> list:
    if context.folder.rows.get("python: configure", {}).get("status") != "passed":
        raise Missing("the Python package was not configured")
    return programs.build_command(context.build, "_core")


def make_package(context: Context, outcome: Outcome) -> None:
    """A package of the sources and of the module that was built here."""
    modules = sorted((context.build / "python").glob("_core*.so"))
    if outcome.status != "passed" or not modules:
        return
    package = context.build / "package" / "octavo"
    package.mkdir(parents=True, exist_ok=True)
    for source in [*(ROOT / "python" / "octavo").glob("*.py"), *modules]:
        (package / source.name).write_bytes(source.read_bytes())


def baselines_command(context: Context) -> list:
    (context.folder.path / "baselines.json").unlink(missing_ok=True)
    seconds = min(150.0, max(20.0, context.remaining() - 90))
    command = [context.python, BASELINES / "gpu_compare.py", "--out", context.folder.path / "baselines.json",
               "--seconds", f"{seconds:.0f}"]
    if "gpu_attention_bench" in context.programs:
        command += ["--program", context.programs["gpu_attention_bench"]]
    return command


def baselines_environment(context: Context) -> dict:
    built = context.folder.rows.get("python: build", {}).get("status") == "passed"
    paths = [str(context.build / "package")] if built else []
    return {"PYTHONPATH": os.pathsep.join(filter(None, [*paths, os.environ.get("PYTHONPATH", "")]))}


# Sanitizers.

def sanitizer_command(tool: str):
    def command(context: Context) -> list:
        sanitizer = tools.find("compute-sanitizer")
        if sanitizer is None:
            raise Missing("compute-sanitizer was not found")
        return [sanitizer, "--tool", tool, "--error-exitcode", "1", context.program("gpu_conformance"),
                *(SANITIZED[:1] if context.quick else SANITIZED)]
    return command


def judge_sanitizer(context: Context, outcome: Outcome, output: str) -> str:
    """A finding is a failure; a sanitizer that cannot work on this machine is not."""
    if outcome.status == "failed" and context.gpu:
        tested = '{"test"' in output
        findings = re.findall(r"ERROR SUMMARY: (\d+) error", output)
        if not tested and (outcome.code == NO_GPU or REFUSALS.search(output)):
            return "refused"
        if not tested and not any(int(n) for n in findings):
            return "refused"
    return outcome.status


def batches(context: Context) -> Iterator[list[Step]]:
    """Steps of one batch may run side by side. The generator runs on as steps end: conformance needs the programs."""
    yield [Step("primitives", lambda c: [c.program("cuda_primitive_dump")], 60, read=json_of, after=keep_table)]
    yield [Step("primitives: emulation", compare_command, 90, read=json_of)]
    yield conformance_steps(context)
    for step in measurement_steps(context):
        yield [step]
    for name, arguments, environment in SPEEDS:
        yield [Step(f"speed: {name}", speed_command(arguments), 45, least=15, read=json_lines,
                    environment=lambda _, its=environment: its)]
    yield [Step("python: configure", python_configure, 60, on_gpu=False)]
    yield [Step("python: build", python_build, 240, least=30, after=make_package, on_gpu=False)]
    yield [Step("baselines", baselines_command, 300, least=40, read=json_of, file="baselines.json",
                environment=baselines_environment)]
    for tool in ("memcheck", "racecheck", "synccheck"):
        yield [Step(f"sanitizer: {tool}", sanitizer_command(tool), 90, least=15, read=json_lines,
                    judge=judge_sanitizer)]


def perform(step: Step, context: Context) -> dict:
    """Runs a step; its row."""
    folder = context.folder
    row = {"name": step.name, "status": "absent", "seconds": 0.0, "note": ""}
    if step.name.startswith(context.skip or "\0"):
        return row | {"status": "skipped", "note": "--skip"}
    kind = step.name.split(":")[0]
    if context.hung.get(kind, 0) >= MOST_HUNG:
        return row | {"status": "not run", "note": f"{MOST_HUNG} steps of this kind timed out"}
    left = context.remaining()
    if left < step.least:
        return row | {"status": "not run", "note": f"{max(left, 0):.0f} s of the time limit were left"}
    out, log = folder.out(step.name), folder.log(step.name)
    try:
        command = step.command(context)
    except Missing as missing:
        if context.gpu is False and step.on_gpu:
            return row | {"status": "no GPU", "note": str(missing)}
        return row | {"status": "not built" if str(missing).endswith("not built") else "absent", "note": str(missing)}
    limit = min(step.limit, left)
    environment = tools.environment() | (step.environment(context) if step.environment else {})
    outcome = run(command, limit, out, log, env=environment)
    output = tail(out, 1 << 20) + tail(log, 1 << 20)
    status = step.judge(context, outcome, output) if step.judge else outcome.status
    if status == "timed out":
        context.hung[kind] = context.hung.get(kind, 0) + 1
        status = "cut short" if limit < step.limit else status
    if step.on_gpu and outcome.code == NO_GPU and status != "refused":
        status = "no GPU"
        context.gpu = bool(context.gpu)
    elif step.on_gpu and outcome.code == ABSENT:
        status = "no GPU" if context.gpu is False else "absent"
    elif step.on_gpu and status == "passed" and step.name != "primitives: emulation":
        context.gpu = True
    row |= {"status": status, "seconds": round(outcome.seconds, 2), "note": outcome.note,
            "command": [str(word) for word in command]}
    if step.read is not None:
        try:
            row["data"] = step.read(context.folder.path / step.file if step.file else out)
        except (OSError, ValueError):
            if status == "passed":
                row |= {"status": "failed", "note": "its output cannot be read"}
    if row["status"] != "passed":
        row["log"] = tail(log) or tail(out)
        said = row["log"].strip().splitlines()
        if row["status"] in ("no GPU", "absent") and said:
            row["note"] = said[-1]
    if step.after is not None:
        step.after(context, outcome)
    return row
