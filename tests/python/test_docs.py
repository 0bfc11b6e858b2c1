"""The code in docs/python.md runs unchanged, and every page with Python code has a test that runs it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "python.md"
# Page -> the test that runs its code.
TESTED = {
    "README.md": "test_examples.py",
    "docs/python.md": "test_docs.py",
    "docs/kv_cache.md": "test_kv_cache.py",
    "docs/quantization.md": "test_docs_quantization.py",
    "docs/the_algorithm.md": "test_docs_the_algorithm.py",
    "docs/troubleshooting.md": "test_docs_troubleshooting.py",
    **{f"docs/{page}.md": "test_docs_doors.py" for page in ("torch", "transformers", "diffusers", "sage", "jax")},
}
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


def test_every_page_with_python_is_run():
    pages = [path for pattern in ("*.md", "docs/*.md", "data/*.md") for path in ROOT.glob(pattern)]
    found = {str(path.relative_to(ROOT)) for path in pages if "```python\n" in path.read_text()}
    assert found == set(TESTED)
    for page, test in TESTED.items():
        stem = pathlib.Path(page).stem
        assert (stem if page.startswith("docs") else "readme") in (ROOT / "tests" / "python" / test).read_text()
