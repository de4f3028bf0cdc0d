"""The area under the ROC curve from ranks, quick enough for thousands of bootstrap samples."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def rank_auc(truth: np.ndarray, probability: np.ndarray) -> float | None:
    """The share of pairs (positive, negative) of which the positive has the higher probability, ties counted half.

    ``truth`` 0/1 and ``probability``, both ``[n]``; ``None`` where a class is missing. This is the Mann-Whitney
    statistic over the number of pairs (Hanley and McNeil 1982), the same as ``sklearn.metrics.roc_auc_score``.
    """
    truth = np.asarray(truth, bool)
    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return None
    ranks = rankdata(probability)[truth].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))
