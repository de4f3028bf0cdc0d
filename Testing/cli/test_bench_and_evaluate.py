"""Timing and measuring commands, with the profile "fake"."""

from __future__ import annotations

import json

import pytest
import SimpleITK as sitk
from cspine_runner import cspine_here, make_ct


@pytest.fixture
def ct(tmp_path):
    return make_ct(tmp_path / "ct.nii.gz")


def bench(capfd, tmp_path, *words):
    """How ``cspine bench --json`` ended, and the figures that it wrote."""
    report = tmp_path / "bench.json"
    ended = cspine_here(capfd, "bench", *words, "--device", "cpu", "--json", report)
    assert ended.code == 0, ended.err
    return ended, json.loads(report.read_text(encoding="utf-8"))


def test_bench_prints_the_spread_of_every_stage_and_keeps_the_figures(capfd, ct, tmp_path):
    words = (ct, "--profile", "fake", "--repeat", "3", "--queued", "2", "--no-write")
    ended, figures = bench(capfd, tmp_path, *words)
    for word in ("ct.nii.gz", "median", "read", "fake", "Studies per minute"):
        assert word in ended.out
    assert {"read", "fake", "other"} <= set(figures["stages_s"])
    low, high = figures["ranges"]["run_s"]
    assert 0 < low <= figures["run_s"] <= high
    assert sum(figures["stages_s"].values()) <= 1.5 * high
    assert figures["studies_per_minute"] > 0
    assert figures["peak_rss_gb"] >= figures["peak_rss_findings_gb"] > 0.05
    assert (figures["overhead"], figures["speedup_over_baseline"]) == (None, None)  # this profile has no networks


def test_bench_sets_a_run_beside_its_networks_and_its_naive_execution(capfd, ct, tmp_path):
    short = tmp_path / "short.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(ct))[:, :, 20:32], str(short))
    words = (short, "--profile", "two-stage", "--repeat", "2", "--queued", "0", "--no-write", "--baseline")
    ended, figures = bench(capfd, tmp_path, *words)
    assert {"column-locator", "vertebra-detector"} <= set(figures["forward_s"])
    assert figures["limit_s"] == pytest.approx(sum(figures["forward_s"].values()))
    assert figures["baseline_s"] == pytest.approx(sum(figures["baseline_stages_s"].values()))
    runs, limits, ratios = (figures["ranges"][key] for key in ("run_s", "limit_s", "overhead"))
    assert runs[0] / limits[1] <= ratios[0] <= figures["overhead"] <= ratios[1] <= runs[1] / limits[0]
    assert figures["speedup_over_baseline"] > figures["speedup_same_slices"] > 0
    assert figures["calls"]["vertebra-detector"]["images"] > figures["calls"]["vertebra-detector"]["calls"]
    assert figures["agreement"]["levels_identical"] is True
    assert ended.out.count("levels identical") == 2  # as the document does it, and with the same pictures


def test_bench_gives_json_alone_on_stdout(capfd, ct):
    words = ("--profile", "fake", "--device", "cpu", "--repeat", "1", "--queued", "0", "--no-write", "--json", "-")
    ended = cspine_here(capfd, "bench", ct, *words)
    assert json.loads(ended.out)["input"] == "ct.nii.gz"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--profile", "fake", "--baseline"), "two-stage"),
        (("--profile", "radiograph"), "radiograph"),
        (("--slices", "40"), "--slices"),
        (("--device", "toaster"), "toaster"),
        (("--json", "no-such-folder/bench.json"), "no-such-folder"),
    ],
)
def test_bench_refuses_what_it_cannot_measure_before_measuring(capfd, ct, words, said):
    ended = cspine_here(capfd, "bench", ct, *words)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_levels_are_measured_against_marks(capfd, ct, tmp_path):
    (tmp_path / "levels").mkdir()
    marks = {"file": "ct.nii.gz", "R": 0.0, "C3": {"sup": [0, 0], "inf": [0, -10]}}
    (tmp_path / "levels" / "ct.json").write_text(json.dumps(marks), encoding="utf-8")
    report = tmp_path / "report.json"
    ended = cspine_here(
        capfd, "evaluate", "levels", "--data", tmp_path, "--profile", "fake", "--device", "cpu", "-o", report
    )
    assert ended.code == 0, ended.err
    assert json.loads(report.read_text(encoding="utf-8"))["marked"] == 1


def test_fractures_are_measured_on_synthetic_studies(capfd, ct, tmp_path):
    folder = tmp_path / "studies" / "phantom_000001"
    folder.mkdir(parents=True)
    ct.rename(folder / "ct.nii.gz")
    (folder / "truth.json").write_text(json.dumps({"fractures": []}), encoding="utf-8")
    ended = cspine_here(
        capfd, "evaluate", "fractures", "--data", tmp_path / "studies", "--profile", "fake", "--device", "cpu"
    )
    assert ended.code == 0, ended.err
    assert "false_boxes_per_study 1.000" in ended.out


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "no-such.nii.gz"),
        ("evaluate", "levels", "--data", "no-such-folder"),
        ("evaluate", "fractures", "--data", "no-such-folder"),
    ],
)
def test_missing_input_ends_with_one_sentence(capfd, words):
    ended = cspine_here(capfd, *words)
    assert ended.code == 2
    assert "no-such" in ended.err
    assert "Traceback" not in ended.err
