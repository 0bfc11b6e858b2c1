"""bench/gpu_baselines: what is counted, the report of made-up results, and what is said where there is no GPU."""

import json
import os
import pathlib
import subprocess
import sys
import time
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GPU = ROOT / "bench" / "gpu_baselines"
sys.path.insert(0, str(GPU))

import gpu_compare  # noqa: E402
import gpu_entries  # noqa: E402
import gpu_report  # noqa: E402
import gpu_shapes  # noqa: E402
import octavo_program  # noqa: E402
import telemetry  # noqa: E402


def entry(shape, speeds, refused=()):
    results = {name: {"relative_l2": 1e-2, "ms": 2.0, "ms_min": 1.9, "rounds": 5, "tflops": tflops}
               for name, tflops in speeds.items()}
    return {"shape": shape, "group": "bars", "results": results | {name: {"refused": why} for name, why in refused}}


@pytest.fixture
def everything():
    speeds = {"octavo int8_fast": 900.0, "PyTorch SDPA cuDNN bf16": 600.0, "Triton tutorial f16": 400.0,
              "FlashAttention-3 fp8": 1000.0}
    return {"gpu": "GPU X", "compute_capability": "9.0", "measured": "then", "versions": {"torch": "2.0"},
            "checks": {"primitives": "passed", "sanitizer: racecheck": "refused", "baselines": "passed"},
            "conformance": {"tests": 40, "passed": 39},
            "first_measurements": [
                {"name": "wgmma_s8_rs_n128", "unit": "Tops", "value": 1500.5, "clock_mhz": 1700.2, "watts": 650.4},
                {"name": "mma_e4m3", "unit": "Tops", "absent": "needs compute capability 8.9"},
                {"name": "rate_ex2", "unit": "/clk/SM", "value": None}],
            "shapes": [entry(gpu_shapes.HEADLINE, speeds, [("SageAttention", "cannot be imported")]),
                       entry(gpu_shapes.shape(1024, 64), {"octavo int8_fast": 100.0},
                             [("SageAttention", "cannot be imported")])],
            "left_out": ["a long one"], "copy_gb_per_s": 4000.0,
            "quantize_gb_per_s": {"q": 3000.0, "k": 2000.0, "v": 1000.0}}


def test_operations_count_visible_pairs():
    s = gpu_shapes.shape(4, head_dim=8, batch=2, heads=3)
    assert gpu_shapes.operations(s) == 4 * 2 * 3 * 16 * 8
    assert gpu_shapes.operations(s | {"causal": True}) == 4 * 2 * 3 * 10 * 8


def test_titles_tell_shapes_apart_and_the_bars_come_first():
    shapes = [s for group in gpu_shapes.ORDER for s in gpu_shapes.SHAPES[group]]
    assert len({gpu_shapes.title(s) for s in shapes}) == len({tuple(s.items()) for s in shapes})
    assert set(gpu_shapes.ORDER) == set(gpu_shapes.SHAPES) and shapes[0] == gpu_shapes.HEADLINE


def test_speed_is_relative_to_the_others_in_16_bits(everything):
    rows = gpu_report.rows(everything["shapes"][0])[2:]
    assert rows[0].startswith("| FlashAttention-3 fp8 | 2.000 | 1000 | 1.67 |")
    assert rows[1].startswith("| octavo int8_fast | 2.000 | 900 | 1.50 | 1.0e-02 |")
    # Nothing to be relative to: octavo's own 16 bits are no bar.
    alone = entry(gpu_shapes.HEADLINE, {"octavo int8_fast": 900.0, "octavo exact": 100.0})
    assert gpu_report.best_half(alone) is None and "| 900 |  |" in gpu_report.rows(alone)[2]


def test_tables_have_all_there_is(everything, tmp_path):
    out = tmp_path / "results" / "GPU_X.json"
    gpu_report.write(everything, out)
    assert json.loads(out.read_text()) == everything
    text = "\n".join(gpu_report.comparison(everything) + gpu_report.measurements(everything))
    for words in ("Q 75%, K 50%, V 25%", "- SageAttention: cannot be imported", "- a long one",
                  "| wgmma_s8_rs_n128 | 1500.5 | Tops | 1700 | 650 |",
                  "| mma_e4m3 | absent: needs compute capability 8.9 | Tops |  |  |",
                  "| rate_ex2 | failed | /clk/SM |"):
        assert words in text, words
    assert gpu_report.verdict(everything) == "39 of 40 conformance tests pass; 2 steps passed; 1 steps refused"


def test_a_report_holds_no_nan(everything, tmp_path):
    everything["copy_gb_per_s"] = float("nan")
    with pytest.raises(ValueError):
        gpu_report.write(everything, tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_absent_at_some_shapes_only(everything):
    everything["shapes"][1]["results"]["octavo exact"] = {"refused": "no"}
    assert "- octavo exact (1 of 2 shapes): no" in gpu_report.absent(everything["shapes"])


def test_front_page_takes_the_headline_of_every_gpu(everything, monkeypatch):
    sys.path.insert(0, str(ROOT / "scripts"))
    import bench_figures

    block = bench_figures.gpu_block([everything, everything | {"gpu": "GPU Y", "shapes": []}])
    assert "| octavo int8_fast | 2.000 | 900 | 1.50 |" in block and "GPU X" in block
    assert "GPU Y, then, torch 2.0: no run of" in block
    page = (ROOT / "README.md").read_text()
    monkeypatch.setattr(bench_figures, "load", lambda name: [everything] if name == bench_figures.GPUS else None)
    block = bench_figures.gpu_block([everything])
    assert f"<!-- bench_figures.py gpu -->\n{block}\n<!-- end" in bench_figures.rewritten("README.md", page)


def test_telemetry_reads_what_the_driver_prints(tmp_path):
    assert telemetry.parse("2026/01/02 03:04:05.500, 1755, 612.25, 61")[1:] == (1755, 612.25, 61)
    assert telemetry.parse("2026/01/02 03:04:05.500, [N/A], 612.25, 61") is None
    assert telemetry.parse("") is None
    program = ("import datetime, time\n"
               "for mhz in (1000, 1200, 1400):\n"
               "    now = datetime.datetime.now().strftime('%Y/%m/%d %H:%M:%S.%f')[:-3]\n"
               "    print(f'{now}, {mhz}, 500, 60', flush=True)\n"
               "time.sleep(60)\n")
    began = time.time() - 1
    with telemetry.Telemetry([sys.executable, "-c", program]) as log:
        limit = time.monotonic() + 20
        while len(log.samples) < 3 and time.monotonic() < limit:
            time.sleep(0.01)
    assert log.between(began, time.time() + 1) == {"clock_mhz": 1200, "watts": 500, "degrees": 60}
    assert log.between(0, 1) == {}


def test_a_machine_without_the_drivers_tool_has_no_telemetry():
    with telemetry.Telemetry(["no-such-program-here"]) as log:
        pass
    assert log.between(0, time.time()) == {}


@pytest.mark.parametrize("name,module", [("SageAttention", "sageattention"), ("FlashAttention-2 bf16", "flash_attn"),
                                         ("FlashAttention-3 fp8", "flash_attn_interface")])
def test_what_cannot_be_imported_is_absent_with_the_reason(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(gpu_entries.Absent, match=f"^{module} cannot be imported: "):
        gpu_entries.ENTRIES[name](None, None, None, False)


def test_other_libraries_are_called_as_they_are_documented(monkeypatch, torch):
    calls = []

    def flash(q, k, v, causal):
        calls.append((q.shape, causal))
        return q

    monkeypatch.setitem(sys.modules, "flash_attn", types.SimpleNamespace(flash_attn_func=flash))
    q, k = torch.randn(1, 4, 128, 8), torch.randn(1, 2, 128, 8)
    ready = gpu_entries.ENTRIES["FlashAttention-2 bf16"](q, k, k, True)
    assert ready.last_rows(ready.run(), 3).equal(q[0, 0, -3:]) and calls == [((1, 128, 4, 8), True)]


class HostEvent:
    """torch.cuda.Event on the host's clock."""

    def __init__(self, enable_timing):
        self.at = None

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 1e3 * (end.at - self.at)


@pytest.fixture
def on_host(monkeypatch, torch):
    monkeypatch.setattr(gpu_compare, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "Event", HostEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def test_a_run_measures_who_can_and_says_why_others_cannot(monkeypatch, torch, on_host):
    def wrong(q, k, v, causal):
        return gpu_entries.Ready(lambda: v.repeat(1, 2, 1, 1), gpu_entries.heads_first)

    def broken(q, k, v, causal):
        raise RuntimeError("no kernel\nat all")

    chosen = {name: gpu_entries.ENTRIES[name]
              for name in ("octavo int8_fast", "octavo int8_fast, codes given", "PyTorch SDPA flash bf16")}
    monkeypatch.setattr(gpu_compare, "ENTRIES", chosen | {"wrong": wrong, "octavo broken": broken, "broken": broken})
    shape = gpu_shapes.shape(256, 64, causal=True, heads=4, kv_heads=2)
    with telemetry.Telemetry(["no-such-program-here"]) as log:
        results = gpu_compare.measure(torch, shape, 0.01, log)["results"]
    assert results["broken"] == {"refused": "no kernel"}
    assert results["octavo broken"] == {"refused": "no kernel", "failed": "no kernel"}
    for name in chosen:
        assert results[name]["relative_l2"] < 0.02 and results[name]["tflops"] > 0 and results[name]["rounds"] >= 3
        assert results[name]["sustained"]["ms"] > 0
    assert results["wrong"]["relative_l2"] > 0.5 and "failed" not in results["wrong"]


def test_octavos_own_entries_must_run_be_finite_and_near(monkeypatch, torch, on_host):
    def gives(value):
        return lambda q, k, v, causal: gpu_entries.Ready(lambda: value(v), gpu_entries.heads_first)

    def refuses(q, k, v, causal):
        raise NotImplementedError("not here")

    def lost(q, k, v, causal):
        raise gpu_entries.Absent("cannot be imported")

    wrong, not_finite = gives(lambda v: v), gives(lambda v: v * float("nan"))
    monkeypatch.setattr(gpu_compare, "ENTRIES", {
        "octavo int8_fast": gpu_entries.ENTRIES["octavo int8_fast"], "octavo int8_fast, codes given": wrong,
        "octavo exact": not_finite, "octavo int_flash": refuses, "octavo int8_block": lost,
        "other": not_finite, "another": refuses})
    measured = gpu_compare.measure(torch, gpu_shapes.shape(64, 64, heads=1), 0.01)
    results = measured["results"]
    assert "failed" not in results["octavo int8_fast"]
    given = results["octavo int8_fast, codes given"]
    assert given["failed"].endswith(", above 0.02") and "ms" in given
    assert results["octavo exact"] == dict.fromkeys(("refused", "failed"), "its result is not finite")
    assert results["octavo int_flash"]["failed"] == "not here"
    assert results["octavo int8_block"]["failed"] == "cannot be imported"
    assert results["other"] == {"refused": "its result is not finite"} and results["another"] == {"refused": "not here"}
    sentences = gpu_report.failures([measured])
    assert len(sentences) == 4 and "octavo int_flash, B 1, 1 heads, 64 x 64, D 64: not here" in sentences
    json.dumps(measured, allow_nan=False)


@pytest.fixture
def whole(monkeypatch, torch, on_host, tmp_path):
    """gpu_compare.main() with a GPU that is made up and one small shape: run(entries, arguments) -> rc, results."""
    gpu = types.SimpleNamespace(name="GPU X", major=9, minor=0, multi_processor_count=1, total_memory=1)
    for name, value in (("is_available", lambda: True), ("get_device_properties", lambda _: gpu),
                        ("empty_cache", lambda: None)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(gpu_compare, "SHAPES", {"bars": [gpu_shapes.shape(64, 64, heads=1)]})
    monkeypatch.setattr(gpu_compare, "ORDER", ("bars",))
    monkeypatch.setattr(gpu_compare, "copy_bandwidth", lambda torch: 100.0)
    monkeypatch.setattr(gpu_compare, "quantize_bandwidth", lambda torch: {"q": 50.0})
    measure = gpu_compare.measure
    monkeypatch.setattr(gpu_compare, "measure", lambda torch, shape, seconds, telemetry: measure(torch, shape, 0.0))
    out = tmp_path / "baselines.json"

    def run(entries, *arguments):
        monkeypatch.setattr(sys, "argv", ["gpu_compare.py", "--out", str(out), *map(str, arguments)])
        monkeypatch.setattr(gpu_compare, "ENTRIES", dict(entries))
        return gpu_compare.main(), json.loads(out.read_text())
    return types.SimpleNamespace(run=run, out=out)


def wrong(q, k, v, causal):
    return gpu_entries.Ready(lambda: v, gpu_entries.heads_first)


def test_a_run_fails_where_octavo_does(whole, capsys):
    good = gpu_entries.ENTRIES["octavo int8_fast"]
    code, results = whole.run({"octavo int8_fast": good, "SageAttention": wrong})
    assert code == 0 and not gpu_report.failures(results["shapes"])
    assert results["gpu"] == "GPU X" and results["quantize_gb_per_s"] == {"q": 50.0}
    code, results = whole.run({"octavo int8_fast": wrong, "SageAttention": wrong})
    message = "octavo int8_fast, B 1, 1 heads, 64 x 64, D 64: relative L2 "
    assert code == 1 and f"gpu_compare.py: failed: {message}" in capsys.readouterr().err


def test_a_run_that_ends_early_leaves_the_shapes_before(whole, monkeypatch):
    def lost(torch):
        raise RuntimeError("the GPU is gone")

    monkeypatch.setattr(gpu_compare, "copy_bandwidth", lost)
    with pytest.raises(RuntimeError):
        whole.run({"SageAttention": wrong})
    assert len(json.loads(whole.out.read_text())["shapes"]) == 1


PROGRAM = """#!/bin/sh
echo "$*" >"$0.log"
echo '{"name": "octavo int8_fast", "relative_l2": 1.0e-02, "ms": 2, "ms_min": 1.5, "rounds": 3, "tflops": 9.5}'
echo '{"name": "octavo exact", "relative_l2": 1.0e-01, "ms": 2, "ms_min": 1.5, "rounds": 3, "tflops": 9.5}'
echo '{"name": "octavo int_flash", "refused": "no kernel"}'
"""


@pytest.fixture
def program(tmp_path):
    """make(more) -> a program in place of gpu_attention_bench."""
    def make(more="exit 1"):
        path = tmp_path / "bench"
        path.write_text(PROGRAM + more + "\n")
        path.chmod(0o755)
        return path
    return make


def test_without_the_python_package_the_program_measures_octavo(whole, program, monkeypatch):
    monkeypatch.setitem(sys.modules, "octavo", None)
    path = program()
    code, made = whole.run({"octavo int8_fast": wrong, "SageAttention": wrong}, "--program", path)
    results = made["shapes"][0]["results"]
    assert code == 1 and results["octavo int8_fast"]["tflops"] == 9.5 and "ms" in results["SageAttention"]
    assert "failed" not in results["octavo int8_fast"]
    assert results["octavo exact"]["failed"].endswith(", above 0.006")
    assert results["octavo int_flash"] == {"refused": "no kernel", "failed": "no kernel"}
    assert "octavo_cannot_be_imported" in made and "quantize_gb_per_s" not in made
    arguments = path.with_name("bench.log").read_text()
    assert arguments.startswith("--batch 1 --heads 1 --kv-heads 1 --rows 64 --head-dim 64 --seconds")
    # Neither of the two: the baselines alone.
    code, made = whole.run({"octavo int8_fast": wrong, "SageAttention": wrong})
    assert code == 0 and list(made["shapes"][0]["results"]) == ["SageAttention"]


@pytest.mark.parametrize("more,reason", [("echo 'no memory' >&2; exit 1", "no memory"),
                                         ("exec sleep 60", "no end within 0 s")])
def test_a_program_that_ends_badly_is_a_failure_of_octavos(program, monkeypatch, more, reason):
    monkeypatch.setattr(octavo_program, "LIMIT", 0.5)
    judged = lambda name, error: {"relative_l2": error}  # noqa: E731
    path = program(more)
    path.write_text(path.read_text().replace(', "refused": "no kernel"', ', "relative_l2": 0.1'))
    results = octavo_program.measure(path, gpu_shapes.HEADLINE, judged)
    assert results["octavo"]["failed"] == f"gpu_attention_bench: {reason}" and "ms" in results["octavo int8_fast"]
    assert octavo_program.measure(path.with_name("nothing"), gpu_shapes.HEADLINE, judged)["octavo"]["failed"]


@pytest.mark.parametrize("calls", [1, 2, 4, 8])
def test_who_fails_after_the_first_call_is_refused_and_the_others_go_on(monkeypatch, torch, on_host, calls):
    def tired(q, k, v, causal):
        left = [calls]

        def run():
            if left[0] == 0:
                raise RuntimeError("out of memory\nhere")
            left[0] -= 1
            return v
        return gpu_entries.Ready(run, gpu_entries.heads_first)

    monkeypatch.setattr(gpu_compare, "STRETCH_MS", 1e-9)  # one call a stretch
    monkeypatch.setattr(gpu_compare, "ENTRIES", {
        "tired": tired, "octavo tired": tired, "octavo int8_fast": gpu_entries.ENTRIES["octavo int8_fast"]})
    with telemetry.Telemetry(["no-such-program-here"]) as log:
        results = gpu_compare.measure(torch, gpu_shapes.shape(64, 64, heads=1), 0.0, log)["results"]
    assert results["tired"] == {"refused": "out of memory"}
    assert results["octavo tired"] == {"refused": "out of memory", "failed": "out of memory"}
    assert results["octavo int8_fast"]["rounds"] >= 3 and results["octavo int8_fast"]["sustained"]["ms"] > 0


def test_every_recipe_that_is_measured_has_its_bound():
    ours = [name for name in gpu_entries.ENTRIES if name.startswith(gpu_entries.OURS)]
    assert len(ours) > 5 and all(0 < gpu_entries.bound_of(name) < 0.1 for name in ours)
    assert gpu_entries.bound_of("SageAttention") is None


def test_without_a_gpu_nothing_is_measured(tmp_path, torch):
    done = subprocess.run([sys.executable, GPU / "gpu_compare.py", "--out", tmp_path / "x.json"], capture_output=True,
                          text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 3 and "gpu_compare.py: torch sees no CUDA device" in done.stderr
    assert not (tmp_path / "x.json").exists()
