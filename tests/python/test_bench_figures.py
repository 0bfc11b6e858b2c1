"""README.md and docs/performance.md show the figures of bench/results."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("bench_figures", ROOT / "scripts" / "bench_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_pages_show_the_results(figures, page):
    text = (ROOT / page).read_text()
    assert figures.rewritten(page, text) == text, "scripts/bench_figures.py --write"


def test_a_changed_figure_is_seen(figures):
    text = (ROOT / "README.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| octavo int8_fast |"))
    changed = line.replace("octavo int8_fast | ", "octavo int8_fast | 9")
    assert figures.rewritten("README.md", text.replace(line, changed)) == text


def test_pages_without_marks_are_refused(figures):
    with pytest.raises(SystemExit, match="front"):
        figures.rewritten("README.md", "no marks")


def test_reports_are_made_of_the_results(figures, tmp_path):
    figures.report.write_reports(figures.load("cpu.json"), tmp_path)
    for made in tmp_path.iterdir():
        assert made.read_text() == (figures.RESULTS / made.name).read_text(), made.name


def test_front_page_shows_the_fastest_of_each_library(figures):
    speeds = {"octavo int8": 900, "octavo int4": 950, "OpenVINO f32": 100, "OpenVINO bf16": 300, "PyTorch SDPA f32": 90}
    timings = {name: {"gops": gops, "median_ms": 1.0, "error": 1e-3} for name, gops in speeds.items()}
    timings["SageAttention"] = {"refused": "no kernels"}
    rows = figures.front_rows({"shape": figures.HEADLINE, "peak": {"vnni": 2000.0}, "timings": timings})
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| octavo int8", "| OpenVINO bf16", "| PyTorch SDPA f32"]
