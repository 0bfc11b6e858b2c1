"""docs/troubleshooting.md: its example runs, and every message in its table of errors occurs in octavo."""

import pathlib
import re

import numpy as np
import pytest
from test_semantics import KERNELS

import octavo
from octavo import _core

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text().split("## Errors")[1], re.MULTILINE)
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
    "contradicts": lambda: octavo.recipe("int8,row_sum=codes"),
    "is unknown; recipes are": lambda: octavo.recipe("int9"),
}


def test_the_example(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})
    assert "recipe:" in capsys.readouterr().out


def test_the_table_is_complete():
    assert sorted(MESSAGES) == sorted([*CALLS, "requires grad", "cannot run on this machine"])


@pytest.mark.parametrize("message", CALLS)
def test_messages(message):
    with pytest.raises((ValueError, NotImplementedError), match=re.escape(message)):
        CALLS[message]()


def test_a_missing_implementation(monkeypatch):
    entry = ("amx", "", False, "this processor lacks amx_int8", "cpu")
    monkeypatch.setattr(_core, "implementations", lambda: [entry])
    with pytest.raises(RuntimeError, match="cannot run on this machine: this processor lacks amx_int8"):
        with octavo.implementation("amx"):
            pass


@pytest.mark.parametrize("recipe", octavo.recipes())
def test_numbers_that_always_fit(recipe):
    """Q or K at the bound of the page, the other so small that scores are of size 1."""
    rng = np.random.default_rng(1)
    most = np.float32(3.4e38 / (127 * 16))
    v = rng.standard_normal((1, 20, 1, 16), dtype=np.float32)
    one_sign = np.full_like(v, most)
    one_row_against_all = np.where(np.arange(20)[:, None, None] == 0, -one_sign, one_sign)
    any_sign = np.where(rng.random(v.shape) < 0.5, -one_sign, one_sign)
    for large in (one_sign, one_row_against_all, any_sign):
        small = (rng.standard_normal(v.shape) / most).astype(np.float32)
        for q, k in ((large, small), (small, large), (small[:, :1], large)):  # one row: Q of 16 bits
            assert np.all(np.isfinite(octavo.attention(q, k, v, recipe=recipe)))
            assert np.all(np.isfinite(octavo.reference.attention(q, k, v, recipe=recipe)))


def test_what_smoothing_takes_off_may_leave_f32():
    """The reason for the bound: a number minus the mean of all may overflow f32."""
    x = np.zeros((1, 20, 1, 16), np.float32)
    x[:, 0], x[:, 1:3] = -3.4e38, 3.4e38
    for role, smoothed in (("q", "smooth_q"), ("k", "smooth_k")):
        for text, finite in ((f"int8,hadamard=off,{smoothed}=off", True), ("int8,hadamard=off", False)):
            assert np.all(np.isfinite(octavo.quantize(x, role=role, recipe=text).scales)) == finite


def test_the_largest_lse():
    end = np.float32(np.finfo(np.float32).max * np.log(2))
    for value, given in ((2.3e38, 2.3e38), (3e38, end)):
        mask = np.full((20, 30), value, np.float32)
        _, lse = octavo.reference.attention(Q, K, V, mask=mask, return_lse=True)
        np.testing.assert_allclose(lse, value, rtol=1e-6)
        for name in KERNELS:
            with octavo.implementation(name):
                o, lse = octavo.attention(Q, K, V, mask=mask, return_lse=True)
            np.testing.assert_allclose(lse, given, rtol=1e-6)
            assert np.all(np.isfinite(o))


@pytest.mark.torch
def test_gradients(torch):
    with pytest.raises(RuntimeError, match="requires grad"):
        octavo.attention(*(torch.ones(1, 4, 1, 8, requires_grad=True),) * 3)
