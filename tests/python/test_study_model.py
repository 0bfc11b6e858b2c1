"""The study `model` without its model: the files, the figures from their definitions, straight-through gradients."""

import csv
import importlib
import json
import pathlib

import numpy as np
import pytest

import octavo

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


def test_files(script, tmp_path):
    report, pages = script("study_report"), script("study_pages")
    rows = [{"attention": "int8", "kl": 1.5e-5, "note": None}, {"attention": "int4", "kl": 0.25, "note": 2.0}]
    table = report.Table("quality", "A caption.", {"attention": "recipe", "kl": "KL", "note": "note"}, rows)
    hidden = report.Table("raw", "", {"layer": None}, [{"layer": 1}])
    bars = [report.bar("a bar", 1.0, 2.0), report.bar("another", 3.0, 2.0)]
    plot = report.lines_svg("title", "x", "y", {"one": [(1, 0.1), (10, 20.0)], "none": [(1, 0.0)]})
    first = {"tables": [table, hidden], "bars": bars, "plots": {"p": plot}, "answer": "Because."}
    order = ("one", "two")
    assert not report.write_parts(tmp_path, "model", "Why?", "So.", order, {"one": first}, quick=True)
    parts = pages.parts_of((tmp_path / "model.md").read_text())
    assert list(parts) == [("model", part) for part in ("answer", "method", "bars", "quality")]
    assert all(row in parts["model", "quality"] for row in ("| int8 | 1.5e-05 |  |", "| int4 | 0.250 | 2.00 |"))
    assert "| another | 3.00 | <= 2.00 | **no** |" in parts["model", "bars"]
    with open(tmp_path / "model_quality.csv", newline="") as file:
        assert [float(row["kl"]) for row in csv.DictReader(file)] == [1.5e-5, 0.25]
    data = json.loads((tmp_path / "model.json").read_text())
    assert data["tables"][0]["rows"] == rows and [bar["holds"] for bar in data["bars"]] == [True, False]
    assert (tmp_path / "model_p.svg").read_text().count("<polyline") == 2
    # Another part, later: the first one is kept, in the order of the study.
    second = {"tables": [report.Table("more", "", {"x": "x"}, [{"x": 1.0}])], "answer": "Also."}
    assert not report.write_parts(tmp_path, "model", "Why?", "So.", order[::-1], {"two": second}, quick=True)
    later = pages.parts_of((tmp_path / "model.md").read_text())
    assert later["model", "answer"] == "Also. Because.\n" and later["model", "quality"] == parts["model", "quality"]
    # A full run keeps nothing of a quick one.
    assert report.write_parts(tmp_path, "model", "Why?", "So.", order, {"two": second}, quick=False)
    assert ("model", "quality") not in pages.parts_of((tmp_path / "model.md").read_text())
    old = "# Title\nold\n\ntext\n<!-- octavo study model: bars -->\nold\n<!-- end of bars -->\n"
    page = pages.rewritten(old, parts)
    assert page.startswith("# Title\nBecause.\n\ntext\n<!-- octavo study model: bars -->\n| bar | measured |")


def test_figures_from_their_definitions(script, torch):
    study_model = script("study_model")
    tokens = torch.randint(3, (300,))
    states = {recipe: [torch.randn(300, 3) for _ in range(4)] for recipe in (None, "int8")}

    class Model:
        def hidden_states(self, given, recipe):
            assert given is tokens
            return states[recipe]

        def log_softmax(self, hidden):
            return (block.double().log_softmax(-1) for block in hidden.split(256))

    Model.torch = torch
    measured = study_model.compare(Model(), tokens, ["int8"], lambda line: None)
    p, q = (states[recipe][-1].double().softmax(-1).numpy() for recipe in (None, "int8"))
    assert np.allclose(measured["int8"]["kl"], (p * np.log(p / q)).sum(-1))
    assert np.allclose(measured["int8"]["nll"], [-np.log(q[i, tokens[i + 1]]) for i in range(299)])
    assert np.array_equal(measured["int8"]["same"], p.argmax(-1) == q.argmax(-1))
    exact, other = states[None][1].numpy(), states["int8"][1].numpy()
    ratios = np.linalg.norm(other - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    assert measured["int8"]["residual"][0] == pytest.approx(np.sort(ratios[1:])[149], rel=1e-5)
    table = study_model.quality_table("quality", "", measured)
    rows = {row["attention"]: row for row in table.rows}
    assert rows["PyTorch f32"]["kl"] == 0 and rows["PyTorch f32"]["change"] == 0
    assert rows["int8"]["perplexity"] == pytest.approx(np.exp(measured["int8"]["nll"].mean()))


def test_forward_by_the_recipe_backward_as_exact(script, torch):
    training = script("study_training")
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 192, 32, requires_grad=True) for _ in range(3))
    upstream = torch.randn(2, 3, 192, 32)
    out = training.attend(q, k, v, "int_flash")
    expected = octavo.attention(*(x.detach() for x in (q, k, v)), recipe="int_flash", causal=True, layout="HND")
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(out, expected, atol=1e-6) and not torch.allclose(out, exact, atol=1e-3)
    of_quantized = torch.autograd.grad(out, (q, k, v), upstream)
    of_exact = torch.autograd.grad(exact, (q, k, v), upstream)
    assert all(torch.equal(a, b) for a, b in zip(of_quantized, of_exact))


def test_training(script):
    """Two steps: the same for the same seed, the recipe makes a difference, and the loss is that of a new model."""
    training = script("study_training")
    first, again, exact = (training.train(recipe, 2, seed=4)[0] for recipe in ("int_flash", "int_flash", None))
    assert first == again != exact
    assert all(3.5 < loss < 6 for loss in first + exact) and first[0] == pytest.approx(exact[0], abs=0.1)
