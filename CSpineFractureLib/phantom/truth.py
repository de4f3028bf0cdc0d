"""The truth of a fracture: where it lies in the patient and in the slices."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from CSpineFractureLib.phantom.fractures import Fracture
from CSpineFractureLib.phantom.morphometry import LEVELS

LABELS = {level: n + 1 for n, level in enumerate(LEVELS)}
MARGIN_MM = 3.0


@dataclass
class FractureTruth:
    """Where a fracture lies.

    ``gap_mm`` is the gap's width; ``box_ras`` the low and high corner (RAS mm) of the gap inside the bone, widened by
    3 mm; ``slice_boxes`` the same per slice: ``[k, x, y, width, height]`` with pixel edges (pixel ``i`` covers
    ``[i, i + 1)``), clipped to the image.
    """

    level: str
    type: str
    gap_mm: float
    hairline: bool
    box_ras: list[list[float]]
    slice_boxes: list[list[int]] = field(default_factory=list)


def truth_of(f: Fracture, mask: np.ndarray, ijk_to_ras: np.ndarray) -> FractureTruth | None:
    """Boxes of the gap inside the bone; ``None`` when the field of view cuts it off.

    ``mask`` is uint8 ``[k, j, i]`` and holds the label of the level (1-7) in the gap; ``ijk_to_ras`` 4x4 to RAS mm.
    """
    k, j, i = np.nonzero(mask == LABELS[f.level])
    if len(k) == 0:
        return None
    ends = np.array([[i.min(), j.min(), k.min(), 1], [i.max(), j.max(), k.max(), 1]]) @ ijk_to_ras.T
    low, high = ends[:, :3].min(axis=0) - MARGIN_MM, ends[:, :3].max(axis=0) + MARGIN_MM
    corners = [low.round(3).tolist(), high.round(3).tolist()]
    spacing = np.linalg.norm(ijk_to_ras[:3, :2], axis=0)
    boxes = _slice_boxes(k, j, i, mask.shape, spacing)
    return FractureTruth(f.level, f.type, round(f.gap_mm, 3), f.hairline, corners, boxes)


def _slice_boxes(k: np.ndarray, j: np.ndarray, i: np.ndarray, shape: tuple, spacing: np.ndarray) -> list[list[int]]:
    """``[k, x, y, width, height]`` per slice that holds voxels, widened by the margin and clipped to the image."""
    wide, tall = (round(MARGIN_MM / s) for s in spacing)
    boxes = []
    for at in np.unique(k):
        here = k == at
        x0, x1 = max(0, i[here].min() - wide), min(shape[2], i[here].max() + 1 + wide)
        y0, y1 = max(0, j[here].min() - tall), min(shape[1], j[here].max() + 1 + tall)
        boxes.append([int(at), int(x0), int(y0), int(x1 - x0), int(y1 - y0)])
    return boxes
