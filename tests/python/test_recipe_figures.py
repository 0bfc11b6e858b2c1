"""docs/recipes.md names every preset, and its figures are those of scripts/recipe_figures.py; some are recomputed."""

import importlib
import json
import pathlib
import re

import numpy as np
import pytest

import octavo

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text()


@pytest.fixture(scope="module")
def figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module("recipe_figures")


def part_of(figures, table):
    return importlib.import_module("page_parts").part(PAGE, *figures.marks(table))


def cells(table):
    """recipe -> its figures, as text."""
    rows = (line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `"))
    return {row[0].strip("`"): row[1:] for row in rows}


PAGE_RECIPES = cells(PAGE.split("recipe_figures.py recipes -->")[1].split("<!-- end of recipes")[0])


def test_every_preset_has_its_lines(figures):
    presets = list(octavo.recipes())
    assert list(cells(part_of(figures, "recipes"))) == presets
    described = PAGE.split("## The presets, one by one")[1]
    assert sorted(re.findall(r"^\*\*`(\w+)`\*\*", described, re.MULTILINE)) == sorted(presets)
    assert sorted(re.findall(r"^\| `(\w+)` \|", PAGE.split("## Figures")[0], re.MULTILINE)) == sorted(presets)


def test_tables_are_of_the_scripts_recipes(figures):
    assert list(cells(part_of(figures, "options"))) == list(figures.OPTIONS)
    assert list(cells(part_of(figures, "length"))) == list(figures.LENGTH_RECIPES)
    assert list(cells(part_of(figures, "accumulators"))) == list(figures.ACCUMULATORS)
    recipes, options = cells(part_of(figures, "recipes")), cells(part_of(figures, "options"))
    for recipe in set(recipes) & set(options):
        assert recipes[recipe] == options[recipe]


@pytest.mark.parametrize("recipe", ["int8", "int_flash", "int8_block", "sage2_8b"])
def test_figures(figures, recipe):
    table = cells(part_of(figures, "recipes"))
    for column, problems in enumerate((figures.gaussian, figures.sink)):
        assert figures.digits(np.mean(figures.errors(problems, recipe)[0])) == table[recipe][column]


def test_accumulators(figures):
    written = part_of(figures, "accumulators").splitlines()
    for row, again in zip(written, figures.accumulators_table().splitlines()):
        assert row == again


def test_a_captured_head_is_within_the_table(figures):
    q, k, v, causal = figures.captured()[1]
    of_head, worst_row, lse = figures.errors(lambda: [(q[:, :, 1:2], k, v, causal)], "int8")
    _, _, _, worst_head, row, worst_lse = (float(cell) for cell in cells(part_of(figures, "recipes"))["int8"])
    assert 0 < of_head[0] <= worst_head + 0.005 and worst_row <= row + 0.005 and lse <= worst_lse + 0.005


def test_layers_of_a_capture(figures, tmp_path):
    """Query head h reads KV head h // group; a capture says whether it is causal."""
    q, k = np.arange(4 * 5 * 2, dtype=np.float16).reshape(4, 5, 2), np.ones((2, 5, 2), np.float16)
    v = np.stack([np.full((5, 2), 1, np.float16), np.full((5, 2), 2, np.float16)])
    for text, causal in (('"__metadata__": {"causal": "0"}, ', False), ("", True)):
        header, data = {}, b""
        for role, x in zip("qkv", (q, k, v)):
            offsets = [len(data), len(data) + x.nbytes]
            header[f"L3.{role}"] = {"dtype": "F16", "shape": x.shape, "data_offsets": offsets}
            data += x.tobytes()
        header = ("{" + text + json.dumps(header)[1:]).encode()
        (tmp_path / "capture").write_bytes(len(header).to_bytes(8, "little") + header + data)
        layers = figures.layers_of(tmp_path / "capture")
        assert list(layers) == ["L3"] and layers["L3"][3] is causal
        assert np.array_equal(layers["L3"][0][0, :, 1], q[1])
        out, lse = figures.exact(*layers["L3"])
        assert np.array_equal(out[0, 0], [[1, 1], [1, 1], [2, 2], [2, 2]])
        # All scores of a row are equal: the log-sum-exp is the score and the logarithm of the number of keys.
        score = q.astype(float).sum(-1) / np.sqrt(2)
        assert np.allclose(lse[0], score + np.log(np.arange(1, 6) if causal else 5))


def test_head_errors(monkeypatch, capsys):
    """scripts/head_errors.py on data/: its int8 row is that of the presets' table; its schemes are valid recipes."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    head_errors = importlib.import_module("head_errors")
    schemes = [head_errors.scheme_of(recipe) for recipe in head_errors.SCHEMES]
    assert len(schemes) == len(set(schemes)) > 60
    command = ["head_errors.py", "--recipe", "int8", "--recipe", "bf16 attention", "--heads"]
    monkeypatch.setattr("sys.argv", [*command, "--limit", "bf16 attention:0.65,0.92"])
    head_errors.main()
    row, heads, bf16, bf16_heads = capsys.readouterr().out.splitlines()[-4:]
    median, worst = (PAGE_RECIPES["int8"][column] for column in (2, 3))
    assert row.startswith(f"| `int8` | {median} | ") and f" | {worst} | L21.h2 |" in row
    names = [f"L{layer}.h{head}" for layer in (0, 14, 21) for head in range(3)]
    assert heads.split()[::2] == names == bf16_heads.split()[::2]
    # The figures that the command's demo computes in C++.
    assert bf16.startswith("| bf16 attention | 0.63 | ") and bf16.endswith(" | 0.90 | L21.h0 |")
    # A limit that does not hold fails.
    monkeypatch.setattr("sys.argv", ["head_errors.py", "--recipe", "bf16 attention", "--limit", "bf16 attention:0.6"])
    with pytest.raises(SystemExit, match="median error 0.62. %; at most 0.6 %"):
        head_errors.main()


def test_bf16_attention(monkeypatch):
    """Each rounding, from the definition, in double."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    bf16 = importlib.import_module("bf16_attention")
    near = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8 + 2**-16), 3e-39, 0], np.float32)
    assert np.array_equal(bf16.to_bf16(near)[:4], [1, 1, 1 + 2**-6, -(1 + 2**-7)])
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    x = rng.standard_normal(10000, dtype=np.float32)
    assert np.array_equal(bf16.to_bf16(x), x.astype(ml_dtypes.bfloat16).astype(np.float32))
    q = rng.standard_normal((2, 7, 4, 16), dtype=np.float32)
    k, v = rng.standard_normal((2, 2, 9, 2, 16), dtype=np.float32)

    def rounded(x):
        return x.astype(ml_dtypes.bfloat16).astype(np.float64)

    for causal in (False, True):
        out = bf16.bf16_attention(q, k, v, causal)
        expected = np.empty(q.shape)
        for b, i, h in np.ndindex(2, 7, 4):
            keys = i + 3 if causal else 9
            scores = rounded(k[b, :keys, h // 2]) @ rounded(q[b, i, h]) / 4
            weights = np.exp(scores - scores.max())
            expected[b, i, h] = rounded(weights) @ rounded(v[b, :keys, h // 2]) / weights.sum()
        # A sum in f32 may round to the neighbour of what the sum in double rounds to, in rare elements.
        difference = np.abs(out - rounded(expected))
        assert np.all(difference <= 2**-7 * np.abs(expected)) and np.mean(difference > 0) < 0.01


def test_compositions_in_the_text_parse():
    texts = re.findall(r"`(\w+(?:,\w+=[\w.]+)+)`", PAGE)
    assert len(texts) > 10
    for text in texts:
        octavo.recipe(text)
