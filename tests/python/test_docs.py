"""The code in docs/python.md runs unchanged."""

import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_has_examples():
    assert len(BLOCKS) >= 8 and BLOCKS[0].startswith("import numpy")


@pytest.mark.parametrize("block", [block for block in BLOCKS[1:] if "import torch" not in block])
def test_examples(block):
    names = {}
    exec(compile(BLOCKS[0], str(PAGE), "exec"), names)
    exec(compile(block, str(PAGE), "exec"), names)


@pytest.mark.torch
@pytest.mark.parametrize("block", [block for block in BLOCKS if "import torch" in block])
def test_torch_examples(torch, block):
    names = {}
    exec(compile(BLOCKS[0], str(PAGE), "exec"), names)
    exec(compile(block, str(PAGE), "exec"), names)
