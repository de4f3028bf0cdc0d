"""Where the discs lie: dark gaps between bright bodies along the front of the column."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.volume.canonical import CanonicalView

RADIUS_MM, BEHIND_FRONT_MM = 5.0, 7.0


def disc_evidence(view: CanonicalView, slices: list[list[SliceBox]], rows_k: np.ndarray, step_mm: float) -> np.ndarray:
    """For each slice (as ordered in ``slices``) how disc-like the front of the column is, about -1.5..1.5.

    The mean HU of a 5 mm circle, 7 mm behind the front edge of the boxes, is compared with its surroundings 20 mm up
    and down and divided by their spread; positive means darker than the neighbours. 0 where no box is near.
    """
    n = len(slices)
    line = _front_line(slices, step_mm)
    if line is None:
        return np.zeros(n)
    values = np.array([_mean_hu(view, int(k), r, a) for k, (r, a) in zip(rows_k, line, strict=True)])
    sigma = 9.0 / step_mm
    local = ndimage.gaussian_filter1d(values, sigma, mode="nearest")
    spread = np.sqrt(ndimage.gaussian_filter1d((values - local) ** 2, sigma, mode="nearest")) + 20.0
    return np.clip((local - ndimage.gaussian_filter1d(values, 0.8 / step_mm, mode="nearest")) / spread, -1.5, 1.5)


def _front_line(slices: list[list[SliceBox]], step_mm: float) -> np.ndarray | None:
    """``[n, (r, a)]`` mm: middle (R) and a smoothed front edge (A) of the column, interpolated over gaps."""
    rows, points = [], []
    for row, boxes in enumerate(slices):
        strong = [b for b in boxes if b.strength >= 0.5 * max(x.strength for x in boxes)]
        if strong:
            rows.append(row)
            points.append([np.mean([b.middle[0] for b in strong]), max(b.high[1] for b in strong)])
    if len(rows) < 4:
        return None
    points = np.array(points)
    window = max(3, round(14.0 / step_mm) | 1)
    points[:, 0] = ndimage.median_filter(points[:, 0], window, mode="nearest")
    points[:, 1] = ndimage.percentile_filter(points[:, 1], 70, window, mode="nearest")
    points = ndimage.gaussian_filter1d(points, 4.0 / step_mm, axis=0, mode="nearest")
    return np.stack([np.interp(np.arange(len(slices)), rows, points[:, axis]) for axis in (0, 1)], axis=1)


def _mean_hu(view: CanonicalView, k: int, r: float, a: float) -> float:
    s = view.ras_of(np.array([view.hu.shape[2] / 2, view.hu.shape[1] / 2, k]))[2]
    i, j, _ = view.ijk_of(np.array([r, a - BEHIND_FRONT_MM, s]))
    half = [max(1, round(RADIUS_MM / spacing)) for spacing in view.spacing_mm[:2]]
    block = view.hu[
        k,
        max(0, round(j) - half[1]) : max(0, round(j) + half[1] + 1),
        max(0, round(i) - half[0]) : max(0, round(i) + half[0] + 1),
    ]
    return float(np.clip(block, -100, 900).mean()) if block.size else 0.0
