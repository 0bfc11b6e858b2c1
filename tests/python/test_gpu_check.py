"""scripts/gpu_check.sh: every step in its order, on a machine that is made up, and what is said of steps that fail."""

import pathlib
import shutil
import subprocess
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("found,words", [((), "nvcc was not found"), (("nvcc",), "nvidia-smi was not found")])
def test_gpu_check_says_what_the_machine_lacks(tmp_path, found, words):
    for tool in ("bash", "env", "dirname", "nproc", "awk", "python3"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    for name in found:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([ROOT / "scripts" / "gpu_check.sh"], capture_output=True, text=True,
                          env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and words in done.stderr


# What gpu_check.sh starts, as programs that write down that they were: `BROKEN` names one that crashes, `HANGS` one
# that never ends.
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >>"$LOG"
[ "$BROKEN" != "$(basename "$0")" ] || exit 139
[ "$HANGS" != "$(basename "$0")" ] || exec sleep 600
"""
PROGRAMS = {
    "nvcc": "", "nvidia-smi": "case $* in *compute_cap*) echo 9.0 ;; *) echo 'NVIDIA H200 (fake)' ;; esac",
    "compute-sanitizer": "", "python3": """case $1 in "bench/gpu/${BROKEN:-none}") exit 1 ;; "bench/gpu/${HANGS:-none}")
    exec sleep 600 ;; esac""",
    # The real one, whose limit is short for what hangs anyway.
    "timeout": """case $3,$4 in *"/$HANGS,"* | "$HANGS,"* | *",bench/gpu/$HANGS")
  exec /usr/bin/timeout "$1" 0.2 "$3" "$4" ;;
esac
exec /usr/bin/timeout "$@\"""",
    "cmake": """[ "$1" = --build ] || exit 0
for target in tests/cuda_backend/cuda_gpu_test tests/cuda_words/cuda_word_dump tests/cuda_words/cuda_word_dump_test \\
  bench/cuda/cuda_first_measurements; do
  mkdir -p build/gpu/$(dirname $target) && cp "$PLAIN" build/gpu/$target
done
mkdir -p build/gpu/python && touch build/gpu/python/_core.so""",
}


LEFT = [f"build/gpu/{name}" for name in ("conformance.json", "measurements.json", "words.json", "memcheck.log",
                                         "racecheck.log", "synccheck.log")]
LEFT += [f"bench/results/NVIDIA_H200__fake_.{kind}" for kind in ("json", "md")]


@pytest.fixture
def checkout(tmp_path):
    """A tree of the script, what it copies, and programs in place of those that it starts: run(broken, hangs) -> rc,
    log, stderr. What an earlier run may have left is there."""
    for folder in ("scripts", "python/octavo", "bin", "tools"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("gpu_check.sh", "common.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "python/octavo/__init__.py").touch()
    for name, more in (PROGRAMS | {"plain": "echo '{}'"}).items():
        (tmp_path / "bin" / name).write_text(PROGRAM + more + "\n")
        (tmp_path / "bin" / name).chmod(0o755)
    log = tmp_path / "log"

    def run(broken="", hangs=""):
        log.write_text("")
        for left in LEFT:
            (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / left).write_text("of an earlier run")
        environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "LOG": str(log), "BROKEN": broken,
                       "HANGS": hangs, "PLAIN": str(tmp_path / "bin/plain")}
        done = subprocess.run([tmp_path / "scripts/gpu_check.sh"], capture_output=True, text=True, env=environment)
        return done.returncode, log.read_text(), done.stderr
    return types.SimpleNamespace(run=run, root=tmp_path)


def steps_in(log, *names):
    """Where each of them is first heard of, in the log's order."""
    places = [log.find(name) for name in names]
    assert -1 not in places, (names, log)
    return places


def test_gpu_check_does_every_step(checkout):
    code, log, stderr = checkout.run()
    assert code == 0, log + stderr
    assert "-DOCTAVO_CUDA_CARDS=90a" in log
    places = steps_in(log, "cmake -G", "cmake --build", "cuda_gpu_test --gtest", "--tool memcheck", "--tool racecheck",
                      "--tool synccheck", "\ncuda_first_measurements ", "\npython3 bench/gpu/gpu_compare.py",
                      "\ncuda_word_dump ", "\ncuda_word_dump_test ", "gpu_report.py", "bench_figures.py --write")
    assert places == sorted(places)
    compare = next(line for line in log.splitlines() if line.startswith("python3 bench/gpu/gpu_compare.py"))
    assert compare.endswith("--out bench/results/NVIDIA_H200__fake_.json") and "memcheck=passed" in compare
    assert "--conformance build/gpu/conformance.json --measurements build/gpu/measurements.json" in compare
    assert "bench/results/NVIDIA_H200__fake_.json --checks comparison=passed words=passed emulation=passed" in log
    assert (checkout.root / "tests/cuda_words/tables/NVIDIA_H200__fake_.json").read_text() == "{}\n"
    # Whatever waits on the card is under a limit.
    limited = [line.split()[3] for line in log.splitlines() if line.startswith("timeout --kill-after=10 ")]
    assert [pathlib.Path(name).name for name in limited] == [
        "cuda_gpu_test", *["compute-sanitizer"] * 3, "cuda_first_measurements", "python3", "cuda_word_dump",
        "cuda_word_dump_test"]


def test_gpu_check_takes_no_earlier_result_for_its_own(checkout):
    checkout.run("cuda_gpu_test")
    words = "of an earlier run"
    assert len(LEFT) == 8
    assert not [left for left in LEFT if (path := checkout.root / left).exists() and path.read_text() == words]


# The program that fails -> the name of the check.
STEPS = {"cuda_gpu_test": "conformance", "compute-sanitizer": "memcheck", "cuda_word_dump": "words",
         "cuda_word_dump_test": "emulation", "cuda_first_measurements": "measurements"}


@pytest.mark.parametrize("result", ["failed", "timed out"])
@pytest.mark.parametrize("program", STEPS)
def test_gpu_check_goes_on_behind_a_failure_and_tells_of_it(checkout, program, result):
    code, log, stderr = checkout.run(**{"broken" if result == "failed" else "hangs": program})
    check = f"{STEPS[program]}={result}"
    assert code == 1
    reporters = ("python3 bench/gpu/gpu_compare.py", "python3 bench/gpu/gpu_report.py")
    told = "".join(line for line in log.splitlines() if line.startswith(reporters))
    assert check in told and "comparison=passed" in told and log.rstrip().endswith("bench_figures.py --write")
    assert stderr.splitlines()[-1].startswith("error: ") and f"{STEPS[program]} ({result})" in stderr.splitlines()[-1]
    assert (checkout.root / "tests/cuda_words/tables").exists() == (program != "cuda_word_dump")


@pytest.mark.parametrize("result", ["failed", "timed out"])
def test_gpu_check_tells_of_a_comparison_that_fails(checkout, result):
    """Also where every other python3 fails with it."""
    code, log, stderr = checkout.run(**{"broken" if result == "failed" else "hangs": "gpu_compare.py"})
    assert code == 1 and f"comparison ({result})" in stderr.splitlines()[-1]
    assert f"comparison={result} words=passed" in log
