"""docs/recipes.md shows the table of scripts/field_cases.py, recomputed here; int8 misses no bar."""

import importlib
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def field_cases():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module("field_cases")


def numbers(cell):
    return [float(word.strip("()")) for word in cell.split()]


def test_the_table_of_the_page(field_cases):
    begin, end = field_cases.MARKS
    written = (ROOT / "docs" / "recipes.md").read_text().split(begin)[1].split(end)[0].splitlines()
    recipes = ("int8_fast", "int8", field_cases.BF16)
    made = list(field_cases.table(recipes, field_cases.KINDS, "int8"))
    assert [line.split("|")[1:4] for line in written] == [line.split("|")[1:4] for line, _ in made]
    assert written[:2] == [line for line, _ in made[:2]]
    for old, (new, missed) in zip(written[2:], made[2:]):
        assert missed is None, missed
        for was, cell in zip(old.strip("| ").split(" | ")[3:], new.strip("| ").split(" | ")[3:]):
            for a, b in zip(numbers(was), numbers(cell), strict=True):
                # Other kernels round and sum in another order; what is zero here is rounding there.
                assert a == pytest.approx(b, rel=0.1, abs=0.005) or min(a, b) > 100, new


def test_errors_are_of_what_a_row_sees(field_cases):
    """Against the definition, on a call of four keys of which two are hidden, one from each row."""
    q, k, v = field_cases.operands(2, 4, 8)
    case = field_cases.Case(q, k, v, causal=True, seen=np.array([True, True, False, True]), hide="mask")
    for row, sees in enumerate(([0, 1], [0, 1, 3])):
        weights = np.exp(k[0, sees, 0].astype(float) @ q[0, row, 0] / np.sqrt(8))
        assert np.allclose(case.expected[row], weights @ v[0, sees, 0] / weights.sum())
    assert case.error("exact") < 1e-4 < case.error("int4")
    constant = field_cases.Case(q, k, np.full_like(v, 2), measure="element")
    constant.call = lambda recipe: np.array([[2.0] * 7 + [2.1], [2.0] * 8])
    assert constant.error("exact") == pytest.approx(5)
    shifted = field_cases.Case(q, k, v + 100, measure="without mean")
    output = shifted.expected
    mean = v[0, :, 0].astype(float).mean(axis=0) + 100
    shifted.call = lambda recipe: output + 0.5 * (output - mean)
    assert shifted.error("exact") == pytest.approx(50, rel=1e-4)
    with pytest.raises(KeyError):
        list(field_cases.table(("exact",), ["Z"]))


def test_a_missed_bar_is_named(field_cases, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["field_cases.py", "--recipe", "int8", "--gate", "int4", "--only", "E"])
    with pytest.raises(SystemExit, match="E: V = 1, 1 key, D 128: the worst element: .* %; bar 0.5 %"):
        field_cases.main()
    assert capsys.readouterr().out.splitlines()[0] == "| kind | input | bar | `int8` | `int4` |"
