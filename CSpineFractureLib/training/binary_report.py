"""Figures of a yes/no classifier, by scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn import metrics

from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.calibration import expected_calibration_error
from CSpineFractureLib.training.rank_auc import rank_auc

NAMES = ("precision", "recall", "f1", "accuracy", "kappa", "specificity", "auc", "ece")


def binary_figures(truth: np.ndarray, probability: np.ndarray, threshold: float = 0.5) -> Figures:
    """precision, recall, f1, accuracy, kappa (Cohen's), specificity, auc and ece; ``None`` where not defined.

    ``truth`` 0/1 and ``probability`` of the positive class, both ``[n]``. A sample counts as positive from
    ``threshold``. Definitions: document 000, section III.D, which is scikit-learn's; but without positives there is no
    precision and no f1, where scikit-learn gives 0.
    """
    truth, called = np.asarray(truth, int), (np.asarray(probability, float) >= threshold).astype(int)
    if not len(truth):
        return dict.fromkeys(NAMES)
    both = 0 < truth.sum() < len(truth)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, called, pos_label=1, average="binary", zero_division=np.nan
    )
    return _defined(
        precision if truth.any() else None,
        recall,
        f1 if truth.any() else None,
        metrics.accuracy_score(truth, called),
        metrics.cohen_kappa_score(truth, called) if both else None,
        metrics.recall_score(truth, called, pos_label=0, zero_division=np.nan),
        metrics.roc_auc_score(truth, probability) if both else None,
        expected_calibration_error(truth, probability),
    )


def quick_binary_figures(truth: np.ndarray, probability: np.ndarray, threshold: float = 0.5) -> Figures:
    """The same in a fraction of the time, for the thousand samples of a bootstrap."""
    (tn, fp), (fn, tp) = confusion(truth, probability, threshold).astype(float)
    n, positive, negative = tn + fp + fn + tp, fn + tp, tn + fp
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = (positive * (tp + fp) + negative * (tn + fn)) / n**2
        both = positive > 0 and negative > 0
        return _defined(
            tp / (tp + fp) if positive else None,
            tp / positive,
            2 * tp / (2 * tp + fp + fn) if positive else None,
            (tp + tn) / n,
            ((tp + tn) / n - chance) / (1 - chance) if both else None,
            tn / negative,
            rank_auc(truth, probability),
            expected_calibration_error(truth, probability),
        )


def _defined(*values: float | None) -> Figures:
    defined = (None if value is None or not np.isfinite(value) else float(value) for value in values)
    return dict(zip(NAMES, defined, strict=True))


def confusion(truth: np.ndarray, probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Counts ``[2, 2]``: rows true (no, yes), columns called (no, yes)."""
    called = np.asarray(probability, float) >= threshold
    return np.bincount(2 * np.asarray(truth, int) + called, minlength=4).reshape(2, 2)


def roc_points(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates along the ROC curve; both classes must be there."""
    false_rate, true_rate, _ = metrics.roc_curve(np.asarray(truth, int), probability)
    return false_rate, true_rate
