"""docs/recipes.md names every preset, and its figures are those of scripts/recipe_figures.py; some are recomputed."""

import importlib.util
import pathlib
import re

import numpy as np
import pytest

import octavo

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text()


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("recipe_figures", ROOT / "scripts" / "recipe_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(table):
    """recipe -> its figures, as text."""
    rows = (line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `"))
    return {row[0].strip("`"): row[1:] for row in rows}


PAGE_RECIPES = cells(PAGE.split("recipe_figures.py recipes -->")[1].split("<!-- end of recipes")[0])


def test_every_preset_has_its_lines(figures):
    presets = list(octavo.recipes())
    assert list(cells(figures.written(PAGE, "recipes"))) == presets
    described = PAGE.split("## The presets, one by one")[1]
    assert sorted(re.findall(r"^\*\*`(\w+)`\*\*", described, re.MULTILINE)) == sorted(presets)
    assert sorted(re.findall(r"^\| `(\w+)` \|", PAGE.split("## Figures")[0], re.MULTILINE)) == sorted(presets)


def test_tables_are_of_the_scripts_recipes(figures):
    assert list(cells(figures.written(PAGE, "options"))) == list(figures.OPTIONS)
    assert list(cells(figures.written(PAGE, "length"))) == list(figures.LENGTH_RECIPES)
    assert list(cells(figures.written(PAGE, "accumulators"))) == list(figures.ACCUMULATORS)
    recipes, options = cells(figures.written(PAGE, "recipes")), cells(figures.written(PAGE, "options"))
    for recipe in set(recipes) & set(options):
        assert recipes[recipe] == options[recipe]


@pytest.mark.parametrize("recipe", ["int8", "int_flash", "int8_block", "sage2_8b"])
def test_figures(figures, recipe):
    table = cells(figures.written(PAGE, "recipes"))
    for column, problems in enumerate((figures.gaussian, figures.sink)):
        assert figures.digits(np.mean(figures.errors(problems, recipe)[0])) == table[recipe][column]


def test_accumulators(figures):
    written = figures.written(PAGE, "accumulators").splitlines()
    for row, again in zip(written, figures.accumulators_table().splitlines()):
        assert row == again


def test_a_captured_head_is_within_the_table(figures):
    problem = figures.captured()[4]
    of_head, worst_row, lse = figures.errors(lambda: [problem], "int8")
    _, _, _, worst_head, row, worst_lse = (float(cell) for cell in cells(figures.written(PAGE, "recipes"))["int8"])
    assert 0 < of_head[0] <= worst_head + 0.005 and worst_row <= row + 0.005 and lse <= worst_lse + 0.005


def test_head_errors(monkeypatch, capsys):
    """scripts/head_errors.py on data/: its int8 row is that of the presets' table; its schemes are valid recipes."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    head_errors = importlib.import_module("head_errors")
    schemes = [str(octavo.recipe(recipe)) for recipe in head_errors.SCHEMES]
    assert len(schemes) == len(set(schemes)) > 60
    monkeypatch.setattr("sys.argv", ["head_errors.py", "--recipe", "int8", "--heads"])
    head_errors.main()
    row, heads = capsys.readouterr().out.splitlines()[-2:]
    median, worst = (PAGE_RECIPES["int8"][column] for column in (2, 3))
    assert row.startswith(f"| `int8` | {median} | ") and f" | {worst} | L21.h0 |" in row
    assert heads.split()[::2] == [f"L{layer}.h{head}" for layer in (0, 14, 21) for head in range(3)]


def test_compositions_in_the_text_parse():
    texts = re.findall(r"`(\w+(?:,\w+=[\w.]+)+)`", PAGE)
    assert len(texts) > 10
    for text in texts:
        octavo.recipe(text)
