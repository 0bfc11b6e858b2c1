"""bench/models runs its models small; docs/models.md follows from the committed results."""

import json
import pathlib
import subprocess
import sys

from conftest import required

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Relative L2 of the output: exact attention to rounding; the others to the error of their recipe at any depth.
LIMITS = {"octavo exact": 1e-5, "octavo int8": 3e-2, "octavo int8_fast": 6e-2, "PyTorch bf16": 6e-2}


def test_small_models(tmp_path):
    required("transformers")
    models = ["vit", "modernbert", "whisper", "dit"]
    script = str(ROOT / "bench" / "models" / "models.py")
    command = [script, *models, "--tokens", "64", "--rounds", "1", "--threads", "1"]
    subprocess.run([sys.executable, *command, "--out", str(tmp_path)], check=True, capture_output=True)
    results = json.loads((tmp_path / "models.json").read_text())
    assert [entry["model"] for entry in results] == models
    for entry in results:
        errors = {name: variant["error"] for name, variant in entry["variants"].items()}
        assert errors.pop("PyTorch f32") == 0
        assert set(errors) == set(LIMITS)
        for name, error in errors.items():
            assert 0 < error < LIMITS[name], (entry["model"], name, error)


def test_the_page_follows_from_the_results():
    subprocess.run([sys.executable, str(ROOT / "scripts" / "model_figures.py"), "--check"], check=True)
