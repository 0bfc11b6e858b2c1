"""docs/troubleshooting.md: its example runs, and every sentence in its table of errors is one that octavo says."""

import pathlib
import re

import numpy as np
import pytest

import octavo
from octavo import _core

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
SENTENCES = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text().split("## Errors")[1], re.MULTILINE)
Q, K, V = (np.ones((1, rows, heads, 16), np.float32) for rows, heads in ((20, 4), (30, 2), (30, 2)))
CALLS = {
    "allowed are f32, f16 and bf16": lambda: octavo.attention(Q.astype(np.float64), K, V),
    "q, k and v must have one dtype": lambda: octavo.attention(Q, K.astype(np.float16), V),
    "4 axes are needed": lambda: octavo.attention(Q[0], K, V),
    "q's must be a multiple of k's": lambda: octavo.attention(Q[:, :, :3], K, V),
    "it must broadcast from the right": lambda: octavo.attention(Q, K, V, mask=np.ones((30, 20), bool)),
    "outputs need memory of their own": lambda: octavo.attention(Q, K, V, out=Q),
    "does not support": lambda: octavo.attention(Q, K, V, recipe="int8,key_block=96"),
    "1 to 576 are supported": lambda: octavo.attention(*(np.ones((1, 2, 1, 577), np.float32),) * 3),
    "keeps v in floats": lambda: octavo.quantize(V, role="v", recipe="sage1"),
    "was made with": lambda: octavo.attention(octavo.quantize(Q, role="q", recipe="int_flash"), K, V),
    "contradicts": lambda: octavo.recipe("int8,smooth_v=on"),
    "is unknown; recipes are": lambda: octavo.recipe("int9"),
}


def test_the_example(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})
    assert "recipe:" in capsys.readouterr().out


def test_the_table_is_complete():
    assert sorted(SENTENCES) == sorted([*CALLS, "requires grad", "cannot run on this machine"])


@pytest.mark.parametrize("sentence", CALLS)
def test_sentences(sentence):
    with pytest.raises((ValueError, NotImplementedError), match=re.escape(sentence)):
        CALLS[sentence]()


def test_a_missing_implementation(monkeypatch):
    monkeypatch.setattr(_core, "implementations", lambda: [("amx", "", False, "this processor lacks amx_int8")])
    with pytest.raises(RuntimeError, match="cannot run on this machine: this processor lacks amx_int8"):
        with octavo.implementation("amx"):
            pass


@pytest.mark.torch
def test_gradients(torch):
    with pytest.raises(RuntimeError, match="requires grad"):
        octavo.attention(*(torch.ones(1, 4, 1, 8, requires_grad=True),) * 3)
