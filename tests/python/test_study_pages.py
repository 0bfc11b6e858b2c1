"""docs/study shows the results of docs/study/results: the pages, their plots, and the CSV files behind their tables."""

import csv
import importlib.util
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "study"
RESULTS = sorted((PAGES / "results").glob("*.json"))
NAMES = [path.stem for path in RESULTS]


@pytest.fixture(scope="module")
def study_pages():
    spec = importlib.util.spec_from_file_location("study_pages", ROOT / "scripts" / "study_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_results():
    assert "formats" in NAMES


def test_pages_show_the_results(study_pages):
    for path, text in study_pages.pages().items():
        assert path.read_text() == text, f"{path.name}: scripts/study_pages.py --write"


def test_a_changed_figure_is_seen(study_pages):
    results = study_pages.parts_of((PAGES / "results" / "formats.md").read_text())
    page = (PAGES / "formats.md").read_text()
    changed = page.replace("| s8 (int8) | ", "| s8 (int8) | 9", 1)
    assert changed != page and study_pages.rewritten(changed, results) == page
    with pytest.raises(SystemExit, match="no part 'none'"):
        study_pages.rewritten(page + "<!-- octavo study formats: none -->\n<!-- end of none -->\n", results)


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_at_the_top(name):
    lines = (PAGES / f"{name}.md").read_text().splitlines()
    answer = json.loads((PAGES / "results" / f"{name}.json").read_text())["answer"]
    assert lines[0].startswith("# ") and answer.startswith(lines[1])


@pytest.mark.parametrize("name", NAMES)
def test_tables_have_their_csv(name):
    """The JSON's tables are the CSV files, and these are from a full run whose bars hold."""
    data = json.loads((PAGES / "results" / f"{name}.json").read_text())
    assert data["study"] == name and not data["quick"] and data["captures"] is None
    assert name == "model" or data["seeds"] >= 5
    assert all(bar["holds"] for bar in data["bars"])
    for table in data["tables"]:
        with open(PAGES / "results" / f"{name}_{table['name']}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(table["rows"]) > 0
        for row, expected in zip(rows, table["rows"]):
            for key, value in expected.items():
                if isinstance(value, float):
                    assert float(row[key]) == pytest.approx(value, rel=1e-8)
                elif value is not None:
                    assert row[key] == str(value)


@pytest.mark.parametrize("name", NAMES)
def test_pages_show_every_plot(name):
    page = (PAGES / f"{name}.md").read_text()
    shown = re.findall(r"!\[[^]]+\]\(results/(\w+)\.svg\)", page)
    assert sorted(shown) == sorted(path.stem for path in (PAGES / "results").glob(f"{name}_*.svg"))
