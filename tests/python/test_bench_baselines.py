"""bench/baselines: operation counts, tables, charts, and the reasons reported for libraries that cannot run."""

import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest

BASELINES = pathlib.Path(__file__).resolve().parents[2] / "bench" / "baselines"
sys.path.insert(0, str(BASELINES))

import charts  # noqa: E402
import compare  # noqa: E402
import install  # noqa: E402
import operands  # noqa: E402
import problem  # noqa: E402
import processor  # noqa: E402
import report  # noqa: E402

PEAKS = {"vnni": 2000.0, "bf16": 1000.0, "f32": 500.0}


def result(s, speeds, refused=()):
    timings = {name: {"error": 1e-3, "seconds": [1.0], "median_ms": 1e3, "gops": gops}
                  for name, gops in speeds.items()}
    return {"shape": s, "peak": PEAKS, "rounds": 5, "measured": "then", "cpu_share": 1.0,
            "timings": timings | {name: {"refused": reason} for name, reason in refused}}


def test_operations_count_visible_pairs():
    s = problem.shape(heads=2, seqlen=5, head_dim=8, kv_heads=1)
    assert problem.operations(s) == 4 * 2 * 25 * 8
    assert problem.visible_pairs(s | {"causal": True}) == 15
    assert problem.visible_pairs(s | {"causal": True, "seqlen_q": 2}) == 4 + 5
    assert problem.visible_pairs(s | {"causal": True, "seqlen_q": 7}) == 15


def test_titles_tell_shapes_apart():
    shapes = [s for group in problem.SHAPES.values() for s in group]
    assert len({problem.title(s) for s in shapes}) == len({problem.key(s) for s in shapes})


def test_sampled_error_sees_one_wrong_head_and_a_wrong_mask():
    s = problem.shape(heads=4, seqlen=48, head_dim=16, kv_heads=2)
    q, k, v = operands.operands(s)
    t = q.astype(np.float64) @ np.repeat(k, 2, axis=1).astype(np.float64).swapaxes(2, 3) / 4
    p = np.exp(t)
    right = p / p.sum(-1, keepdims=True) @ np.repeat(v, 2, axis=1)
    assert operands.sampled_error(right, q, k, v, causal=False) < 1e-12
    assert operands.sampled_error(right, q, k, v, causal=True) > 0.1
    wrong = right.copy()
    wrong[:, 3] = right[:, 2]
    assert operands.sampled_error(wrong, q, k, v, causal=False) > 0.1
    with pytest.raises(RuntimeError, match=r"\[1, 4, 48, 8\]"):
        operands.sampled_error(right[..., :8], q, k, v, causal=False)


def test_peak_is_each_products_own():
    bounds = {"int8": ("vnni", "vnni"), "mixed": ("vnni", "f32"), "unknown": None}
    assert report.peak_of("int8", bounds, PEAKS) == pytest.approx(2000)
    assert report.peak_of("mixed", bounds, PEAKS) == pytest.approx(2 / (1 / 2000 + 1 / 500))
    assert report.peak_of("unknown", bounds, PEAKS) is None
    assert report.peak_of("int8", bounds, {"f32": 500.0}) is None


def test_port_bounds_where_the_processor_is_known():
    assert processor.port_bound("zen5", 128) == pytest.approx(64 / 72)
    assert processor.port_bound("sapphire_rapids", 64) == pytest.approx(32 / 52)
    assert processor.port_bound("zen3", 128) is None
    found = result(problem.shape(), {"octavo int8": 1000, "octavo exact f32": 400, "OpenVINO bf16": 400})
    text = report.markdown([found], "zen5")
    assert "The ports allow 89% of the vnni peak at D 128; reached of that: int8 56%." in text
    assert "ports" not in report.markdown([found], "zen3") + report.markdown([found])
    assert "ports" not in report.markdown([found | {"peak": {}}], "zen5")


def test_tables_are_ordered_by_speed_and_hold_ratios_to_the_best_baseline():
    rows = report.rows(result(problem.shape(), {"PyTorch SDPA f32": 100, "octavo int8": 1000, "OpenVINO bf16": 400}),
                       report.products())
    names = [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]]
    assert names == ["octavo int8", "OpenVINO bf16", "PyTorch SDPA f32"]
    assert [row.split(" | ")[3:5] for row in rows[2:]] == [["50%", "2.50"], ["40%", "1.00"], ["20%", "0.25"]]


def test_who_did_not_run_is_listed_with_the_reason_and_where():
    a, b, c = problem.shape(), problem.shape(causal=True), problem.shape(seqlen=128)
    x, y, z, w = ("X", "no wheel"), ("Y", "always causal"), ("Z", "no mask"), ("W", "too short")
    listed = report.absent([result(a, {}, [x, y]), result(b, {}, [x, z]), result(c, {}, [x, y, w])])
    assert listed == [f"- W ({problem.title(c)}): too short", "- X: no wheel", "- Y (not causal): always causal",
                      "- Z (causal): no mask"]
    text = report.markdown([result(a, {"octavo int8": 10}, [("X", "no wheel")])])
    assert "### Did not run" in text and "- X: no wheel" in text
    assert "Did not run" not in report.markdown([result(a, {"octavo int8": 10})])


def test_figures_of_a_busy_machine_are_called_so():
    quiet = result(problem.shape(), {"octavo int8": 10})
    assert "busy" not in report.markdown([quiet])
    text = report.markdown([quiet | {"cpu_share": 0.6}])
    assert "up to 40% of the processors" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 120


def test_charts_have_a_panel_for_each_series_of_lengths():
    results = [result(problem.shape(seqlen=n, head_dim=d), {"octavo int8": n, "A & B": n / 2})
               for n, d in ((1024, 128), (4096, 128), (1024, 64))]
    drawn = charts.against_length(results, lambda name, entry, of: entry["gops"], "Gop/s")
    texts = [node.text for node in xml.etree.ElementTree.fromstring(drawn).iter() if node.tag.endswith("text")]
    assert [text for text in texts if text.endswith("Gop/s")] == ["8 heads, D 128: Gop/s"]
    assert "A & B" in texts
    only = charts.against_length(results, lambda name, entry, of: entry["gops"], "Gop/s", only=["octavo int8"])
    assert "A &amp; B" not in only
    xml.etree.ElementTree.fromstring(charts.against_length([], lambda *_: 1, "Gop/s"))


def test_newer_results_take_the_place_of_older_ones():
    old = [result(problem.shape(), {"octavo int8": 1}), result(problem.shape(seqlen=128), {"octavo int8": 2})]
    new = [result(problem.shape(), {"octavo int8": 3})]
    found = compare.merged(old, new)
    assert [(r["shape"]["seqlen_q"], r["timings"]["octavo int8"]["gops"]) for r in found] == [(128, 2), (4096, 3)]


def test_a_missing_module_carries_pips_reason():
    missing = {"refused": "No module named 'onnxruntime'", "module": "onnxruntime.capi"}
    assert compare.explained(dict(missing), {}) == {"refused": missing["refused"]}
    assert compare.explained(dict(missing), {"onnxruntime": "no such version"}) == {
        "refused": "could not be installed: no such version"}


def test_a_failed_installation_is_a_reason(tmp_path):
    reason = install.pip(["--no-index", str(tmp_path / "no_such_wheel.whl")])
    assert "no_such_wheel.whl" in reason


def ask(name, *requests):
    run = subprocess.run([sys.executable, str(BASELINES / "worker.py"), name, "1"], text=True, capture_output=True,
                         input="".join(json.dumps(request) + "\n" for request in requests), check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_worker_times_octavo_and_knows_its_error():
    small = problem.shape(heads=2, seqlen=64, head_dim=32, kv_heads=1)
    prepared, timed = ask("octavo int8_fast", {"prepare": small}, {"run": 2})
    assert 1e-4 < prepared["error"] < 0.05
    assert timed["seconds"] > 0


def test_worker_says_why_a_library_does_not_take_part(monkeypatch):
    monkeypatch.delenv("OCTAVO_IK_LLAMA", raising=False)
    s = problem.shape(heads=1, seqlen=16, head_dim=16)
    answer, = ask("ik_llama.cpp q8_0", {"prepare": s})
    assert answer == {"refused": "OCTAVO_IK_LLAMA names no build of it", "module": "ik_llama.cpp"}


def test_programs_that_cannot_be_compiled_say_so(tmp_path, monkeypatch):
    from adapters.program_adapter import PROGRAMS, compiled

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="onednn_graph.cpp could not be compiled: .*error"):
        compiled(PROGRAMS / "onednn_graph.cpp", ["-DFAIL", "-include", str(tmp_path / "none.hpp")])
