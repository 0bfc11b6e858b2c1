"""bench/models runs its models small; docs/models.md follows from the committed results."""

import json
import pathlib
import subprocess
import sys

from conftest import required

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Relative L2 of the output: exact attention to rounding; the others to the error of their recipe at any depth.
LIMITS = {"PyTorch f32 compiled": 1e-5, "octavo exact": 1e-5, "octavo int8": 3e-2, "octavo int8 compiled": 3e-2,
          "octavo int8_fast": 6e-2, "PyTorch bf16": 6e-2}  # fmt: skip
DECODE = {"octavo exact, f32 cache": 1e-5, "octavo int8, s8 cache": 3e-2, "octavo int8, s4 cache": 0.2,
          "PyTorch bf16": 6e-2}  # fmt: skip


def results_of(tmp_path, *arguments):
    script = str(ROOT / "bench" / "models" / "models.py")
    command = [script, *arguments, "--quick", "--clock", "processor", "--backend", "aot_eager", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "models.json").read_text())


def check(entry, limits):
    errors = {name: variant["error"] for name, variant in entry["variants"].items()}
    assert errors.pop("PyTorch f32") == 0
    assert set(errors) == set(limits)
    for name, error in errors.items():
        # Compiled by this back end, the operations are PyTorch's own.
        assert (0 if "compiled" in name else 1e-9) <= error < limits[name], (entry["model"], name, error)
    assert all(variant["seconds"] > 0 and variant["gain"] > 0 for variant in entry["variants"].values())


def test_small_models(tmp_path):
    required("transformers")
    models = ["vit", "modernbert", "whisper", "dit"]
    compiled = [name for name in LIMITS if "compiled" in name]
    without = [f"--without={name}" for name in compiled]  # compiling these takes minutes
    results_of(tmp_path, *models[:3], "--tokens", "144", *without)
    entries = results_of(tmp_path, "dit")
    assert [entry["model"] for entry in entries] == models
    for entry in entries:
        check(entry, LIMITS if entry["model"] == "dit" else {n: x for n, x in LIMITS.items() if n not in compiled})


def test_decoding(tmp_path):
    """SmolLM2 with its weights, over PyTorch's cache and octavo's."""
    for package in ("transformers", "gguf", "accelerate"):
        required(package)
    (entry,) = results_of(tmp_path, "smollm2-decode")
    assert entry["tokens"] == 256 and entry["description"] == "SmolLM2-135M, 4 steps after the prompt"
    check(entry, DECODE)


def test_usage(tmp_path):
    script = str(ROOT / "bench" / "models" / "models.py")
    for arguments, words in ((["bert"], "model 'bert' is unknown"),
                             (["vit", "--clock", "processor", "--threads", "2"], "takes one thread")):  # fmt: skip
        done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and words in done.stderr


def test_the_page_follows_from_the_results():
    subprocess.run([sys.executable, str(ROOT / "scripts" / "model_figures.py"), "--check"], check=True)
