"""Scoring of found levels against marks on real CT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import Box, StudyResult, VertebraFinding
from CSpineFractureLib.training.level_hits import LevelMarks, compare, read_marks, summary
from CSpineFractureLib.volume.ct_volume import CTVolume

MIDDLES = {f"C{n}": np.array([0.0, 0.0, -18.0 * n]) for n in range(2, 6)}


@pytest.fixture
def a_volume() -> CTVolume:
    matrix = np.diag([-2.0, -2.0, 2.0, 1.0])
    matrix[:3, 3] = [40, 40, -120]
    return CTVolume(np.full((60, 40, 40), 50, np.int16), matrix)


def result_with(volume: CTVolume, **centres: list[float]) -> StudyResult:
    from CSpineFractureLib.pipeline.context import RunContext

    result = RunContext(profile="two-stage", device="cpu").new_result(volume, "rule")
    for level, centre in centres.items():
        box = Box(list(centre), [40.0, 40.0, 20.0])
        result.vertebrae.append(
            VertebraFinding(level, level, "full", True, 0.9, list(centre), box, [0, 1], None, True, 9000.0)
        )
    return result


def test_levels_in_place_are_hits_with_signed_errors(a_volume):
    result = result_with(a_volume, C2=[1, 2, -34], C3=[0, 0, -54], C4=[0, 0, -73], C5=[0, 0, -90])
    report = compare(LevelMarks("a", MIDDLES), result, a_volume)
    assert report.hit == ["C2", "C3", "C4", "C5"]
    assert report.error_s_mm == pytest.approx([2, 0, -1, 0])
    assert not report.confused
    assert not report.missed
    assert not report.invented


def test_names_that_are_one_off_are_confused_not_missed(a_volume):
    result = result_with(a_volume, C3=[0, 0, -36], C4=[0, 0, -54], C5=[0, 0, -72])
    report = compare(LevelMarks("a", MIDDLES), result, a_volume)
    assert report.hit == []
    assert report.confused == ["C2", "C3", "C4"]
    assert report.missed == ["C5"]


def test_levels_in_the_air_or_between_marks_are_invented(a_volume):
    a_volume.hu[:, :, :5] = -1000
    result = result_with(a_volume, C1=[38, 0, -18], C3=[0, 30, -54])
    report = compare(LevelMarks("a", MIDDLES), result, a_volume)
    assert report.invented == ["C1", "C3"]


def test_totals_add_up(a_volume):
    good = compare(LevelMarks("a", MIDDLES), result_with(a_volume, C2=[0, 0, -38]), a_volume)
    none = compare(LevelMarks("b", MIDDLES), result_with(a_volume), a_volume)
    total = summary([good, none])
    assert total["volumes"] == 2
    assert total["marked"] == 8
    assert total["hit_rate"] == pytest.approx(1 / 8)
    assert total["median_error_s_mm"] == pytest.approx(-2)


def test_marks_read_back_and_bad_ones_are_refused(tmp_path: Path):
    path = tmp_path / "marks.json"
    path.write_text(json.dumps({"file": "x.nii", "R": 2.0, "C3": {"sup": [10, -20], "inf": [12, -34]}}))
    marks = read_marks(path)
    assert marks.file == "x.nii"
    np.testing.assert_allclose(marks.middles["C3"], [2, 11, -27])
    path.write_text("{}")
    with pytest.raises(UserError, match="level marks"):
        read_marks(path)
