"""octavo.Recipe and the grammar of recipes."""

import copy
import inspect
import pickle

import pytest

import octavo

PRESETS = (
    "exact int8 int8_block int8_p16 int4 int_flash int_flash_half int_flash_int4 int_flash_block_v sage1 sage1_int8 "
    "sage2_8b sage2_4b sage2pp fa3_fp8 fp8_e4m3 fp8_e5m2"
).split()


def test_presets():
    listed = octavo.recipes()
    assert set(PRESETS) <= set(listed) and next(iter(listed)) == "int8"
    assert all(isinstance(summary, str) and summary for summary in listed.values())


@pytest.mark.parametrize("name", PRESETS)
def test_text_reads_back(name):
    recipe = octavo.recipe(name)
    assert str(recipe) == name and repr(recipe) == f"octavo.recipe({name!r})"
    assert octavo.recipe(str(recipe)) == recipe and octavo.recipe(recipe) is recipe
    assert octavo.Recipe(**recipe.to_dict()) == recipe
    changed = recipe.replace(key_block=64 if recipe.key_block != 64 else 32)
    assert changed != recipe and octavo.recipe(str(changed)) == changed


def test_fields():
    recipe = octavo.Recipe(
        scores="s8", q_scale="token", k_scale="token", hadamard=True, smooth_q=True, smooth_k=True, smooth_v=True,
        p="u8", p_range=255, p_reference="block", row_sum="weights", values="s8", v_scale="token_folded",
        key_block=128, accumulator="f32", qk_gains=True, robust=True, keep_first=1, keep_near=2, keep_heavy=16
    )  # fmt: skip
    assert recipe == octavo.recipe("int8") == octavo.Recipe()
    assert recipe.smooth_q is True and recipe.smooth_v is True
    assert recipe.p_range == 255 and recipe.key_block == 128 and recipe.p_reference == "block"
    assert octavo.recipe("sage2pp").v_range == 2.25
    parameters = inspect.signature(octavo.Recipe).parameters
    assert parameters["key_block"].default == 128 and list(parameters) == list(recipe.to_dict())
    # Every field of the core is annotated for type checkers, and none more.
    assert set(octavo.Recipe.__annotations__) - {"_value"} == set(parameters)


def test_replace():
    recipe = octavo.recipe("int8").replace(smooth_q=False, key_block=64)
    assert recipe == octavo.recipe("int8,smooth_q=off,key_block=64")
    assert octavo.recipe("int8").smooth_q is True, "a recipe never changes"


def test_values():
    recipe = octavo.recipe("int8,smooth_q=off")
    assert hash(recipe) == hash(octavo.recipe("int8").replace(smooth_q=False))
    assert pickle.loads(pickle.dumps(recipe)) == recipe and copy.deepcopy(recipe) == recipe
    assert recipe != "int8,smooth_q=off"
    with pytest.raises(AttributeError, match="replace"):
        recipe.smooth_q = True
    with pytest.raises(AttributeError, match="colour"):
        recipe.colour


def test_refusals():
    with pytest.raises(TypeError, match="colour.*key_block"):
        octavo.Recipe(colour="red")
    with pytest.raises(TypeError, match="colour"):
        octavo.recipe("int8").replace(colour="red")
    with pytest.raises(ValueError, match="int9.*int8"):
        octavo.recipe("int9")
    with pytest.raises(ValueError, match="colour.*key_block"):
        octavo.recipe("int8,colour=red")
    with pytest.raises(ValueError, match="smooth_q"):
        octavo.Recipe(smooth_q="perhaps")
    with pytest.raises(ValueError, match="key_block"):
        octavo.Recipe(key_block=-1)
    for field, value, allowed in (
        ("key_block", 2**40, "a multiple of 16 in 16..4096"),
        ("key_block", 1.5, "a multiple of 16 in 16..4096"),
        ("p_range", 2**63, "a whole number from 1 to what p can hold, at most 65535"),
        ("q_group", 2**31, "16, 32, 64"),
        ("v_range", 10**400, "0, or a number from 1 to"),
    ):
        with pytest.raises(ValueError, match=f'^recipe field {field} cannot be "{value}"; allowed: {allowed}'):
            octavo.Recipe(**{field: value})
    with pytest.raises(ValueError, match='key_block cannot be "an integer of 16610 bits"; allowed: a multiple'):
        octavo.Recipe(key_block=10**5000)
    with pytest.raises(ValueError, match=r'p cannot be "u8\\x00"; allowed: input'):
        octavo.Recipe(p="u8\0")
    with pytest.raises(ValueError, match="smooth_q stands twice"):
        octavo.recipe("int8,smooth_q=off,smooth_q=off")
    with pytest.raises(ValueError, match="channel_gains=on needs v_scale=token_folded"):
        octavo.Recipe(v_scale="token", channel_gains=True)
    with pytest.raises(ValueError, match="recipe"):
        octavo.recipe(7)


def test_recipes_in_calls(qkv):
    import numpy as np

    a = octavo.attention(*qkv, recipe="int8_fast,smooth_q=off")
    b = octavo.attention(*qkv, recipe=octavo.recipe("int8_fast").replace(smooth_q=False))
    assert np.array_equal(a, b) and not np.array_equal(a, octavo.attention(*qkv, recipe="int8_fast"))
