"""Boxes from vertebra masks, as in document 000, section III-B: the tight extents of each label in each slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.datasets.labelled_image import ClassBox
from CSpineFractureLib.datasets.record import LEVELS


def vertebra_boxes(mask: np.ndarray, least_pixels: int = 1) -> list[ClassBox]:
    """One box per level C1-C7 of a mask ``[j, i]`` (1-7); levels of fewer than ``least_pixels`` pixels have none."""
    pixels = np.bincount(mask.ravel(), minlength=len(LEVELS) + 1)
    found = ndimage.find_objects(mask, max_label=len(LEVELS))
    return [
        ClassBox(LEVELS[n], columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for n, (rows, columns) in ((n, place) for n, place in enumerate(found) if place is not None)
        if pixels[n + 1] >= least_pixels
    ]


def slices_with_vertebrae(levels: np.ndarray) -> np.ndarray:
    """Which slices of a mask ``[k, j, i]`` show any of C1-C7; bool ``[k]``."""
    return ((levels >= 1) & (levels <= len(LEVELS))).any(axis=(1, 2))
