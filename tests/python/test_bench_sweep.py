"""bench/sweep: its measurements, and the check of growth."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "sweep"))

import sweep  # noqa: E402


def measured(seqlen, ps, workspace, causal=False):
    return sweep.BASE | {"seqlen": seqlen, "causal": causal, "axis": "length, causal" if causal else "length",
                         "recipe": "int8", "ps_per_score": ps, "workspace": workspace, "resident_beyond": 0, "ms": 1.0,
                         "gops": 1.0, "cpu_share": 0.98}


def test_points_stay_below_the_longest_length():
    points = sweep.points(2048)
    assert [p["seqlen"] for p in points["length"]] == [128, 256, 512, 1024, 2048]
    assert [p["seqlen"] for p in points["length, causal"]] == [1024, 2048]
    assert [p["seqlen"] for p in sweep.points(65536)["length"]][-1] == 65536


def test_command_names_the_point():
    words = sweep.command("octavo", sweep.BASE | {"causal": True}, "int8", 3, "x.json")
    assert words[:3] == ["octavo", "bench", "attention"] and words[-1] == "--causal"
    assert words[words.index("--seqlen-q") + 1] == "4096"


def test_scores_of_causal_rows():
    assert sweep.scores(sweep.BASE | {"seqlen": 4, "heads": 3, "causal": True}) == 3 * 10
    assert sweep.scores(sweep.BASE | {"seqlen": 4, "heads": 3}) == 3 * 16


@pytest.mark.parametrize("last_ps, last_bytes, time_holds, memory_holds", [
    (10.9, 64, True, True), (11.2, 64, False, True), (9.0, 64, False, True), (10, 200, True, False)])
def test_growth_bar(last_ps, last_bytes, time_holds, memory_holds):
    results = [measured(n, 10 if n < 65536 else last_ps, n * (2 if n < 65536 else last_bytes / 32)) for n in
               (512, 1024, 65536)]
    time, memory = sweep.verdicts(results)
    assert (time["ok"], memory["ok"]) == (time_holds, memory_holds)


def test_times_of_a_busy_machine_are_not_judged():
    results = [measured(n, ps, n) for n, ps in ((1024, 10), (4096, 30))]
    assert [v["ok"] for v in sweep.verdicts(results)] == [False, True]
    results[0]["cpu_share"] = 0.5
    time, memory = sweep.verdicts(results)
    assert (time["ok"], memory["ok"]) == (None, True)
    assert "up to 50% of the processors" in time["says"]
    assert "| not judged |" in sweep.markdown({"machine": {}, "results": results, "verdicts": [time, memory]})


def test_scratch_memory_of_all_scores_misses_the_bar():
    _, memory = sweep.verdicts([measured(n, 10, n * n * 4) for n in (1024, 4096)])
    assert not memory["ok"]


def test_lengths_below_a_thousand_are_outside_the_bar():
    results = [measured(128, 100, 1024), measured(1024, 10, 1024), measured(2048, 10, 2048)]
    assert all(v["ok"] for v in sweep.verdicts(results))


@pytest.mark.parametrize("last_ps, holds, says", [
    (10, True, "does not grow, at least 21% below that of N 1024 (10.0 to 14.0 ps"),
    (15, True, "grows by 7% (11.0 to 15.0 ps"), (16, False, "grows by 14% (11.0 to 16.0 ps")])
def test_causal_rows_may_become_cheaper_and_not_dearer(last_ps, holds, says):
    times = ((1024, 14), (4096, 11), (65536, last_ps))
    [verdict] = sweep.verdicts([measured(n, ps, n, causal=True) for n, ps in times])
    assert verdict["ok"] is holds
    assert says in verdict["says"]


def test_the_committed_verdicts_and_tables_are_made_of_the_measurements():
    results = pathlib.Path(sweep.__file__).resolve().parents[1] / "results"
    found = list(results.glob("*/sweep.json"))
    assert found
    for path in found:
        data = json.loads(path.read_text())
        assert data["verdicts"] == sweep.verdicts(data["results"])
        assert path.with_suffix(".md").read_text() == sweep.markdown(data)


def test_tables_show_every_point():
    results = [measured(n, 10, 2**20) for n in (1024, 2048)]
    text = sweep.markdown({"machine": {}, "results": results, "verdicts": sweep.verdicts(results)})
    assert text.count("| 1 | 2 | ") == 2 and "| yes |" in text
    assert "<polyline" in sweep.chart({"results": results})
