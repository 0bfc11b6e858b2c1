"""docs/the_algorithm.md: its loop matches the reference, its statements on merging hold, the files it names exist."""

import pathlib
import re

import numpy as np
import pytest

import octavo

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "the_algorithm.md"
PROGRAM = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page():
    names = {}
    assert len(PROGRAM) == 2
    for block in PROGRAM:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_loop_on_a_sink(page, rng):
    """The hardest case for the fold: a key with large scores and a tiny value, and a token of zeros."""
    q, k, v = (rng.standard_normal((1, n, 1, 64)).astype(np.float32) for n in (40, 300, 300))
    q += np.float32(0.5)
    k[:, 0] = 2
    v[:, 0] *= np.float32(1e-3)
    v[:, 7] = 0
    recipe = "int8,hadamard_v=off"
    made = [octavo.quantize(x, role=role, recipe=recipe) for x, role in zip((q, k, v), "qkv")]
    o, lse = octavo.reference.attention(*made, recipe=recipe, return_lse=True)
    head = [(x.codes[0, :, 0], x.scales[0, 0], None if x.mean is None else x.mean[0, 0]) for x in made]
    mine, mine_lse = page["attend"](*head, softmax_scale=1 / 8)
    assert np.linalg.norm(o[0, :, 0] - mine) < 1e-6 * np.linalg.norm(mine)
    assert np.abs(lse[0, 0] - mine_lse).max() < 1e-5


def test_running_maxima_show_the_split(rng):
    q, k, v = (rng.standard_normal((1, n, 1, 64)).astype(np.float32) for n in (40, 500, 500))
    made = {x.role: x for x in (octavo.quantize(x, role=r, recipe="int_flash") for x, r in zip((q, k, v), "qkv"))}

    def attend(keys):
        some_k = octavo.Quantized(
            made["k"].codes[:, keys], np.ascontiguousarray(made["k"].scales[:, :, keys]), role="k", recipe="int_flash"
        )
        some_v = octavo.Quantized(made["v"].codes[:, keys], made["v"].scales, role="v", recipe="int_flash")
        return octavo.attention(made["q"], some_k, some_v, recipe="int_flash", return_lse=True)

    whole, _ = attend(slice(0, 500))
    merged, _ = octavo.merge_state(*attend(slice(0, 256)), *attend(slice(256, 500)))
    assert np.linalg.norm(merged - whole) > 1e-3 * np.linalg.norm(whole)


def test_rows_are_independent_without_smooth_q(rng):
    q, k, v = (rng.standard_normal((1, n, 1, 64)).astype(np.float32) for n in (200, 300, 300))
    for recipe, independent in (("int8_fast,smooth_q=off", True), ("int8_fast", False)):
        whole = octavo.attention(q, k, v, recipe=recipe)
        some = octavo.attention(q[:, 100:], k, v, recipe=recipe)
        assert np.array_equal(whole[:, 100:], some) == independent


@pytest.mark.parametrize("constant", [-1e4, -1e9, np.finfo(np.float32).min])
def test_constant_masks_change_nothing(rng, constant):
    q, k, v = (rng.standard_normal((1, n, 1, 64)).astype(np.float32) for n in (20, 300, 300))
    v *= np.exp(rng.standard_normal((1, 300, 1, 1))).astype(np.float32)
    mask = np.full((20, 300), constant, np.float32)
    plain = octavo.attention(q, k, v)
    masked = octavo.attention(q, k, v, mask=mask)
    assert np.linalg.norm(masked - plain) < 1e-3 * np.linalg.norm(plain)


def test_the_table_of_files():
    table = PAGE.read_text().split("## 10.")[1]
    folder = ""
    for name in re.findall(r"`([\w/]+\.(?:cpp|hpp|py))`", table):
        folder = name.rpartition("/")[0] or folder
        assert (ROOT / folder / name.rpartition("/")[2]).is_file(), name
