"""Does a probability of 0.8 mean four fractures in five? Expected calibration error, and temperature scaling."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

BINS = 15
_EDGE = 1e-7
_LOG_RANGE = (-4.0, 4.0)


def expected_calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int = BINS) -> float | None:
    """Mean gap between probability and frequency of positives over ``bins`` equal bins, weighted by their counts.

    ``truth`` 0/1 and ``probability`` 0..1, both ``[n]``. This is the l1 norm of Guo et al. (2017, "On calibration of
    modern neural networks"), for the probability of the positive class. ``None`` without samples.
    """
    truth, probability = np.asarray(truth, float), np.asarray(probability, float)
    if not len(truth):
        return None
    place = np.clip((probability * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(place, weights=truth - probability, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def fit_temperature(values: np.ndarray, truth: np.ndarray, logits: bool = False) -> float:
    """The temperature that minimises the log loss of ``truth`` (Guo et al. 2017); above 1 it softens.

    ``values`` ``[n]`` are probabilities 0..1, or logits where ``logits`` is set; use validation data, not test data.
    Between ``exp(-4)`` and ``exp(4)``; 1 where ``truth`` is of one class only, for nothing can be learnt then.
    """
    truth = np.asarray(truth, bool)
    if truth.all() or not truth.any():
        return 1.0
    scores = np.asarray(values, float) if logits else logit(_inside(values))
    signed = np.where(truth, scores, -scores)
    found = minimize_scalar(
        lambda log_t: float(np.logaddexp(0.0, -signed / np.exp(log_t)).mean()), bounds=_LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def apply_temperature(probability: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities after division of their logits by ``temperature``."""
    return expit(logit(_inside(probability)) / temperature)


def _inside(probability: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(probability, float), _EDGE, 1 - _EDGE)
