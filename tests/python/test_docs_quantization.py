"""docs/quantization.md is one program: it runs unchanged and makes octavo's bytes, on difficult inputs too."""

import pathlib
import re

import ml_dtypes
import numpy as np
import pytest
from conftest import CPUS

import octavo

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "quantization.md"
PROGRAM = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PRESETS = ["int8", "int_flash", "int8_block", "sage2_8b", "int4"]


@pytest.fixture(scope="module")
def page():
    """The page's names after all of its blocks have run."""
    names = {}
    for block in PROGRAM:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def hard_inputs():
    """Shapes around the groups' borders, odd head sizes, other dtypes, edge cases of amax and rounding."""
    rng = np.random.default_rng(3)
    for rows, dim in ((1, 64), (31, 96), (33, 7), (64, 40), (129, 128), (300, 15)):
        yield f"{rows} rows of {dim}", rng.standard_normal((1, rows, 2, dim), dtype=np.float32)
    yield "f16", rng.standard_normal((2, 70, 2, 32)).astype(np.float16)
    yield "bf16", rng.standard_normal((2, 70, 2, 32)).astype(ml_dtypes.bfloat16)
    yield "zeros", np.zeros((1, 40, 1, 16), np.float32)
    some = rng.standard_normal((1, 140, 2, 32), dtype=np.float32)
    some[:, 5] = 0
    some[:, :, :, 9] = 0
    yield "zero rows and a zero channel", some
    yield "large", some * np.float32(1e36)
    yield "near the smallest normal number", some * np.float32(1e-37)
    yield "subnormal", some * np.float32(1e-41)
    halves = rng.integers(-254, 255, (1, 50, 2, 16)).astype(np.float32) / 2
    halves[..., 0] = 127
    yield "ties", halves
    broken = some.copy()
    broken[0, 3, 0, 4], broken[0, 77, 1, 5], broken[0, 78, 1, 5] = np.nan, np.inf, -np.inf
    yield "NaN and infinities", broken


INPUTS = dict(hard_inputs())


def test_the_page_covers_the_presets(page):
    assert list(page["RECIPES"]) == PRESETS
    assert all(list(operands) == ["q", "k", "v"] for operands in page["RECIPES"].values())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NaN, infinities and overflow, which is what is tested
@pytest.mark.parametrize("role", "qkv")
@pytest.mark.parametrize("recipe", PRESETS)
@pytest.mark.parametrize("name", INPUTS)
def test_bytes(page, name, recipe, role):
    x = INPUTS[name]
    codes, scales, mean = page["quantize"](x, role, *page["RECIPES"][recipe][role])
    made = octavo.quantize(x, role=role, recipe=recipe)
    assert codes.shape == made.codes.shape and codes.tobytes() == np.ascontiguousarray(made.codes).tobytes()
    # A NaN has many bit patterns; every other number has one.
    assert scales.shape == made.scales.shape and np.array_equal(np.isnan(scales), np.isnan(made.scales))
    assert np.nan_to_num(scales).tobytes() == np.nan_to_num(made.scales).tobytes()
    if made.mean is None:
        assert mean is None
    else:
        assert mean.shape == made.mean.shape and mean.tobytes() == made.mean.tobytes()


def quantizer_arguments(recipe, role):
    """Arguments of the page's quantizer for a recipe's operand; None: it has no codes."""
    form = recipe.values if role == "v" else recipe.scores
    granularity = getattr(recipe, f"{role}_scale")
    if form in ("input", "f16"):
        return None
    return {
        "form": form,
        "granularity": granularity,
        "rotated": recipe.hadamard_v if role == "v" else recipe.hadamard,
        # The centre of folded V is not part of its codes.
        "smoothed": getattr(recipe, f"smooth_{role}") and not (role == "v" and granularity == "token_folded"),
        "key_block": recipe.key_block,
        "W": recipe.q_group,
        "T": recipe.k_group,
        "largest": recipe.v_range if role == "v" and recipe.v_range else None,
    }


def geometries():
    """Every granularity of every operand in every format, and the geometry's other parameters."""
    rotated_v = "int8_fast,hadamard=off,smooth_q=off,smooth_k=off"
    plain = f"{rotated_v},hadamard_v=off"
    slices = {"warp": ("", ",q_group=16,k_group=128", ",q_group=64,k_group=64"),
              "thread": ("", ",q_group=16,k_group=128")}
    for form in ("s8", "s4", "e4m3", "e5m2"):
        for granularity in ("tensor", "block", "warp", "thread", "token") + (("none",) if form[0] == "e" else ()):
            for more in slices.get(granularity, ("",)):
                yield f"{plain},scores={form},q_scale={granularity},k_scale={granularity}{more}", "qk"
        folds = ("tensor", "block", "token", "token_folded", "channel", "block_channel")
        for granularity in folds + (("none",) if form[0] == "e" else ()):
            yield f"{plain},values={form},v_scale={granularity}", "v"
            yield f"{rotated_v},values={form},v_scale={granularity},key_block=64", "v"
    yield f"{plain},v_scale=channel,smooth_v=on,v_range=100", "v"
    yield f"{plain},values=e4m3,v_scale=channel,v_range=4.5", "v"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("recipe, roles", [*geometries(), *((name, "qkv") for name in octavo.recipes())])
def test_every_geometry_and_every_preset(page, recipe, roles):
    recipe = octavo.recipe(recipe)
    for role in roles:
        if (told := quantizer_arguments(recipe, role)) is None:
            continue
        for name in ("129 rows of 128", "300 rows of 15", "33 rows of 7", "zero rows and a zero channel", "large",
                     "bf16"):
            codes, scales, mean = page["quantize"](INPUTS[name], role, **told)
            made = octavo.quantize(INPUTS[name], role=role, recipe=recipe)
            assert codes.tobytes() == np.ascontiguousarray(made.codes).tobytes(), name
            for own, theirs in ((scales, made.scales), (mean, made.mean)):
                assert (own is None) == (theirs is None), name
                assert own is None or (own.shape == theirs.shape and own.tobytes() == theirs.tobytes()), name


@pytest.mark.parametrize("recipe", sorted(octavo.recipes()))
def test_codes_made_from_the_page_give_the_bits_of_floats(page, recipe):
    """Passed instead of floats, on every implementation. Without smooth_q, whose bias is computed from unrounded K."""
    # int8 keeps nothing where operands are codes.
    recipe = octavo.recipe("int8_fast" if recipe == "int8" else recipe).replace(smooth_q=False)
    rng = np.random.default_rng(5)
    floats = [rng.standard_normal((2, rows, heads, 40), dtype=np.float32)
              for rows, heads in ((70, 4), (200, 2), (200, 2))]
    operands = []
    for role, x in zip("qkv", floats):
        if (told := quantizer_arguments(recipe, role)) is None:
            operands.append(x)
            continue
        codes, scales, mean = page["quantize"](x, role, **told)
        operands.append(octavo.Quantized(codes, scales, role=role, recipe=recipe, mean=mean))
    for implementation in CPUS:
        with octavo.implementation(implementation):
            o = octavo.attention(*floats, recipe=recipe, causal=True)
            assert o.tobytes() == octavo.attention(*operands, recipe=recipe, causal=True).tobytes(), implementation


@pytest.mark.parametrize("implementation", ["scalar", "reference"])
@pytest.mark.parametrize("recipe", PRESETS)
def test_every_implementation_makes_these_bytes(page, recipe, implementation):
    x = INPUTS["129 rows of 128"]
    for role in "qkv":
        codes, scales, _ = page["quantize"](x, role, *page["RECIPES"][recipe][role])
        with octavo.implementation(implementation):
            made = octavo.quantize(x, role=role, recipe=recipe)
        assert codes.tobytes() == np.ascontiguousarray(made.codes).tobytes()
        assert scales.tobytes() == made.scales.tobytes()


def test_empty_thread_groups_carry_the_scale_one(page):
    made = octavo.quantize(INPUTS["33 rows of 7"], role="q", recipe="sage2_8b")
    assert made.scales.shape == (1, 2, 16)
    assert np.all(made.scales[..., 9:] == 1) and np.all(made.scales[..., :9] != 1)


def test_the_table_of_presets():
    """Format and granularity that the page's first table gives for each preset are those of the recipes."""
    rows = re.findall(r"^\| (`.*?) \|(.*)\|$", PAGE.read_text().split("## Scale and code")[0], re.MULTILINE)
    seen = []
    names = {"token": "token", "token (folded)": "token_folded", "thread": "thread", "tensor": "tensor",
             "block": "block", "key block and channel": "block_channel", "none": "none"}  # fmt: skip
    for presets, cells in rows:
        scores, rotated, smoothed, values, rotated_v = (cell.strip() for cell in cells.split("|"))
        for name in re.findall(r"`(\w+)`", presets):
            seen.append(name)
            recipe = octavo.recipe(name)
            form, per = scores.split(", ", 1)
            assert recipe.scores == form.lower() and recipe.q_scale == recipe.k_scale == names[per], name
            assert recipe.hadamard == (rotated == "Q, K"), name
            assert (recipe.smooth_q, recipe.smooth_k) == ("Q" in smoothed, "K" in smoothed), name
            if values == "floats":
                assert recipe.values == "f16" and rotated_v == "-", name
                continue
            form, per = values.split(" (`")[0].split(", ", 1)
            assert recipe.values == form.lower() and recipe.v_scale == names.get(per, per), name
            assert recipe.hadamard_v == (rotated_v == "yes"), name
    assert sorted(seen) == sorted(set(octavo.recipes()) - {"exact"})
