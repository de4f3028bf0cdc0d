"""Fitting the map from scores to probabilities (``pipeline.calibrated``), and how well it does on studies left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.calibrated import SLOPES, ScoreMap
from CSpineFractureLib.training.calibration import expected_calibration_error
from CSpineFractureLib.training.study_report import StudyCase

FOLDS = 5
FEWEST_STUDIES = 10


@dataclass(frozen=True)
class Scores:
    """Scores 0..1, whether each is of a fracture (0/1), and of which study; all ``[n]``."""

    score: np.ndarray
    truth: np.ndarray
    study: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[float, bool, str]]) -> Scores:
        scores, truth, studies = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(np.array(scores, float), np.array(truth, float), np.array(studies, dtype=object))

    def where(self, chosen: np.ndarray) -> Scores:
        return Scores(self.score[chosen], self.truth[chosen], self.study[chosen])


def level_scores(cases: Sequence[StudyCase]) -> Scores:
    """The judged levels of studies that were run with the map switched off."""
    return Scores.of(
        [(p, case.fractured[level], case.study) for case in cases for level, p in case.probabilities.items()]
    )


def study_scores(cases: Sequence[StudyCase]) -> Scores:
    """The most suspicious level of each study in which a level was judged."""
    return Scores.of([(max(c.probabilities.values()), c.any_fractured, c.study) for c in cases if c.probabilities])


def fit_map(scores: Scores, threshold: float) -> ScoreMap:
    """The slopes that minimise the log loss, within ``SLOPES``.

    The targets are Platt's (1999, section 2.2): a little less than 1 and more than 0, so that separable scores do not
    end in infinite slopes. Where one side of the threshold has no scores its slope is 1.
    """
    positive = scores.truth.sum()
    negative = len(scores.truth) - positive
    target = np.where(scores.truth == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    ways = ScoreMap(threshold, 1.0, 1.0).ways(scores.score)
    slopes = []
    for side in (ways < 0, ways >= 0):  # the two slopes share no score
        found = 1.0
        if side.any():
            found = minimize(_loss, 1.0, (ways[side], target[side]), jac=True, bounds=[SLOPES]).x[0]
        slopes.append(round(float(found), 4))
    return ScoreMap(threshold, *slopes)


def _loss(slope: np.ndarray, ways: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log loss of one slope, which is convex, and its derivative."""
    z = slope[0] * ways
    loss = np.logaddexp(0, z) - target * z
    return float(loss.mean()), np.array([((expit(z) - target) * ways).mean()])


def cross_fitted(scores: Scores, threshold: float, folds: int = FOLDS) -> np.ndarray:
    """``[n]`` probabilities, each by a map fitted without its study: every fifth in order of names is left out."""
    names = sorted(set(scores.study))
    fold = np.array([names.index(one) % folds for one in scores.study])
    result = np.empty(len(scores.score))
    for n in range(folds):
        held = fold == n
        if held.any():
            result[held] = fit_map(scores.where(~held), threshold).probability(scores.score[held])
    return result


def error_figures(scores: Scores, threshold: float) -> dict[str, float | int | None]:
    """Counts, the expected calibration error of the scores themselves and that of cross-fitted probabilities."""
    return {
        "fractured": int(scores.truth.sum()),
        "sound": int(len(scores.truth) - scores.truth.sum()),
        "ece_before": expected_calibration_error(scores.truth, scores.score),
        "ece_after_cross_fitted": expected_calibration_error(scores.truth, cross_fitted(scores, threshold)),
    }


def check_scores(cases: Sequence[StudyCase]) -> None:
    """Raise UserError where too little was judged to fit anything."""
    judged = study_scores(cases)
    if len(judged.truth) < FEWEST_STUDIES or judged.truth.all() or not judged.truth.any():
        message = (
            f"{len(judged.truth)} studies with judged levels, {int(judged.truth.sum())} of them fractured, are too few"
            f" to calibrate on: give at least {FEWEST_STUDIES}, some fractured and some sound."
        )
        raise UserError(message)
