"""Timing and measuring commands, with the profile "fake"."""

from __future__ import annotations

import json

import pytest
from cspine_runner import cspine_here, make_ct


@pytest.fixture
def ct(tmp_path):
    return make_ct(tmp_path / "ct.nii.gz")


def test_bench_prints_the_spread_of_every_stage_and_keeps_all_times(capfd, ct, tmp_path):
    report = tmp_path / "bench.json"
    ended = cspine_here(capfd, "bench", ct, "--profile", "fake", "--device", "cpu", "--repeat", "2", "-o", report)
    assert ended.code == 0, ended.err
    for word in ("ct.nii.gz", "median s", "read", "fake", "total"):
        assert word in ended.out
    runs = json.loads(report.read_text(encoding="utf-8"))["runs"]
    assert len(runs) == 3
    assert all(run["total"] >= run["fake"] >= 0 for run in runs)


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
