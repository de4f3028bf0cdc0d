"""Scores become probabilities, and nothing else about a study changes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import picture_networks
import pytest
from scipy.special import logit

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_rows import SUSPECTED, result_rows
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.calibrated import (
    SCHEMA,
    SOFT,
    Calibration,
    ScoreMap,
    calibration_file,
    calibration_of,
    read_calibration,
    write_calibration,
)
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.resources import resource_path

MAP = ScoreMap(0.6, 5.0, 0.8)


@pytest.fixture
def calibration():
    return Calibration(
        profile="two-stage",
        threshold=0.6,
        models={"slice-classifier": "a" * 64},
        level={"below": 5.0, "above": 0.8},
        study={"below": 2.0, "above": 0.5},
        fitted_on={"studies": ["one", "two"]},
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The block study with the map switched off, and with it."""
    study = picture_networks.block_study()
    folder = tmp_path_factory.mktemp("calibrated")
    (folder / "bundled").mkdir()
    store = WeightsStore(folder / "models", folder / "bundled")
    picture_networks.install_vertebra_detector(store, "two-stage")
    entries = [
        picture_networks.install_slice_classifier(store),
        picture_networks.install_fracture_detector(store, "two-stage"),
    ]
    models = {one.task: one.sha256 for one in entries}
    slopes = {"below": MAP.below, "above": MAP.above}
    found = Calibration("two-stage", MAP.threshold, models, slopes, {"below": 2.0, "above": 0.5})
    write_calibration(found, store.user / calibration_file("two-stage"))
    engine = Engine(store, device="cpu")
    runs = ({"calibration": 0, "fracture": 0.6}, {})
    return [engine.run_study(study.volume, "two-stage", thresholds=t)[1] for t in runs]


def test_the_map_rises_everywhere_and_the_threshold_becomes_one_half():
    scores = np.linspace(0.001, 0.999, 500)
    assert (np.diff(MAP.probability(scores)) > 0).all()
    assert MAP.probability(0.6) == pytest.approx(0.5)
    below = np.sqrt(SOFT + logit(0.6) - logit(0.4)) - np.sqrt(SOFT)
    assert logit(MAP.probability(0.4)) == pytest.approx(-5.0 * below)
    assert logit(MAP.probability(0.9)) == pytest.approx(0.8 * (logit(0.9) - logit(0.6)))
    assert 0 < MAP.probability(0.0) < MAP.probability(1.0) < 1
    assert MAP.probability(0.6) - MAP.probability(0.597) < 0.03


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_a_threshold_of_the_user_finds_its_score(probability):
    assert MAP.probability(MAP.score(probability)) == pytest.approx(probability)


def test_thresholds_of_all_and_nothing_stay_what_they_are():
    assert (MAP.score(0), MAP.score(1)) == (0, 1)


def test_a_study_is_never_less_likely_fractured_than_its_worst_level(calibration):
    for score in np.linspace(0.05, 0.99, 30):
        assert calibration.study_probability(score) >= calibration.level_map.probability(score)
    assert calibration.study_probability(0.4) > calibration.level_map.probability(0.4)


def test_what_is_written_is_read_back(calibration, tmp_path):
    write_calibration(calibration, tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json") == calibration


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "cspine-calibration/9"}, "cspine-calibration/9"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"level": {"below": 5.0}}, "level needs the slopes"),
        ({"study": {"below": -1.0, "above": 1.0}}, "slope -1.0 below"),
        ({"study": {"below": "steep", "above": 1.0}}, "TypeError"),
        ({"models": {"slice-classifier": "short"}}, "SHA-256"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_calibration_is_refused_in_one_sentence(calibration, tmp_path, change, words):
    document = {"schema": SCHEMA, **asdict(calibration), **change}
    (tmp_path / "c.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"is no calibration of this version.*evaluate calibration") as caught:
        read_calibration(tmp_path / "c.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_calibration_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "c.json").write_text("[1, 2", encoding="utf-8")
    with pytest.raises(UserError, match="is no calibration"):
        read_calibration(tmp_path / "c.json")


def test_slopes_that_no_fit_can_have_made_are_not_written(calibration, tmp_path):
    with pytest.raises(ValueError, match="out of range"):
        write_calibration(replace(calibration, level={"below": 0.01, "above": 1.0}), tmp_path / "c.json")
    assert list(tmp_path.iterdir()) == []


def test_findings_are_the_same_as_from_scores(outputs):
    raw, shown = outputs
    assert raw.result.fractures == shown.result.fractures != []
    assert np.array_equal(raw.labels, shown.labels)
    suspected = [[row.level for row in result_rows(o.result) if row.assessment == SUSPECTED] for o in (raw, shown)]
    assert suspected == [["C4"], ["C4"]]
    assert [o.result.thresholds["fracture"] for o in (raw, shown)] == [0.6, 0.5]


def test_levels_slices_and_study_show_probabilities(outputs):
    raw, shown = outputs
    for one, other in zip(raw.result.vertebrae, shown.result.vertebrae, strict=True):
        assert other.fracture_probability == pytest.approx(MAP.probability(one.fracture_probability))
    for one, other in zip(raw.result.slices, shown.result.slices, strict=True):
        if one.fracture_probability is not None:
            assert other.fracture_probability == pytest.approx(MAP.probability(one.fracture_probability))
    worst = max(v.fracture_probability for v in shown.result.vertebrae)
    assert shown.result.study.fracture_probability == pytest.approx(worst)


def test_a_grad_cam_is_scaled_by_the_probability_that_is_shown(outputs):
    raw, shown = outputs
    assert len(raw.cam_slices) == len(shown.cam_slices) > 0
    for one, other in zip(raw.cam_slices, shown.cam_slices, strict=True):
        assert other.probability == pytest.approx(MAP.probability(one.probability))
        assert other.cam.max() == pytest.approx(other.probability, abs=1e-3)


def test_the_result_says_whether_it_is_calibrated(outputs):
    raw, shown = (one.result.study.level_rule for one in outputs)
    assert raw.endswith("; not calibrated")
    assert "; calibrated on" in shown
    assert len(shown) < 300  # the report shows no more


def context_with(folder, **hashes):
    """A run of two-stage whose networks have these hashes and lie in ``folder``."""
    named = {task.replace("_", "-"): sha for task, sha in hashes.items()}
    entries = {task: SimpleNamespace(task=task, sha256=sha, folder=folder) for task, sha in named.items()}
    context = RunContext(profile="two-stage")
    context.use_models(loader=lambda task: None, finder=entries.__getitem__)
    context.has = entries.__contains__
    return context


def test_only_the_networks_that_were_fitted_are_calibrated(calibration, tmp_path):
    tasks = ("slice-classifier", "fracture-detector")
    assert calibration_of(context_with(tmp_path, slice_classifier="a" * 64), tasks) is None
    write_calibration(calibration, tmp_path / calibration_file("two-stage"))
    assert calibration_of(context_with(tmp_path, slice_classifier="a" * 64), tasks) == calibration
    assert calibration_of(context_with(tmp_path, slice_classifier="c" * 64), tasks) is None
    both = context_with(tmp_path, slice_classifier="a" * 64, fracture_detector="b" * 64)
    assert calibration_of(both, tasks) is None


def test_the_calibration_that_comes_with_the_program_is_for_the_networks_that_do():
    found = read_calibration(resource_path(f"Models/{calibration_file('two-stage')}"))
    store = WeightsStore(resource_path("Models"))
    assert found.models == {task: store.find(task, "two-stage").sha256 for task in found.models}
    assert len(found.fitted_on["studies"]) >= 24
    assert not any(name.startswith("phantom_20000") for name in found.fitted_on["studies"])
    assert found.figures["level"]["ece_after_cross_fitted"] < 0.5 * found.figures["level"]["ece_before"]
