"""The sagittal network's map, renamed where the levels have other names than it says, and moved up and down so that its
names change where the levels' borders are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.body_line import BodyLine
from CSpineFractureLib.pipeline.column_search import ColumnMap
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import GRID_MM, to_coarse

AROUND = (0, 2, 1)
"""Voxels of the map (k, j, i) around the line that are asked for its names."""
ASKED = (3, 5, 3)
"""Voxels of the map around the middle of a body that say its name."""
C7, THORACIC = 7, 8
LEAST_BONE = 128
"""Of 255: from which share a voxel is bone that has a name."""
MOST_MOVED_MM = 16.0
"""Nearly a whole level: what is named wrongly by more is renamed."""
BODY_DEPTH_MM, BODY_SIDE_MM, BELOW_MM = 11.0, 16.0, 2.0
"""What lies so near to the line is body and no arch; so far below its disc it is not C7's."""


def rename_map(column: ColumnMap, view: CanonicalView, levels: np.ndarray, middles: np.ndarray) -> ColumnMap:
    """The map with its names moved by whole levels where it names most bodies otherwise than ``levels``.

    The names of a map that shows the lower end of a neck alone are guesses; those of the chain rest on more.

    Parameters
    ----------
    levels, middles
        ``[n]`` (0-6) and ``[n, 3]`` (RAS mm) of the bodies.
    """
    named = ndimage.uniform_filter(column.classes[1:].astype(np.float32), (0, *ASKED))
    index = _index(column, view, middles).T
    said = np.array([ndimage.map_coordinates(one, index, order=1, mode="nearest") for one in named]).argmax(axis=0)
    shifts, counts = np.unique(said - levels, return_counts=True)
    shift = int(shifts[counts.argmax()])
    if shift == 0 or 2 * counts.max() <= len(levels):
        return column
    classes = np.zeros_like(column.classes)
    classes[0], classes[THORACIC] = column.classes[0], column.classes[min(THORACIC, THORACIC + shift) :].max(axis=0)
    for number in range(max(1, 1 - shift), THORACIC):
        classes[number] = column.classes[min(number + shift, THORACIC)]
    return replace(column, classes=classes)


def move_map(
    column: ColumnMap, view: CanonicalView, line: BodyLine, levels: np.ndarray, borders_ras: np.ndarray
) -> ColumnMap:
    """The map with its slices shifted: by how much follows from the borders, and from there linearly between them.

    Only bodies move; around them bone stays where it is, and its names move over it, for the network sees arches and
    processes well where it has bodies too high or too low.

    Parameters
    ----------
    line
        Through the bodies (see ``body_line``).
    levels, borders_ras
        ``[n]`` from top to bottom, and their borders ``[n + 1, 3]`` on the line (RAS mm). The first and the last one
        part a level from what is not named, and move with their neighbours; so does that between C1 and C2, for the
        line runs through the dens. C1 itself stays: nothing resembles it.
    """
    index = _index(column, view, line.points)
    wanted = _index(column, view, borders_ras)[:, 0]
    places = [
        (wanted[n], _border(column, index, upper, wanted[n]))
        for n, upper in enumerate(levels[:-1], start=1)
        if upper > 0
    ]
    if not places:
        return column
    if levels[0] == 0:
        places.insert(0, (np.mean(wanted[:2]), np.mean(wanted[:2])))
    new, old = np.array(places)[::-1].T
    k = np.arange(column.classes.shape[1], dtype=float)
    source = k + np.interp(k, new, old - new)
    low = np.clip(np.floor(source).astype(int), 0, len(k) - 1)
    high, share = np.minimum(low + 1, len(k) - 1), np.clip(source - low, 0, 1).astype(np.float32)[None, :, None, None]
    moved = column.classes[:, low] * (1 - share) + column.classes[:, high] * share
    moved = np.where(_near_line(column, index), moved, _renamed(column.classes, moved))
    return replace(column, classes=np.rint(moved).astype(np.uint8))


def _renamed(classes: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """``classes`` with the names of ``moved`` on what is bone in both, float32."""
    names = moved[1:].sum(axis=0, keepdims=True)
    bone = classes[1:].sum(axis=0, dtype=np.float32, keepdims=True)
    renamed = np.where(names >= LEAST_BONE, moved[1:] * (bone / np.maximum(names, 1)), classes[1:])
    return np.concatenate([classes[:1].astype(np.float32), renamed])


def _near_line(column: ColumnMap, index: np.ndarray) -> np.ndarray:
    """Bool ``[k, j, i]``: the voxels of the map around the line ``index`` ``[n, 3]`` that bodies may take."""
    mm = index * GRID_MM
    k, j, i = (np.arange(n) * step for n, step in zip(column.classes.shape[1:], GRID_MM, strict=True))
    order = np.argsort(mm[:, 0])
    line_j, line_i = (np.interp(k, mm[order, 0], mm[order, axis]) for axis in (1, 2))
    near = np.abs(j - line_j[:, None])[:, :, None] <= BODY_DEPTH_MM
    return near & (np.abs(i - line_i[:, None])[:, None, :] <= BODY_SIDE_MM)


def end_c7(column: ColumnMap, view: CanonicalView, line: BodyLine, border_ras: np.ndarray) -> ColumnMap:
    """The map without C7 in the body of T1: below the disc at ``border_ras`` (RAS mm), near the line, it is thoracic.

    The network tells C7 from T1 worse than other neighbours. C7's arch hangs lower than its disc, and stays.
    """
    index = _index(column, view, line.points) * GRID_MM
    border = _index(column, view, border_ras) * GRID_MM
    at = int(np.argmin(np.linalg.norm(index - border, axis=1)))
    down = index[min(at + 1, len(index) - 1)] - index[max(at - 1, 0)]
    down /= np.linalg.norm(down)
    k, j, i = (np.arange(n) * mm for n, mm in zip(column.classes.shape[1:], GRID_MM, strict=True))
    near = _near_line(column, index / GRID_MM)
    away = (k - border[0])[:, None, None] * down[0] + (j - border[1])[None, :, None] * down[1]
    other = near & (away + (i - border[2])[None, None, :] * down[2] > BELOW_MM)
    classes = column.classes.copy()
    classes[THORACIC][other] = np.maximum(classes[THORACIC], classes[C7])[other]
    classes[C7][other] = 0
    return replace(column, classes=classes)


def _index(column: ColumnMap, view: CanonicalView, ras: np.ndarray) -> np.ndarray:
    """Broken indices k, j, i of the map at points (RAS mm)."""
    return to_coarse(view.ijk_of(np.asarray(ras))[..., ::-1], view.spacing_mm) - column.corner


def _border(column: ColumnMap, index: np.ndarray, upper: int, wanted: float) -> float:
    """Index k on the line, near ``wanted``, where the names change best from ``upper`` (0-6) and above to those below.

    Further away there may be anything: shoulders look like vertebrae to a network that sees the lower end of a neck.
    """
    near = index[np.abs(index[:, 0] - wanted) * GRID_MM[0] <= MOST_MOVED_MM]
    if not len(near):
        return wanted
    named = column.classes[1:].astype(np.float32)
    above, below = named[: upper + 1].sum(axis=0), named[upper + 1 :].sum(axis=0)
    size = [2 * n + 1 for n in AROUND]
    more = ndimage.map_coordinates(ndimage.uniform_filter(above - below, size), near.T, order=1, mode="nearest")
    best = int(np.argmax(np.concatenate([[0], np.cumsum(more)])))
    return float(near[min(best, len(near) - 1), 0])
