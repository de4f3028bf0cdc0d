"""Fitting probabilities to scores, measured on studies left out, and the command that does it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, logit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "findings"))

from cspine_runner import cspine_here
from sample_result import make_result, make_vertebra

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, ModelInfo
from CSpineFractureLib.pipeline.calibrated import SLOPES, ScoreMap, read_calibration
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.training.calibration import expected_calibration_error
from CSpineFractureLib.training.calibration_fit import (
    Scores,
    check_scores,
    cross_fitted,
    error_figures,
    fit_map,
    level_scores,
    study_scores,
)
from CSpineFractureLib.training.rank_auc import rank_auc
from CSpineFractureLib.training.study_report import StudyCase


def drawn(n=4000, below=4.0, above=1.5, seed=0):
    """Scores near 0.45 whose fractures are drawn by a map of these slopes; ten scores a study."""
    rng = np.random.default_rng(seed)
    score = expit(rng.normal(-0.1, 0.7, n))
    truth = rng.random(n) < ScoreMap(0.6, below, above).probability(score)
    return Scores(score, truth.astype(float), np.array([f"study_{i // 10:04d}" for i in range(n)], object))


def test_the_slopes_that_made_the_fractures_are_found():
    found = fit_map(drawn(), 0.6)
    assert found.below == pytest.approx(4.0, rel=0.15)
    assert found.above == pytest.approx(1.5, rel=0.15)


def test_probabilities_are_better_calibrated_than_scores_on_studies_left_out():
    scores = drawn(600)
    figures = error_figures(scores, 0.6)
    assert figures["ece_before"] > 0.1
    assert figures["ece_after_cross_fitted"] < 0.05
    assert figures["fractured"] + figures["sound"] == 600


def test_the_area_under_the_curve_does_not_change():
    scores = drawn(500)
    mapped = fit_map(scores, 0.6).probability(scores.score)
    assert rank_auc(scores.truth, mapped) == rank_auc(scores.truth, scores.score)


def test_a_study_takes_no_part_in_the_fit_of_its_own_probabilities():
    scores = drawn(100)
    first = scores.study == "study_0000"
    lied = Scores(scores.score, np.where(first, 1 - scores.truth, scores.truth), scores.study)
    before, after = cross_fitted(scores, 0.6), cross_fitted(lied, 0.6)
    assert before[first] == pytest.approx(after[first])
    assert not np.allclose(before[~first], after[~first])


def test_separable_scores_and_empty_sides_give_finite_slopes():
    apart = Scores(np.array([0.2, 0.3, 0.8, 0.9]), np.array([0, 0, 1, 1.0]), np.array(list("abcd"), object))
    found = fit_map(apart, 0.6)
    assert SLOPES[0] <= found.below <= SLOPES[1]
    assert SLOPES[0] <= found.above <= SLOPES[1]
    low = Scores(np.array([0.2, 0.4]), np.array([0, 1.0]), np.array(list("ab"), object))
    assert fit_map(low, 0.6).above == 1.0


def case(study, broken=None, highest=0.4):
    probabilities = dict.fromkeys(LEVELS[:6], 0.3) | {"C2": highest}
    return StudyCase(study, {level: level == broken for level in LEVELS}, probabilities, highest)


def test_levels_that_were_not_judged_do_not_count():
    cases = [case("one", "C2", 0.8), case("two")]
    levels, studies = level_scores(cases), study_scores(cases)
    assert len(levels.score) == 12
    assert levels.truth.sum() == 1
    assert studies.score.tolist() == [0.8, 0.4]
    assert studies.truth.tolist() == [1, 0]


@pytest.mark.parametrize("broken", [None, "C2"])
def test_studies_of_one_kind_are_refused(broken):
    with pytest.raises(UserError, match="some fractured and some sound"):
        check_scores([case(f"study_{n}", broken) for n in range(12)])


@pytest.fixture
def studies(tmp_path):
    """Twenty folders that look like phantoms, every second with a fracture of C4."""
    for n in range(20):
        folder = tmp_path / "studies" / f"phantom_{910000 + n}"
        folder.mkdir(parents=True)
        (folder / "ct.nii.gz").touch()
        box = [[0, 0, 0], [9, 9, 9]]
        broken = [{"level": "C4", "type": "burst", "hairline": False, "box_ras": box}] if n % 2 else []
        (folder / "truth.json").write_text(json.dumps({"fractures": broken, "mimics": []}), encoding="utf-8")
    return tmp_path / "studies"


@pytest.fixture
def asked(monkeypatch):
    """Stands in for the networks: fractured levels score about 0.8, sound ones about 0.4. Collects the thresholds."""
    asked = []

    def run_study(_engine, path, _profile, thresholds):
        asked.append(thresholds)
        number = int(path.parent.name[-2:])
        vertebrae = [
            make_vertebra(
                level, fracture_probability=expit(logit(0.8 if n == 3 and number % 2 else 0.4) + 0.1 * (n - 3))
            )
            for n, level in enumerate(LEVELS)
        ]
        models = [ModelInfo(task, task, "1", "b" * 64, "", "") for task in ("slice-classifier", "vertebra-detector")]
        result = make_result(vertebrae=vertebrae, fractures=[], profile="two-stage", models=models)
        return None, SimpleNamespace(result=result)

    monkeypatch.setattr(Engine, "run_study", run_study)
    return asked


def test_the_command_fits_writes_and_says_how_well(capfd, studies, asked, tmp_path):
    ended = cspine_here(capfd, "evaluate", "calibration", "--data", studies, "-o", tmp_path / "calibration.json")
    assert ended.code == 0, ended.err
    assert asked == [{"calibration": 0.0}] * 20
    assert "level (synthetic): 10 fractured, 130 sound; expected calibration error 0.3" in ended.out
    assert "study (synthetic): 10 fractured, 10 sound" in ended.out
    found = read_calibration(tmp_path / "calibration.json")
    assert found.models == {"slice-classifier": "b" * 64}
    assert len(found.fitted_on["studies"]) == 20
    assert found.fitted_on["command"] == "cspine evaluate calibration --data studies --limit 200"
    assert found.level_map.probability(0.8) > 0.8
    assert found.level_map.probability(0.4) < 0.05
    assert found.figures["level"]["ece_after_cross_fitted"] < 0.1


def test_another_profile_and_threshold_are_fitted_and_noted(capfd, studies, asked, tmp_path):
    given = ("--data", studies, "-o", tmp_path / "c.json", "--profile", "unet-cracknet", "--threshold", "0.6")
    ended = cspine_here(capfd, "evaluate", "calibration", *given)
    assert ended.code == 0, ended.err
    found = read_calibration(tmp_path / "c.json")
    assert found.threshold == 0.6
    assert found.models == {}  # the study that stands in was not judged by that profile's network
    assert found.fitted_on["command"].endswith("--limit 200 --profile unet-cracknet --threshold 0.6")


def test_a_profile_without_scores_of_vertebrae_is_refused(capfd, studies, asked, tmp_path):
    given = ("--data", studies, "-o", tmp_path / "c.json", "--profile", "vertebra-yolo")
    ended = cspine_here(capfd, "evaluate", "calibration", *given)
    assert ended.code == 2
    assert "use one of two-stage, unet-cracknet" in ended.err
    assert asked == []


def test_fewer_studies_are_spread_over_the_folder(capfd, studies, asked, tmp_path):
    ended = cspine_here(capfd, "evaluate", "calibration", "--data", studies, "-o", tmp_path / "c.json", "--limit", "13")
    assert ended.code == 0, ended.err
    names = read_calibration(tmp_path / "c.json").fitted_on["studies"]
    assert len(set(names)) == len(asked) == 13
    assert (names[0], names[-1]) == ("phantom_910000", "phantom_910018")


def test_studies_of_the_benchmark_are_refused_before_any_work(capfd, studies, asked, tmp_path):
    (studies / "phantom_910003").rename(studies / "phantom_2000003")
    ended = cspine_here(capfd, "evaluate", "calibration", "--data", studies, "-o", tmp_path / "c.json")
    assert ended.code == 2
    assert "holds studies of the benchmark" in ended.err
    assert asked == []
    assert not (tmp_path / "c.json").exists()


def test_a_place_that_cannot_be_written_to_is_told_before_any_work(capfd, studies, asked, tmp_path):
    ended = cspine_here(capfd, "evaluate", "calibration", "--data", studies, "-o", tmp_path / "none" / "c.json")
    assert ended.code == 2
    assert "none" in ended.err
    assert asked == []


def test_the_error_of_scores_is_that_of_the_report():
    scores = drawn(200)
    assert error_figures(scores, 0.6)["ece_before"] == expected_calibration_error(scores.truth, scores.score)
