"""Scoring of found fractures against the truth of synthetic studies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_level_hits import result_with

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import Box, FractureFinding
from CSpineFractureLib.training.fracture_hits import compare_fractures, fracture_summary, studies_below
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture
def a_result():
    volume = CTVolume(np.full((60, 40, 40), 50, np.int16), np.diag([-2.0, -2.0, 2.0, 1.0]))
    result = result_with(volume, C2=[0, 0, -36], C3=[0, 0, -54], C5=[0, 0, -90])
    for vertebra, probability in zip(result.vertebrae, (0.9, 0.7, None), strict=True):
        vertebra.fracture_probability = probability
    result.fractures = [
        FractureFinding("fracture-1", "C2", 0.9, Box([0, 0, -30], [8.0, 8.0, 8.0])),
        FractureFinding("fracture-2", "C3", 0.6, Box([0, 0, -54], [8.0, 8.0, 8.0])),
    ]
    return result


def folder_with(tmp_path, *truths):
    folder = tmp_path / "phantom_000001"
    folder.mkdir()
    (folder / "ct.nii.gz").touch()
    (folder / "truth.json").write_text(json.dumps({"fractures": list(truths)}), encoding="utf-8")
    return folder


def a_truth(level, low, high):
    return {"level": level, "type": "burst", "box_ras": [low, high]}


def test_a_finding_must_be_near_and_of_the_same_level(tmp_path, a_result):
    folder = folder_with(tmp_path, a_truth("C2", [-9, -9, -44], [9, 9, -36]), a_truth("C5", [-9, -9, -99], [9, 9, -81]))
    report = compare_fractures(folder, a_result)
    assert report.found == ["C2:burst"]
    assert report.overlooked == ["C5:burst"]
    assert report.false_boxes == 1
    assert report.broken == [0.9]
    assert report.sound == [0.7]


def test_a_finding_far_away_does_not_count(tmp_path, a_result):
    report = compare_fractures(folder_with(tmp_path, a_truth("C2", [-9, 30, -44], [9, 40, -36])), a_result)
    assert report.overlooked == ["C2:burst"]
    assert report.false_boxes == 2


def test_rates_over_studies(tmp_path, a_result):
    report = compare_fractures(folder_with(tmp_path, a_truth("C2", [-9, -9, -44], [9, 9, -36])), a_result)
    total = fracture_summary([report], 0.6)
    assert total["level_sensitivity"] == 1.0
    assert total["level_specificity"] == 0.0
    assert total["level_auc"] == 1.0
    assert total["study_auc"] is None
    assert total["box_sensitivity"] == 1.0
    assert fracture_summary([], 0.6)["level_sensitivity"] is None


def test_only_whole_studies_count(tmp_path):
    with pytest.raises(UserError, match="no synthetic studies"):
        studies_below(tmp_path)
    folder = folder_with(tmp_path)
    assert studies_below(tmp_path) == [folder]
