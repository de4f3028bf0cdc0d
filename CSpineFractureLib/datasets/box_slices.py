"""What a 3D box covers in each slice of a grid."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from CSpineFractureLib.datasets.record import SliceBox
from CSpineFractureLib.findings.study_result import Box

_TOUCH = 1e-6


def slice_boxes(box: Box, ijk_to_ras: np.ndarray, shape_kji: tuple[int, int, int]) -> list[SliceBox]:
    """The extents of an oriented box (RAS mm) in each slice whose middle plane it meets, clipped to the image.

    The part of the box within the slice's thickness counts. A box between two middle planes lies in the nearer slice.
    Pixel edges, see ``record``; ``level`` is left ``None``. Empty where the box lies outside the grid.
    """
    inverse = np.linalg.inv(ijk_to_ras)
    corners = box.corners_ras() @ inverse[:3, :3].T + inverse[:3, 3]
    slices, rows, columns = shape_kji
    low, high = corners[:, 2].min(), corners[:, 2].max()
    first, last = int(np.ceil(low - _TOUCH)), int(np.floor(high + _TOUCH))
    if first > last:
        first = last = round((low + high) / 2)
    found = []
    for k in range(max(first, 0), min(last, slices - 1) + 1):
        part = _within(corners, k - 0.5, k + 0.5)[:, :2] + 0.5
        x0, y0 = (float(v) for v in np.clip(part.min(axis=0), 0, (columns, rows)).round(4))
        x1, y1 = (float(v) for v in np.clip(part.max(axis=0), 0, (columns, rows)).round(4))
        if x1 > x0 and y1 > y0:
            found.append(SliceBox(k, x0, y0, round(x1 - x0, 4), round(y1 - y0, 4)))
    return found


def _within(corners: np.ndarray, low: float, high: float) -> np.ndarray:
    """Points ``(n, 3)`` whose hull is the box with the given eight corners, cut off below and above in k."""
    inside = (corners[:, 2] >= low - _TOUCH) & (corners[:, 2] <= high + _TOUCH)
    points = [corners[inside]]
    for one, other in combinations(corners, 2):
        rise = other[2] - one[2]
        if abs(rise) > _TOUCH:
            shares = (np.array([low, high]) - one[2]) / rise
            points.append(one + shares[(shares >= 0) & (shares <= 1), None] * (other - one))
    return np.concatenate(points)
