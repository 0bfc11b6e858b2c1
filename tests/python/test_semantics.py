"""Every option on every kernel and recipe, against the reference with the same recipe."""

import ml_dtypes
import numpy as np
import pytest
from conftest import CPUS
from oracle import relative_error

import octavo

KERNELS = [name for name in CPUS if name != "reference"]
RECIPES = list(octavo.recipes())  # every preset has kernels on every implementation
S8_VALUES = {"exact", "int8", "int8_p16", "int8_block", "int_flash", "int_flash_block_v", "sage1_int8"}
S4_AND_FP8 = {"int4", "int_flash_int4", "sage2_8b", "sage2_4b", "sage2pp", "fa3_fp8", "fp8_e4m3", "fp8_e5m2"}


def tolerance(recipe, wanted, exact):
    """Relative L2 of a kernel against the oracle on outputs of a few thousand elements, where single code flips may
    cost four times the gate: 1e-3 with s8 values; else 2e-3 or 2 % (fa3_fp8: 8 %) of the recipe's own error."""
    if recipe in S8_VALUES:
        return 4e-3
    return 4 * max(2e-3, (0.08 if recipe == "fa3_fp8" else 0.02) * relative_error(wanted, exact))


ROWS, KEYS, HEADS, KV_HEADS, DIM, VALUE_DIM = 37, 150, 4, 2, 40, 24


def problem(rng, dtype=np.float32, batch=2):
    q = rng.standard_normal((batch, ROWS, HEADS, DIM))
    k = rng.standard_normal((batch, KEYS, KV_HEADS, DIM))
    v = rng.standard_normal((batch, KEYS, KV_HEADS, VALUE_DIM))
    return tuple(x.astype(dtype) for x in (q, k, v))


def options(rng):
    """Name -> keywords; the last entries combine options."""
    bool_mask = rng.random((2, 1, ROWS, KEYS)) < 0.6
    bool_mask[0, 0, 5] = False
    float_mask = rng.standard_normal((HEADS, ROWS, KEYS)).astype(np.float32)
    float_mask[:, 7] = -np.inf
    slopes = np.array([0.5, 0.25, 0.125, 0.0625], np.float32)
    sinks = np.array([-1.0, 0.0, 2.0, 9.0], np.float32)
    return {
        "causal": {"causal": True},
        "top_left": {"causal": "top_left"},
        "window": {"window": (20, 3)},
        "causal window": {"causal": True, "window": (9, -1)},
        "scale": {"scale": -0.4},
        "softcap": {"softcap": 1.5},
        "bool mask": {"mask": bool_mask},
        "float mask": {"mask": float_mask},
        "f16 mask": {"mask": float_mask.astype(np.float16)},
        "bf16 mask": {"mask": float_mask[0].astype(ml_dtypes.bfloat16)},
        "f64 mask": {"mask": float_mask[0, 3].astype(np.float64)},
        "key_mask": {"key_mask": np.arange(KEYS) % 3 != np.array([[0], [1]])},
        "slopes": {"alibi_slopes": slopes},
        "f16 slopes of a batch": {"alibi_slopes": np.stack([slopes, 2 * slopes]).astype(np.float16)},
        "f64 slopes": {"alibi_slopes": slopes.astype(np.float64), "causal": True},
        "symmetric slopes": {"alibi_slopes": slopes, "alibi": "symmetric"},
        "symmetric slopes, window": {"alibi_slopes": -slopes, "alibi": "symmetric", "window": (30, 11)},
        "sinks": {"sinks": sinks},
        "bf16 sinks": {"sinks": sinks.astype(ml_dtypes.bfloat16)},
        "kv_lens": {"kv_lens": np.array([0, 131], np.int32), "causal": True},
        "all": {
            "causal": True, "window": (60, -1), "softcap": 4.0, "mask": float_mask, "alibi_slopes": slopes,
            "sinks": sinks, "kv_lens": np.array([150, 77]), "scale": 0.3,
        },
    }  # fmt: skip


OPTIONS = list(options(np.random.default_rng(0)))


def agree(actual, wanted, exact, recipe, what):
    (o, lse), (wanted_o, wanted_lse) = actual, wanted
    assert o.dtype == wanted_o.dtype and relative_error(o, wanted_o) <= tolerance(recipe, wanted_o, exact), what
    dark = wanted_lse == -np.inf
    assert np.array_equal(lse == -np.inf, dark), what
    difference = np.abs(lse[~dark] - wanted_lse[~dark])
    loose = 100 if recipe in S4_AND_FP8 else 10
    assert np.mean(difference <= 2e-3) >= 0.98 and np.all(difference <= loose * 2e-3), what


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_options(rng, recipe, name):
    operands, given = problem(rng), options(rng)[name]
    exact = octavo.reference.attention(*operands, recipe="exact", **given)
    wanted = octavo.reference.attention(*operands, recipe=recipe, return_lse=True, **given)
    for kernel in KERNELS:
        with octavo.implementation(kernel):
            actual = octavo.attention(*operands, recipe=recipe, return_lse=True, **given)
        assert octavo.info()["last_implementation"] == kernel
        agree(actual, wanted, exact, recipe, kernel)


@pytest.mark.parametrize("recipe", RECIPES)
def test_packed(rng, recipe):
    starts_q, starts_k = np.array([0, 30, 30, 37]), np.array([0, 9, 100, 150])
    q, k, v = (x[0] for x in problem(rng))
    given = {
        "cu_seqlens_q": starts_q, "cu_seqlens_k": starts_k, "causal": True, "window": (50, -1), "softcap": 3.0,
        "alibi_slopes": np.linspace(0.1, 1.2, 3 * HEADS).reshape(3, HEADS), "sinks": np.zeros(HEADS, np.float16),
        "mask": rng.standard_normal((30, 91)).astype(np.float32),
    }  # fmt: skip
    exact = octavo.reference.attention(q, k, v, recipe="exact", **given)
    wanted = octavo.reference.attention(q, k, v, recipe=recipe, return_lse=True, **given)
    for kernel in KERNELS:
        with octavo.implementation(kernel):
            actual = octavo.attention(q, k, v, recipe=recipe, return_lse=True, **given)
        agree(actual, wanted, exact, recipe, kernel)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("recipe", RECIPES)
def test_dtypes(rng, recipe, dtype):
    operands = problem(rng, dtype)
    for out_dtype in ("float32", None):
        given = {"causal": True, "out_dtype": out_dtype}
        exact = octavo.reference.attention(*operands, recipe="exact", **given)
        wanted = octavo.reference.attention(*operands, recipe=recipe, **given)
        # bf16 products of bf16 inputs (recipe exact) round P to bf16; so does an output.
        rounding = 8e-3 if dtype == ml_dtypes.bfloat16 else 1e-3
        for kernel in KERNELS:
            with octavo.implementation(kernel):
                o = octavo.attention(*operands, recipe=recipe, **given)
            assert o.dtype == wanted.dtype
            assert relative_error(o, wanted) <= tolerance(recipe, wanted, exact) + rounding, kernel


@pytest.mark.parametrize("recipe", RECIPES)
def test_out_workspace_and_threads(implementation, rng, recipe):
    """The same bits for any output array, dirty scratch memory and any number of threads."""
    q, k, v = problem(rng, batch=1)
    given = {"recipe": recipe, "mask": rng.standard_normal((ROWS, KEYS)).astype(np.float16), "causal": True}
    expected, lse = octavo.attention(q, k, v, return_lse=True, **given)
    frame = np.full((1, HEADS, ROWS, VALUE_DIM + 5), 7, np.float32)
    out = frame.swapaxes(1, 2)[..., 2:-3]
    for threads in (1, 2, 3):
        with octavo.threads(threads):
            size = octavo.workspace_size(q, k, v, out=out, return_lse=True, **given)
            scratch = np.full(size, 0xFF, np.uint8)
            o, again = octavo.attention(q, k, v, out=out, workspace=scratch, return_lse=True, **given)
            assert o is out and np.array_equal(out, expected) and np.array_equal(again, lse)
            if size > 0:
                with pytest.raises(ValueError, match="workspace"):
                    octavo.attention(q, k, v, out=out, workspace=scratch[: size // 2], return_lse=True, **given)
    assert np.all(frame[..., :2] == 7) and np.all(frame[..., -3:] == 7)


@pytest.mark.parametrize("recipe", ["exact", "int8"])
def test_constant_masks_change_nothing(implementation, rng, recipe):
    """-1e9 and finfo.min are finite: added to all scores of a row they do not change softmax."""
    operands = problem(rng)
    plain = octavo.attention(*operands, recipe=recipe)
    for value in (0.0, -1e4, -1e9, float(np.finfo(np.float32).min)):
        o = octavo.attention(*operands, recipe=recipe, mask=np.full((1, 1, ROWS, KEYS), value, np.float32))
        assert relative_error(o, plain) <= 1e-3, value


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_lies_outside_influences_nothing(implementation, rng, recipe):
    """Keys past kv_lens and other sequences, NaN included: the same bits as without them."""
    q, k, v = problem(rng)
    lens = np.array([100, 33])
    given = {"recipe": recipe, "causal": True, "return_lse": True}
    expected = octavo.attention(q, k, v, kv_lens=lens, **given)
    for b, n in enumerate(lens):
        k[b, n:], v[b, n:] = np.nan, np.inf
        alone = octavo.attention(q[b : b + 1], k[b : b + 1, :n], v[b : b + 1, :n], **given)
        assert np.array_equal(alone[0][0], expected[0][b]) and np.array_equal(alone[1][0], expected[1][b])
    poisoned = octavo.attention(q, k, v, kv_lens=lens, **given)
    assert all(np.array_equal(a, b) for a, b in zip(poisoned, expected))
    # Packed: the second sequence is all NaN.
    starts = {"cu_seqlens_q": np.array([0, 20, ROWS]), "cu_seqlens_k": np.array([0, 90, KEYS])}
    q[0, 20:], k[0, 90:], v[0, 90:] = np.nan, np.nan, np.inf
    o, lse = octavo.attention(q[0], k[0], v[0], **starts, **given)
    alone = octavo.attention(q[:1, :20], k[:1, :90], v[:1, :90], **given)
    assert np.array_equal(o[:20], alone[0][0]) and np.array_equal(lse[:, :20], alone[1][0])
