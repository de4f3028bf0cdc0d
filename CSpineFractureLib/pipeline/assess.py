"""Whether a vertebra can be judged at all."""

from __future__ import annotations

from typing import Literal

import numpy as np

from CSpineFractureLib.volume.canonical import CanonicalView

THICKEST_MM, COARSEST_MM = 2.0, 0.9
"""Fracture protocols use slices of 1 mm or less and pixels of 0.2-0.5 mm (RSNA-2022); beyond this gaps average out."""

STRONG_LEAN_DEG = 30.0
"""Axial slices then cut two levels at once; on synthetic CT centres are off by 5 mm and more."""


def fracture_assessable(
    spacing_mm: tuple[float, float, float], thickness_mm: float | None = None
) -> Literal[True] | str:
    """``True``, or why no fracture can be judged at this voxel size (mm along i, j, k) and slice thickness.

    Slices that overlap lie nearer to each other than they are thick, and show no more than slices apart.
    """
    if thickness_mm is not None and thickness_mm > max(THICKEST_MM, spacing_mm[2]) + 1e-3:
        return f"slices {thickness_mm:.1f} mm thick are too coarse to show a fracture (limit {THICKEST_MM:.1f} mm)"
    if spacing_mm[2] > THICKEST_MM + 1e-3:
        return f"slices every {spacing_mm[2]:.1f} mm are too coarse to show a fracture (limit {THICKEST_MM:.1f} mm)"
    if max(spacing_mm[:2]) > COARSEST_MM + 1e-3:
        return f"pixels of {max(spacing_mm[:2]):.2f} mm are too coarse to show a fracture (limit {COARSEST_MM:.2f} mm)"
    return True


def column_lean(centres_ras: list[list[float]]) -> float:
    """Angle in degrees between the line through the first and last body (RAS mm) and the body axis S; 0 for one."""
    if len(centres_ras) < 2:
        return 0.0
    r, a, s = np.abs(np.asarray(centres_ras[0]) - np.asarray(centres_ras[-1]))
    return float(np.degrees(np.arctan2(np.hypot(r, a), s)))


def body_cut(view: CanonicalView, place: tuple[slice, slice, slice]) -> bool:
    """Whether a mask with bounds ``place`` (k, j, i) reaches a face of the volume or the scanner's padding.

    Where slices are too thick to judge, one slice before the first or last it does, too: bone fills that one in part
    and is cut at half maximum.
    """
    spare = (1 if view.spacing_mm[2] > THICKEST_MM else 0, 0, 0)
    for p, n, near in zip(place, view.hu.shape, spare, strict=True):
        if p.start <= near or p.stop >= n - near:
            return True
    grown = tuple(slice(max(0, p.start - 1), p.stop + 1) for p in place)
    return bool((view.hu[grown] <= -1020).mean() > 0.25)
