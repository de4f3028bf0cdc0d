"""Figures of the yes/no classifier and of level presence, by hand and against scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.training.binary_report import binary_figures, confusion, quick_binary_figures, roc_points
from CSpineFractureLib.training.level_report import level_classes, level_figures, quick_level_figures


@pytest.fixture
def answers():
    """8 right positives, 2 missed, 1 false alarm, 9 right negatives."""
    truth = np.array([1] * 10 + [0] * 10)
    probability = np.array([0.9] * 8 + [0.2] * 2 + [0.8] + [0.1] * 9)
    return truth, probability


def test_figures_of_a_small_confusion_matrix(answers):
    figures = binary_figures(*answers)
    assert confusion(*answers).tolist() == [[9, 1], [2, 8]]
    assert figures["precision"] == pytest.approx(8 / 9)
    assert figures["recall"] == pytest.approx(0.8)
    assert figures["f1"] == pytest.approx(16 / 19)
    assert figures["accuracy"] == pytest.approx(0.85)
    assert figures["kappa"] == pytest.approx(0.7)
    assert figures["specificity"] == pytest.approx(0.9)
    # of 100 pairs the eight 0.9 win 80; each 0.2 wins against nine 0.1 and loses to 0.8
    assert figures["auc"] == pytest.approx((80 + 18) / 100)
    # bins: 0.1 holds 0/9 (gap 0.9), 0.2 holds 2/2 (1.6), 0.8 holds 0/1 (0.8), 0.9 holds 8/8 (0.8); of 20
    assert figures["ece"] == pytest.approx((0.9 + 1.6 + 0.8 + 0.8) / 20)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_quick_figures_of_the_bootstrap_are_those_of_scikit_learn(rate):
    rng = np.random.default_rng(4)
    truth = (rng.random(300) < rate).astype(int)
    probability = np.clip(0.4 * truth + rng.random(300) * 0.6, 0, 1).round(2)
    assert quick_binary_figures(truth, probability, 0.45) == pytest.approx(binary_figures(truth, probability, 0.45))


def test_figures_that_are_not_defined_are_none():
    only_sound = binary_figures(np.zeros(4, int), np.array([0.1, 0.2, 0.9, 0.3]))
    assert only_sound["specificity"] == 0.75
    assert {name for name, value in only_sound.items() if value is None} == {
        *("precision", "recall", "f1", "kappa", "auc")
    }
    assert set(binary_figures(np.zeros(0), np.zeros(0)).values()) == {None}


def test_the_roc_curve_runs_from_nothing_to_everything(answers):
    false_rate, true_rate = roc_points(*answers)
    assert (false_rate[0], true_rate[0]) == (0, 0)
    assert (false_rate[-1], true_rate[-1]) == (1, 1)
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(binary_figures(*answers)["auc"])


def test_calibration_error_is_that_of_torchmetrics():
    torch = pytest.importorskip("torch")
    metric = pytest.importorskip("torchmetrics.functional.classification").binary_calibration_error
    rng = np.random.default_rng(0)
    probability = rng.random(500)
    truth = (rng.random(500) < probability**2).astype(int)
    theirs = metric(torch.from_numpy(probability), torch.from_numpy(truth), n_bins=15, norm="l1").item()
    assert binary_figures(truth, probability)["ece"] == pytest.approx(theirs, abs=1e-6)


@pytest.fixture
def levels():
    """Three slices: C1 alone; C1 and C2; C3, called C3 and C4."""
    truth, probability = np.zeros((3, 7), int), np.full((3, 7), 0.1)
    truth[0, 0] = truth[1, :2] = truth[2, 2] = 1
    probability[0, 0] = probability[2, 2] = 0.9
    probability[1, :2] = [0.8, 0.7]
    probability[2, 3] = 0.95
    return truth, probability


def test_level_figures_of_three_slices(levels):
    figures = level_figures(*levels)
    # C1, C2 and C3 are perfect; C4 is called but never there (0); C5 to C7 are neither there nor called
    assert figures["macro_f1"] == pytest.approx(3 / 4)
    assert figures["exact_match"] == pytest.approx(2 / 3)
    assert figures["coverage_error"] == pytest.approx((1 + 2 + 2) / 3)


def test_the_quick_level_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    truth = (rng.random((200, 7)) < 0.2).astype(int)
    probability = np.clip(0.5 * truth + rng.random((200, 7)) * 0.6, 0, 1)
    assert quick_level_figures(truth, probability) == pytest.approx(level_figures(truth, probability))
    truth[:, 3], probability[:, 3] = 0, 0.0
    assert quick_level_figures(truth, probability) == pytest.approx(level_figures(truth, probability))


def test_the_class_report_has_each_level_and_the_averages(levels):
    report = level_classes(*levels)
    assert report["C1"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2.0}
    assert report["C4"]["precision"] == 0.0
    assert report["C7"]["f1"] is None
    assert report["micro avg"]["precision"] == pytest.approx(4 / 5)
    assert report["weighted avg"]["support"] == 4
    assert set(report) == {*(f"C{n}" for n in range(1, 8)), "micro avg", "macro avg", "weighted avg"}
