"""The README's Python code and examples/python run unchanged."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples" / "python").glob("*.py"))


def run(source, tmp_path):
    return subprocess.run([sys.executable, *source], cwd=tmp_path, check=True, capture_output=True, text=True).stdout


def test_readme(tmp_path):
    code = run([str(ROOT / "scripts" / "readme_examples.py"), "python"], tmp_path)
    assert "octavo.attention" in code
    run(["-c", code], tmp_path)


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    assert run([str(path)], tmp_path)
