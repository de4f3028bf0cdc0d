"""Figures of a multi-label classifier (which of C1-C7 does a slice show), by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn import metrics

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.training.bootstrap import Figures

AVERAGES = ("micro avg", "macro avg", "weighted avg")


def level_figures(truth: np.ndarray, probability: np.ndarray, threshold: float = 0.5) -> Figures:
    """macro_f1, exact_match and coverage_error of ``truth`` 0/1 and ``probability`` 0..1, both ``[n, 7]``.

    A class that is neither there nor called is left out of ``macro_f1``. ``exact_match`` is the share of slices whose
    labels are all right. ``coverage_error`` is ``sklearn.metrics.coverage_error``: how far down the ranking one must go
    to meet all true labels, on average; at best the mean number of labels per slice. Document 004 computes it with
    scikit-learn too, but its text calls it a share of slices and its formula counts additional labels.
    """
    truth, called = np.asarray(truth, int), np.asarray(probability) >= threshold
    if not len(truth):
        return {"macro_f1": None, "exact_match": None, "coverage_error": None}
    macro = metrics.f1_score(truth, called.astype(int), average="macro", zero_division=np.nan)
    return {
        "macro_f1": None if np.isnan(macro) else float(macro),
        "exact_match": float((truth == called).all(axis=1).mean()),
        "coverage_error": float(metrics.coverage_error(truth, probability)),
    }


def quick_level_figures(truth: np.ndarray, probability: np.ndarray, threshold: float = 0.5) -> Figures:
    """The same in a fraction of the time, for the thousand samples of a bootstrap."""
    truth, probability = np.asarray(truth, bool), np.asarray(probability, float)
    called = probability >= threshold
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = 2 * (truth & called).sum(axis=0) / (truth.sum(axis=0) + called.sum(axis=0))
    least = np.where(truth, probability, np.inf).min(axis=1, keepdims=True)
    return {
        "macro_f1": float(np.nanmean(f1)) if np.isfinite(f1).any() else None,
        "exact_match": float((truth == called).all(axis=1).mean()),
        "coverage_error": float((probability >= least).sum(axis=1).mean()),
    }


def level_classes(
    truth: np.ndarray, probability: np.ndarray, names: Sequence[str] = LEVELS, threshold: float = 0.5
) -> dict[str, dict[str, float | None]]:
    """precision, recall, f1 and support of each class and of the micro, macro and weighted average."""
    called = (np.asarray(probability) >= threshold).astype(int)
    report = metrics.classification_report(
        np.asarray(truth, int), called, target_names=list(names), output_dict=True, zero_division=np.nan
    )
    return {
        row: {
            key.replace("f1-score", "f1"): None if np.isnan(value) else float(value)
            for key, value in report[row].items()
        }
        for row in (*names, *AVERAGES)
    }
