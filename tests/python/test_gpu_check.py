"""scripts/gpu_check: the steps on machines that are made up of stubs; what is said of each way in which a step can end.
The programs themselves are rehearsed on the emulated GPU by tests/gpu_programs/rehearsal.py."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from gpu_check import builder, machine, process, programs, report, results, steps  # noqa: E402


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# How a stub ends: well, with an error, by a signal, never, without a GPU.
ENDS = {"works": "exit 0", "fails": "exit 1", "crashes": "kill -SEGV $$", "hangs": "exec sleep 600",
        "no GPU": "echo 'no GPU can be used: no driver' >&2; exit 3"}
OUTPUTS = {
    "cuda_primitive_dump": "echo '{\"card\": \"GPU\"}'",
    "cuda_primitive_compare": "echo '{\"equal\": [\"a\"], \"different\": {}}'",
    "gpu_conformance": "[ \"$1\" != --list ] || { echo Suite.A; echo CudaQuantizeTest.B; exit 0; }\n"
                       "echo \"{\\\"test\\\": \\\"$1\\\", \\\"failures\\\": []}\"",
    "cuda_first_measurements": "[ \"$1\" != --list ] || { echo mma_x Tops; exit 0; }\n"
                               "echo '{\"measurements\": [{\"name\": \"mma_x\", \"unit\": \"Tops\", \"value\": 1}]}'",
    "gpu_attention_bench": "echo '{\"name\": \"octavo int8\", \"ms\": 1, \"tflops\": 2, \"relative_l2\": 0.01}'",
}
# The steps of each program.
STEPS = {"cuda_primitive_dump": ["primitives"], "cuda_primitive_compare": ["primitives: emulation"],
         "gpu_conformance": ["conformance: CudaQuantizeTest.B", "conformance: Suite.A"],
         "cuda_first_measurements": ["measurements: mma"],
         "gpu_attention_bench": [f"speed: {name}" for name, *_ in steps.SPEEDS],
         "compute-sanitizer": [f"sanitizer: {tool}" for tool in ("memcheck", "racecheck", "synccheck")]}


@pytest.fixture
def stub_machine(tmp_path, monkeypatch):
    """run(ends, **options) -> rows by name: every step with stubs; `ends` has how a program ends, else it "works"."""
    monkeypatch.setattr(process, "KILL_WAIT", 0.5)
    monkeypatch.setattr(steps.tools, "find", lambda name: str(tmp_path / name) if (tmp_path / name).exists() else None)
    monkeypatch.setattr(steps, "python_configure", steps.absent("nanobind is not installed"))
    monkeypatch.setattr(steps, "baselines_command", lambda context: [tmp_path / "gpu_compare"])

    def run(ends=None, resume=False, seconds=600, limit=None, least=None, without=()):
        for name, output in {**OUTPUTS, "compute-sanitizer": "", "gpu_compare": ""}.items():
            executable(tmp_path / name, f"{output}\n{ENDS[(ends or {}).get(name, 'works')]}")
            if name in without:
                (tmp_path / name).unlink()
        folder = results.Folder(tmp_path / "out")
        folder.open(resume)
        folder.machine = {"gpu": {}}
        began = time.monotonic()
        context = steps.Context(folder, tmp_path / "build", programs.prebuilt(tmp_path), sys.executable,
                                lambda: began + seconds - time.monotonic())
        for batch in steps.batches(context):
            for step in batch:
                step.limit = step.limit if limit is None else limit
                step.least = step.least if least is None else least
                if not folder.is_done(step.name):
                    folder.add(steps.perform(step, context))
        return folder.rows
    run.root = tmp_path
    return run


def test_every_step_has_its_row_in_the_order_of_its_worth(stub_machine):
    rows = stub_machine()
    expected = [name for program in STEPS for name in STEPS[program] if program != "compute-sanitizer"]
    assert list(rows) == [*expected, "python: configure", "python: build", "baselines", *STEPS["compute-sanitizer"]]
    assert {rows[name]["status"] for program in STEPS for name in STEPS[program]} == {"passed"}
    assert rows["primitives: emulation"]["data"]["equal"] == ["a"]
    assert rows["conformance: Suite.A"]["data"] == [{"test": "Suite.A", "failures": []}]
    # A file of its own for each, and all of them in one.
    summary = json.loads((stub_machine.root / "out/summary.json").read_text())
    assert summary["rows"] == list(rows.values())
    for name in rows:
        assert json.loads((stub_machine.root / f"out/steps/{results.file_name(name)}.json").read_text()) == rows[name]


@pytest.mark.parametrize("end,status", [("fails", "failed"), ("crashes", "crashed"), ("no GPU", "no GPU")])
@pytest.mark.parametrize("program", ["cuda_primitive_dump", "gpu_conformance", "cuda_first_measurements",
                                     "gpu_attention_bench"])
def test_a_step_that_ends_badly_is_a_row_and_the_others_are_done(stub_machine, program, end, status):
    rows = stub_machine({program: end})
    for other, names in STEPS.items():
        # The comparison needs the table that the dump gave: a dump that fails has one, too.
        wanted = status if other == program else "passed"
        for name in names:
            assert rows[name]["status"] == wanted or name == "primitives: emulation", (name, rows[name])
    if end == "crashes":
        assert rows[STEPS[program][0]]["note"] == "SIGSEGV"


def test_a_step_that_hangs_is_killed_at_its_limit(stub_machine):
    began = time.monotonic()
    rows = stub_machine({"gpu_attention_bench": "hangs"}, limit=0.5)
    assert time.monotonic() - began < 30
    names = STEPS["gpu_attention_bench"]
    hung, rest = names[: steps.MOST_HUNG], names[steps.MOST_HUNG :]
    assert rest
    for name in rest:
        assert rows[name]["status"] == "not run" and rows[name]["note"] == "3 steps of this kind timed out"
    for name in hung:
        assert rows[name]["status"] == "timed out" and rows[name]["note"] == "no end within 0 s"
        # What it printed before is kept.
        assert rows[name]["data"][0]["name"] == "octavo int8"
    assert rows["sanitizer: synccheck"]["status"] == "passed"


def test_without_a_gpu_each_step_says_so(stub_machine):
    rows = stub_machine(dict.fromkeys([*OUTPUTS, "gpu_compare"], "no GPU"), without=["compute-sanitizer"])
    statuses = {name: row["status"] for name, row in rows.items() if not name.startswith("python")}
    assert set(statuses.values()) == {"no GPU"}, statuses
    assert rows["primitives"]["note"] == "no GPU can be used: no driver"


def test_a_missing_program_is_a_row(stub_machine):
    rows = stub_machine(without=["gpu_conformance", "compute-sanitizer"])
    assert rows["conformance"]["status"] == "not built"
    assert rows["sanitizer: memcheck"]["status"] == "absent"
    assert rows["sanitizer: memcheck"]["note"] == "compute-sanitizer was not found"
    assert rows["measurements: mma"]["status"] == "passed"


def test_what_the_time_limit_leaves_out_is_done_by_resume(stub_machine):
    rows = stub_machine(seconds=12)
    assert rows["primitives"]["status"] == "passed" and rows["measurements: mma"]["status"] == "not run"
    assert rows["measurements: mma"]["note"].endswith("s of the time limit were left")
    kept = dict(rows["primitives"])
    executable(stub_machine.root / "cuda_primitive_dump", "exit 1")
    rows = stub_machine({"cuda_primitive_dump": "fails"}, resume=True)
    assert rows["primitives"] == kept and rows["measurements: mma"]["status"] == "passed"
    # A step that its own limit did not end is left as well; one that failed is not.
    assert not set(results.DONE) & {"cut short", "not run", "no GPU", "not built", "absent", "interrupted"}
    # A new run takes no earlier result for its own.
    assert stub_machine({"cuda_primitive_dump": "fails"})["primitives"]["status"] == "failed"


def test_a_row_that_resume_replaces_by_others_is_gone(stub_machine):
    assert stub_machine(without=["gpu_conformance"])["conformance"]["status"] == "not built"
    rows = stub_machine(resume=True)
    assert "conformance" not in rows and rows["conformance: Suite.A"]["status"] == "passed"


def test_a_limit_that_the_plan_shortened_is_no_verdict(stub_machine):
    rows = stub_machine({"cuda_primitive_dump": "hangs"}, seconds=3, least=0.5)
    assert rows["primitives"]["status"] == "cut short" and rows["conformance: Suite.A"]["status"] == "not run"


@pytest.mark.parametrize("code,output,status", [
    (1, "========= Device not supported. Please refer to the documentation", "refused"),
    (3, "gpu_conformance: no GPU can be used: an unknown error", "refused"),
    (1, "========= ERROR SUMMARY: 0 errors", "refused"),
    (1, '{"test": "A"}\n========= ERROR SUMMARY: 2 errors', "failed"),
    (1, "========= Invalid __global__ write\n========= ERROR SUMMARY: 2 errors", "failed"),
])
def test_a_sanitizer_that_the_machine_refuses_is_no_failure(code, output, status):
    context = types.SimpleNamespace(gpu=True)
    assert steps.judge_sanitizer(context, process.Outcome("failed", code, 1.0), output) == status
    assert steps.judge_sanitizer(context, process.Outcome("passed", 0, 1.0), "") == "passed"


def test_a_process_and_what_it_started_are_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "KILL_WAIT", 0.5)
    executable(tmp_path / "parent", f"sleep 600 &\necho $! >{tmp_path}/child\nwait")
    outcome = process.run([tmp_path / "parent"], 0.5, tmp_path / "out", tmp_path / "log")
    assert outcome.status == "timed out"
    child = int((tmp_path / "child").read_text())
    limit = time.monotonic() + 10
    while time.monotonic() < limit and is_running(child):
        time.sleep(0.02)
    assert not is_running(child)


def is_running(number):
    try:
        return pathlib.Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_that_cannot_be_started_is_an_outcome(tmp_path):
    outcome = process.run([tmp_path / "nothing"], 1, tmp_path / "out", tmp_path / "log")
    assert outcome.status == "absent" and "nothing cannot be started: " in outcome.note
    assert process.text_of([tmp_path / "nothing"]) is None


# Building.

CMAKE = """echo "$*" >>"$LOG"
case $1 in
--build) for program in $ALL; do mkdir -p "$2/$(dirname $program)" && cp "$STUB" "$2/$program"; done
  targets=${*#*--target }
  for target in ${targets%% -- *}; do
    case " $MADE " in
    *" $target "*) ;;
    *) echo "FAILED: $target.o"; echo "c++ -Werror x.cpp"; echo "x.cpp: error: broken"; exit 1 ;;
    esac
  done ;;
*) exit $CONFIGURE ;;
esac"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """build(made, configure) -> (rows, programs, log) with a CMake that builds the targets `made`. Programs of an
    earlier build are there."""
    for name in ("nvcc", "ninja", "stub"):
        executable(tmp_path / name, "")
    executable(tmp_path / "cmake", CMAKE)
    monkeypatch.setattr(programs.tools, "find", lambda name: str(tmp_path / name)
                        if (tmp_path / name).exists() else None)

    def run(made=programs.PROGRAMS, configure=0, capability=None):
        shutil.rmtree(tmp_path / "build", ignore_errors=True)
        for name, value in {"LOG": tmp_path / "log", "STUB": tmp_path / "stub", "CONFIGURE": configure,
                            "MADE": " ".join(made),
                            "ALL": " ".join(f"{f}/{name}" for name, f in programs.PROGRAMS.items())}.items():
            monkeypatch.setenv(name, str(value))
        folder = results.Folder(tmp_path / "out")
        folder.open(False)
        folder.machine = {"gpu": {"compute_capability": capability} if capability else {}}
        context = steps.Context(folder, tmp_path / "build", {}, sys.executable, lambda: 100.0)
        rows = list(builder.build(context, None))
        return {row["name"]: row for row in rows}, context.programs, (tmp_path / "log").read_text()
    return run


def test_a_build_for_the_gpu_that_is_there(build):
    rows, made, log = build(capability="9.0")
    assert set(made) == set(programs.PROGRAMS) and {row["status"] for row in rows.values()} == {"passed"}
    assert "-DOCTAVO_CUDA_ARCHITECTURES=90a" in log
    assert "-DOCTAVO_GPU_PROGRAMS=ON" in log and "-DOCTAVO_BUILD_TESTS=OFF" in log
    assert machine.architecture("8.9") == "89" and machine.architecture("12.0") == "120"


def test_a_target_that_does_not_compile_is_a_row(build):
    others = [name for name in programs.PROGRAMS if name != "gpu_conformance"]
    rows, made, _ = build(made=others)
    assert set(made) == set(others)
    assert rows["build: gpu_conformance"]["status"] == "not built"
    assert rows["build: gpu_conformance"]["note"] == "x.cpp: error: broken"


def test_a_program_of_an_earlier_build_is_not_taken_for_this_ones(build, tmp_path):
    _, made, _ = build(made=["cuda_primitive_dump"])
    assert list(made) == ["cuda_primitive_dump"]
    assert programs.built(tmp_path / "build", "gpu_conformance").is_file()


def test_a_configuration_that_fails_ends_the_build_alone(build):
    rows, made, _ = build(configure=1)
    assert made == {} and [(name, row["status"]) for name, row in rows.items()] == [("build: configure", "failed")]


@pytest.mark.parametrize("missing", ["cmake", "nvcc"])
def test_a_build_says_what_the_machine_lacks(build, tmp_path, missing):
    build()
    (tmp_path / missing).unlink()
    rows, _, _ = build()
    assert rows["build: configure"]["note"].startswith(f"{missing} was not found")


@pytest.mark.parametrize("needs,glibc,problem", [
    ("libc.so.6", "2.34", ""), ("libc.so.6", "2.36", "it needs GLIBC_2.36; GLIBC_2.34 is allowed"),
    ("libcudart.so.13", "2.17", "it needs libcudart.so.13"), ("", "2.17", "objdump cannot tell what it needs"),
    ("libstdc++.so.6", "2.34\n  0x0 0x00 02 GLIBCXX_3.4.31", "it needs GLIBCXX_3.4.31; GLIBCXX_3.4.30 is allowed")])
def test_programs_for_another_machine_need_little_of_it(monkeypatch, needs, glibc, problem):
    needed = f"  NEEDED               {needs}\n" if needs else ""
    text = f"{needed}  0x0 0x00 03 GLIBC_{glibc}\n  0x0 0x00 02 GLIBC_2.2.5\n"
    monkeypatch.setattr(programs, "text_of", lambda command: text)
    assert programs.portability(pathlib.Path("x")) == problem


# The report.

def row(name, status="passed", note="", **more):
    return {"name": name, "status": status, "seconds": 1.0, "note": note, **more}


@pytest.fixture
def finished(tmp_path):
    """The folder of a run with something of everything."""
    rows = [row("primitives", data={"card": "GPU X", "capability": 90, "a": [1]}),
            row("primitives: emulation", "failed", "exit code 1",
                data={"equal": ["b"], "different": {"a": {"gpu": [1], "emulation": [2]}}}, log="a differs"),
            row("conformance: A"), row("conformance: B", "failed", "exit code 1", data=[
                {"test": "B", "failures": ["x_test.cpp:3: 1 == 2"]}]),
            row("conformance: C", "not run", "0 s of the time limit were left"),
            row("measurements: mma", data={"measurements": [{"name": "mma_x", "unit": "Tops", "value": 1500.5}]}),
            row("speed: D 128", data=[{"name": "octavo int8", "ms": 1.0, "tflops": 700.0, "relative_l2": 0.01},
                                      {"name": "octavo int4", "refused": "no kernel"}]),
            row("sanitizer: memcheck", "refused", log="Device not supported")]
    summary = {"schema_version": results.SCHEMA, "rows": rows, "machine": {
        "gpu": {"name": "GPU X", "compute_capability": "9.0"}, "packages": {"torch": "2.0"}, "measured": "then"}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


def test_the_report_has_every_step_and_what_failed(finished):
    made = report.write(finished)
    page = (finished / "report.md").read_text()
    for words in ("# GPU X, then, torch 2.0", "1 of 2 conformance tests pass",
                  "| conformance: C | not run | 1.0 | 0 s of the time limit were left |",
                  "### conformance: B: failed", "- x_test.cpp:3: 1 == 2", "1 primitives are the emulation's.",
                  "- a differs", "| mma_x | 1500.5 | Tops |", "| D 128 | octavo int8 | 1.000 | 700 | 1.0e-02 |",
                  "| D 128 | octavo int4 | no kernel | | |"):
        assert words in page, (words, page)
    assert "### sanitizer" not in page
    assert json.loads((finished / "report.json").read_text()) == made
    assert made["conformance"] == {"tests": 2, "passed": 1} and made["checks"]["sanitizer: memcheck"] == "refused"


def test_a_published_report_is_what_the_repository_reads(finished, tmp_path):
    root = tmp_path / "root"
    written = report.publish(finished, root)
    assert [path.relative_to(root).as_posix() for path in written] == [
        "bench/results/GPU_X.json", "bench/results/GPU_X.md", "tests/cuda_words/tables/GPU_X.json"]
    # A line for each primitive.
    assert written[2].read_text() == '{\n"card": "GPU X",\n"capability": 90,\n"a": [1]\n}\n'


def test_a_run_without_a_passed_conformance_test_is_not_published(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"machine": {}, "rows": [row("conformance: A", "no GPU")]}))
    with pytest.raises(SystemExit, match="no conformance test passed"):
        report.publish(tmp_path, tmp_path / "root")


def test_a_folder_without_results_is_an_error(tmp_path, capsys):
    assert report.main(tmp_path, False) == 1
    assert "holds no results of a run" in capsys.readouterr().err


# The command.

def command(*arguments, **environment):
    return subprocess.run([ROOT / "scripts/gpu_check.sh", *arguments], capture_output=True, text=True,
                          env=os.environ | {"PYTHON": sys.executable} | environment)


@pytest.mark.parametrize("arguments,words", [
    (["--time-limit", "1"], "--time-limit takes 10 to 86400 seconds, not 1"),
    (["--prebuilt", "/no/such/folder"], "--prebuilt: /no/such/folder is no folder")])
def test_wrong_arguments_are_named(arguments, words):
    done = command(*arguments)
    assert done.returncode == 2 and words in done.stderr


def test_the_entry_needs_nothing_but_a_python(tmp_path):
    (tmp_path / "bash").symlink_to(shutil.which("bash"))
    done = subprocess.run([shutil.which("bash"), ROOT / "scripts/gpu_check.sh"], capture_output=True, text=True,
                          env={"PATH": str(tmp_path)})
    assert done.returncode == 2 and "no Python was found" in done.stderr
    (tmp_path / "python3").symlink_to(sys.executable)
    done = subprocess.run([shutil.which("bash"), ROOT / "scripts/gpu_check.sh", "--help"], capture_output=True,
                          text=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 0 and "--prebuilt DIR" in done.stdout


def test_a_run_that_is_cut_off_leaves_what_was_done(tmp_path):
    for name, output in OUTPUTS.items():
        end = ENDS["hangs" if name == "gpu_attention_bench" else "works"]
        executable(tmp_path / "programs" / name, f"{output}\n{end}")
    with subprocess.Popen([ROOT / "scripts/gpu_check.sh", "--prebuilt", tmp_path / "programs", "--out",
                           tmp_path / "out"], env=os.environ | {"PYTHON": sys.executable}, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as run:
        limit = time.monotonic() + 60
        log = tmp_path / "out/logs" / f"{results.file_name(STEPS['gpu_attention_bench'][0])}.log"
        while not log.exists() and time.monotonic() < limit:
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 1
    rows = {row["name"]: row["status"] for row in json.loads((tmp_path / "out/summary.json").read_text())["rows"]}
    assert rows["measurements: mma"] == "passed" and STEPS["gpu_attention_bench"][0] not in rows
