"""The code in the pages of octavo.torch, transformers, sage, diffusers and jax runs as printed."""

import pathlib
import re

import pytest
from conftest import required

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = {"torch": "torch", "transformers": "transformers", "sage": "torch", "diffusers": "diffusers", "jax": "jax"}


@pytest.mark.torch
@pytest.mark.parametrize("page", PAGES)
def test_page(page, capsys):
    required(PAGES[page])
    path = ROOT / "docs" / f"{page}.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, str(path), "exec"), names)
    assert capsys.readouterr().out


def test_the_readme_names_every_page():
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/{page}.md" in readme and f"octavo.{page}" in readme for page in PAGES)
