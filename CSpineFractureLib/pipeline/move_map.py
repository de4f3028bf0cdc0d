"""The sagittal network's map, moved up and down so that its names change where the levels' borders are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.borders import BodyLine
from CSpineFractureLib.pipeline.column_search import ColumnMap
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import to_coarse

AROUND = (0, 2, 1)
"""Voxels of the map (k, j, i) around the line that are asked for its names."""


def move_map(
    column: ColumnMap, view: CanonicalView, line: BodyLine, levels: np.ndarray, borders_ras: np.ndarray
) -> ColumnMap:
    """The map with its slices shifted: by how much follows from the borders, and from there linearly between them.

    Parameters
    ----------
    line
        Through the bodies (see ``borders.body_line``).
    levels, borders_ras
        ``[n]`` from top to bottom, and their borders ``[n + 1, 3]`` on the line (RAS mm). The first and the last one
        part a level from what is not named, and move with their neighbours; so does that between C1 and C2, for the
        line runs through the dens. C1 itself stays: nothing resembles it.
    """
    index = _index(column, view, line.points)
    wanted = _index(column, view, borders_ras)[:, 0]
    places = [(wanted[n], _border(column, index, upper)) for n, upper in enumerate(levels[:-1], start=1) if upper > 0]
    if not places:
        return column
    if levels[0] == 0:
        places.insert(0, (np.mean(wanted[:2]), np.mean(wanted[:2])))
    new, old = np.array(places)[::-1].T
    k = np.arange(column.classes.shape[1], dtype=float)
    source = k + np.interp(k, new, old - new)
    low = np.clip(np.floor(source).astype(int), 0, len(k) - 1)
    high, share = np.minimum(low + 1, len(k) - 1), np.clip(source - low, 0, 1).astype(np.float32)[None, :, None, None]
    classes = column.classes[:, low] * (1 - share) + column.classes[:, high] * share
    return replace(column, classes=np.rint(classes).astype(np.uint8))


def _index(column: ColumnMap, view: CanonicalView, ras: np.ndarray) -> np.ndarray:
    """Broken indices k, j, i of the map at points (RAS mm)."""
    return to_coarse(view.ijk_of(np.asarray(ras))[..., ::-1], view.spacing_mm) - column.corner


def _border(column: ColumnMap, index: np.ndarray, upper: int) -> float:
    """Index k on the line where the map's names change best from ``upper`` (0-6) and above to those below."""
    named = column.classes[1:].astype(np.float32)
    above, below = named[: upper + 1].sum(axis=0), named[upper + 1 :].sum(axis=0)
    size = [2 * n + 1 for n in AROUND]
    more = ndimage.map_coordinates(ndimage.uniform_filter(above - below, size), index.T, order=1, mode="nearest")
    best = int(np.argmax(np.concatenate([[0], np.cumsum(more)])))
    return float(index[min(best, len(index) - 1), 0])
