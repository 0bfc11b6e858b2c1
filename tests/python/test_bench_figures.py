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
    for data in figures.every("cpu.json"):
        figures.report.write_reports(data, tmp_path)
        for made in tmp_path.iterdir():
            assert made.read_text() == (figures.RESULTS / data["folder"] / made.name).read_text(), made.name


def test_the_processor_with_most_results_comes_first(figures):
    found = figures.every("cpu.json")
    assert figures.load("cpu.json") == found[0]
    assert [figures.weight(data) for data in found] == sorted(map(figures.weight, found), reverse=True)
    rows = figures.processors_block(found).splitlines()[4:]
    assert len(rows) == len(found) and all(data["folder"] in row for data, row in zip(found, rows))


@pytest.mark.parametrize(("vendor", "family", "model", "name"), [
    ("AuthenticAMD", 25, 1, "zen3"), ("AuthenticAMD", 25, 17, "zen4"), ("AuthenticAMD", 26, 2, "zen5"),
    ("GenuineIntel", 6, 143, "sapphire_rapids"), ("GenuineIntel", 6, 1, "genuineintel_family6_model1")])
def test_processors_are_named_by_family_and_model(figures, vendor, family, model, name):
    cpuinfo = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: a 1\n"
    assert figures.processor.name_of(cpuinfo, "x86_64") == name
    assert figures.processor.name_of("", "aarch64") == "aarch64"


def test_front_page_shows_the_fastest_of_each_library(figures):
    speeds = {"octavo int8": 900, "octavo int4": 950, "OpenVINO f32": 100, "OpenVINO bf16": 300, "PyTorch SDPA f32": 90}
    timings = {name: {"gops": gops, "median_ms": 1.0, "error": 1e-3} for name, gops in speeds.items()}
    timings["SageAttention"] = {"refused": "no kernels"}
    rows = figures.front_rows({"shape": figures.HEADLINE, "peak": {"vnni": 2000.0}, "timings": timings})
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| octavo int8", "| OpenVINO bf16", "| PyTorch SDPA f32"]
