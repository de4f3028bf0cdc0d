"""Whether a data set gives its fractures away: can intensities and plain texture of whole slices tell them?

A synthetic data set is worth nothing as a test when fractured and sound studies differ in noise, brightness or field
of view. Logistic regression on statistics of whole slices, which cannot see a fracture gap, must stay near chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError

BINS_HU = np.array(
    [
        -1100,
        -900,
        -500,
        -150,
        -100,
        -60,
        -20,
        0,
        20,
        40,
        60,
        80,
        120,
        180,
        250,
        350,
        450,
        600,
        800,
        1000,
        1300,
        1700,
        4000,
    ]
)
SCALES_PX = (1.0, 2.0, 4.0)
FOLDS = 5


@dataclass(frozen=True)
class Giveaway:
    """Areas under the ROC curve by logistic regression, over folds by study: for slices and for whole studies."""

    slices_auc: float
    studies_auc: float
    slices: int
    fractured_slices: int
    studies: int
    fractured_studies: int


def slice_statistics(hu: np.ndarray) -> np.ndarray:
    """Histogram of HU, and mean and spread of edges and texture at three scales, of one slice ``[j, i]``."""
    x = np.clip(hu, -1100, 3000).astype(np.float32)
    found = [np.histogram(x, BINS_HU)[0] / x.size, [x.mean(), x.std()]]
    edges = np.hypot(*np.gradient(x))
    found.append([edges.mean(), edges.std(), *np.percentile(edges, (50, 90, 99))])
    for scale in SCALES_PX:
        rough = x - ndimage.gaussian_filter(x, scale)
        found.append([np.abs(rough).mean(), rough.std(), *np.percentile(rough, (1, 10, 90, 99))])
    return np.concatenate(found)


def giveaway(
    records: list[StudyRecord], step: int = 2, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Giveaway:
    """Measure on every ``step``-th slice of all records whose slices are labelled.

    Raises UserError when fewer than ten studies, or no fractured or no sound ones, are there.
    """
    usable = [r for r in records if r.slices_are_labelled]
    fractured = [r for r in usable if not r.negative]
    if len(usable) < 2 * FOLDS or not FOLDS <= len(fractured) <= len(usable) - FOLDS:
        message = (
            f"{len(usable)} usable studies, {len(fractured)} fractured: too few for {FOLDS} folds; give more studies."
        )
        raise UserError(message)
    rows, shown, groups, study_rows, study_shown = [], [], [], [], []
    for n, record in enumerate(usable):
        hu = record.load_volume().hu
        boxed = {box.k for box in record.boxes or ()}
        own = np.array([slice_statistics(hu[k]) for k in range(0, len(hu), step)])
        rows.append(own)
        shown += [k in boxed for k in range(0, len(hu), step)]
        groups += [n] * len(own)
        study_rows.append(np.concatenate([own.mean(axis=0), own.std(axis=0)]))
        study_shown.append(not record.negative)
        on_progress(n + 1, len(usable))
    slices_auc = _auc(np.concatenate(rows), np.array(shown), np.array(groups))
    studies_auc = _auc(np.array(study_rows), np.array(study_shown), np.arange(len(usable)))
    return Giveaway(slices_auc, studies_auc, len(shown), int(sum(shown)), len(usable), len(fractured))


def _auc(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """Out-of-fold AUC, folds by group."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1, class_weight="balanced"))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(model, x, y, groups=groups, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, scores))
