"""Figures of a segmentation of C1-C7: Dice, IoU, accuracy and surface distances, by study in 3D.

A study is a 9x9 matrix of voxel counts, rows true and columns found (0 background, 1-7 C1-C7, 8 thoracic), and two
distances per level. Dice is ``2 |A and B| / (|A| + |B|)``; formula 4 of document 002 lacks those brackets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.models.unet import CLASSES
from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.surface_distance import surface_distances

_LEVELS = slice(1, 8)


@dataclass(frozen=True)
class StudyScores:
    """Of ``n`` studies: counts ``[n, 9, 9]``, mean surface distance and HD95 in mm ``[n, 7]`` (NaN: not defined)."""

    confusion: np.ndarray
    surface: np.ndarray
    hd95: np.ndarray

    def of(self, studies: np.ndarray) -> StudyScores:
        """Those of some studies, which may be repeated."""
        return StudyScores(self.confusion[studies], self.surface[studies], self.hd95[studies])


def confusion_of(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How many voxels of each true class (row) were found as each class (column), int64 ``[9, 9]``."""
    count = len(CLASSES)
    pairs = count * truth.astype(np.intp).ravel() + found.ravel()
    return np.bincount(pairs, minlength=count**2).reshape(count, count)


def level_distances(
    truth: np.ndarray, found: np.ndarray, spacing_kji: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean surface distance and HD95 of C1-C7 ``[7]`` in mm, of maps ``[k, j, i]`` without missing slices."""
    values = [surface_distances(truth == n, found == n, spacing_kji) for n in range(1, 8)]
    return np.array([one[0] for one in values]), np.array([one[1] for one in values])


def overlaps(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice and IoU of each class, ``[..., 9]``; NaN where the class is not there, 0 where it was only missed."""
    both = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    true, found = confusion.sum(axis=-1), confusion.sum(axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        dice, iou = 2 * both / (true + found), both / (true + found - both)
    return np.where(true > 0, dice, np.nan), np.where(true > 0, iou, np.nan)


def segmentation_figures(scores: StudyScores) -> Figures:
    """dice, dice_C1 .. dice_C7, iou, accuracy, dice_set, missed, surface_mm and hd95_mm.

    ``dice_Cn`` is the mean over the studies that show the level, each in 3D; ``dice`` and ``iou`` are the means of the
    seven levels. ``accuracy`` is the share of all voxels named rightly, most of which are background. ``dice_set``
    counts the voxels of all studies together, and so also punishes a level found where there is none. ``missed`` is the
    share of levels of which no voxel was found; the distances are means over the others.
    """
    dice, iou = overlaps(scores.confusion)
    by_level, whole = _means(dice[:, _LEVELS]), scores.confusion.sum(axis=0)
    set_dice = 2 * np.diagonal(whole) / np.maximum(whole.sum(axis=0) + whole.sum(axis=1), 1)
    true = scores.confusion.sum(axis=2)[:, _LEVELS] > 0
    there = true.any(axis=0)
    found = np.diagonal(scores.confusion, axis1=1, axis2=2)[:, _LEVELS] > 0
    figures = {
        "dice": _mean(by_level),
        **{f"dice_{level}": value for level, value in zip(LEVELS, by_level, strict=True)},
        "iou": _mean(_means(iou[:, _LEVELS])),
        "accuracy": np.trace(whole) / max(whole.sum(), 1),
        "dice_set": _mean(set_dice[_LEVELS][there]),
        "missed": _mean((~found)[true].astype(float)),
        "surface_mm": _mean(scores.surface),
        "hd95_mm": _mean(scores.hd95),
    }
    return {name: None if np.isnan(value) else float(value) for name, value in figures.items()}


def class_rows(scores: StudyScores) -> dict[str, dict[str, float | None]]:
    """dice, iou, accuracy (the class against all others, of all voxels), surface_mm, hd95_mm and studies by class."""
    dice, iou = (_means(one) for one in overlaps(scores.confusion))
    whole = scores.confusion.sum(axis=0)
    both, total = np.diagonal(whole), max(whole.sum(), 1)
    wrong = whole.sum(axis=0) + whole.sum(axis=1) - 2 * both
    rows: dict[str, dict[str, float | None]] = {}
    for n, name in enumerate(CLASSES):
        rows[name] = {"dice": dice[n], "iou": iou[n], "accuracy": 1 - wrong[n] / total}
        if name in LEVELS:
            rows[name] |= {"surface_mm": _mean(scores.surface[:, n - 1]), "hd95_mm": _mean(scores.hd95[:, n - 1])}
        rows[name]["studies"] = int((scores.confusion[:, n].sum(axis=1) > 0).sum())
    return rows


def _means(values: np.ndarray) -> np.ndarray:
    """Means over the studies ``[n, m]`` that define a value."""
    return np.array([_mean(column) for column in values.T])


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
