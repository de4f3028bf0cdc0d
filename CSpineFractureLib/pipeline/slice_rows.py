"""The ``slices`` rows of a result, and which stored slices a part of the volume covers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from CSpineFractureLib.findings.study_result import LEVELS, SliceFinding
from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.volume.canonical import CanonicalView

LEAST_SCORE = 0.05


def slice_rows(
    view: CanonicalView, fractures: Mapping[int, float], levels: Mapping[int, Mapping[str, float]]
) -> list[SliceFinding]:
    """One row per stored slice, where the volume stores its slices along the body axis (else none).

    ``fractures``: probability by canonical slice; slices that are not there have none. ``levels``: the scores of the
    levels by canonical slice.
    """
    if view.stored_slice_axis() != 0:
        return []
    canonical = (view.stored_slice(stored) for stored in range(len(view.hu)))  # a flip is its own inverse
    return [SliceFinding(stored, fractures.get(k), dict(levels.get(k, {}))) for stored, k in enumerate(canonical)]


def level_scores(slices: list[list[SliceBox]]) -> dict[int, dict[str, float]]:
    """The best box score of each level by canonical slice, from 0.05 on."""
    rows: dict[int, dict[str, float]] = {}
    for box in (box for boxes in slices for box in boxes):
        row = rows.setdefault(box.k, {})
        for level, score in zip(LEVELS, box.scores, strict=False):
            if score >= LEAST_SCORE:
                row[level] = max(row.get(level, 0.0), float(score))
    return rows


def stored_range(view: CanonicalView, place: tuple[slice, slice, slice]) -> list[int]:
    """First and last stored slice, both inclusive, of a block ``[k, j, i]`` of the canonical view."""
    part = place[view.stored_slice_axis()]
    return sorted(view.stored_slice(int(index)) for index in (part.start, part.stop - 1))


def block_of(view: CanonicalView, low_ras: np.ndarray, high_ras: np.ndarray) -> tuple[slice, slice, slice]:
    """The voxels ``[k, j, i]`` of the canonical view whose centres an RAS hull (mm) holds, at least one along each."""
    corners = np.array([[(low_ras, high_ras)[(n >> axis) & 1][axis] for axis in range(3)] for n in range(8)])
    ijk = view.ijk_of(corners)
    first, last = np.ceil(ijk.min(axis=0) - 1e-6).astype(int), np.floor(ijk.max(axis=0) + 1e-6).astype(int)
    size = np.array(view.hu.shape[::-1])
    first = np.clip(first, 0, size - 1)
    last = np.maximum(first, np.clip(last, 0, size - 1))
    return tuple(slice(int(first[2 - axis]), int(last[2 - axis]) + 1) for axis in range(3))


def ras_hull(view: CanonicalView, place: tuple[slice, slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Axis-aligned RAS hull (mm, voxel edges) of a block ``[k, j, i]`` of the canonical view."""
    ends = [(p.start - 0.5, p.stop - 0.5) for p in place[::-1]]
    corners = np.array([[ends[axis][(n >> axis) & 1] for axis in range(3)] for n in range(8)])
    ras = view.ras_of(corners)
    return ras.min(axis=0), ras.max(axis=0)
