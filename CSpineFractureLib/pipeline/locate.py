"""The levels as the sagittal network names them: middles, slabs of slices, and boxes where YOLO has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.canonical import CanonicalView
from CSpineFractureLib.pipeline.column_search import ColumnMap, candidates, map_column
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.decode import LevelSlab
from CSpineFractureLib.pipeline.name_bodies import HEIGHTS_MM, NamedBody, name_bodies
from CSpineFractureLib.volume.coarse_grid import GRID_MM, to_coarse

AROUND = 2
"""Voxels of the map around a place among which its heat is the highest."""
BOX_CLASS, BOX_PIXELS = 128, 4
"""Of 255: what belongs to a box; and the fewest such voxels of a level in a slice."""
THORAX = 7


@dataclass(frozen=True)
class LocatedLevel:
    """A level 0-6 (C1-C7): RAS mm of its middle, S of its slab's lower and upper end at the column, its confidence."""

    level: int
    center_ras: np.ndarray
    slab_s: tuple[float, float]
    confidence: float


def locate(view: CanonicalView, context: RunContext) -> tuple[list[LocatedLevel], ColumnMap | None]:
    """The levels from top to bottom, and the map of the column; nothing and ``None`` where there is only air."""
    with context.stage("locate", message="Finding the column"):
        column = map_column(view, context)
    if column is None:
        return [], None
    places = candidates(column.heat)
    heat = np.array([[_highest(one, place) for place in places] for one in column.heat]).reshape(len(column.heat), -1)
    bodies = name_bodies(places * np.array(GRID_MM), heat)
    return _with_slabs(bodies, np.array([column.ras_of(places[body.place], view) for body in bodies])), column


def slabs_of(levels: list[LocatedLevel], heights: np.ndarray) -> list[LevelSlab]:
    """The slabs in rows, given S of each row at the column from top to bottom; levels without a row are left out."""
    slabs = []
    step = abs(heights[1] - heights[0]) if len(heights) > 1 else 1.0
    for level in levels:
        inside = np.flatnonzero((heights >= level.slab_s[0]) & (heights <= level.slab_s[1]))
        if len(inside):
            above = bool(heights[0] + step < level.slab_s[1])
            below = bool(heights[-1] - step > level.slab_s[0])
            slabs.append(LevelSlab(level.level, int(inside[0]), int(inside[-1]), above, below, level.confidence))
    return slabs


def map_boxes(column: ColumnMap, view: CanonicalView, k: int) -> list[SliceBox]:
    """The boxes of the levels that the map shows in canonical slice ``k``, with their share of 0..1 as scores."""
    row = round(float(to_coarse(np.array([k, 0, 0]), view.spacing_mm)[0])) - column.corner[0]
    if not 0 <= row < column.classes.shape[1]:
        return []
    boxes = []
    for number in range(1, 9):
        plane = column.classes[number, row]
        j, i = np.nonzero(plane >= BOX_CLASS)
        if len(j) < BOX_PIXELS:
            continue
        ends = [(row, j.min() - 0.5, i.min() - 0.5), (row, j.max() + 0.5, i.max() + 0.5)]
        corners = column.ras_of(np.array(ends), view)
        scores = np.zeros(8)
        scores[number - 1] = float(np.sort(plane[j, i])[-BOX_PIXELS:].mean()) / 255
        low, high = corners.min(axis=0), corners.max(axis=0)
        boxes.append(SliceBox(k, float(corners[:, 2].mean()), tuple(low[:2]), tuple(high[:2]), scores))
    return boxes


def _highest(heat: np.ndarray, place: np.ndarray) -> float:
    return float(heat[tuple(slice(max(0, n - AROUND), n + AROUND + 1) for n in place)].max())


def _with_slabs(bodies: list[NamedBody], middles: np.ndarray) -> list[LocatedLevel]:
    """Borders between neighbours lie where their usual heights say; those at the ends by the size of the others."""
    levels = []
    for n, body in enumerate(bodies):
        if body.level == THORAX:
            continue
        own, s = HEIGHTS_MM[body.level], float(middles[n, 2])
        gaps = []
        for other in (n - 1, n + 1):
            if 0 <= other < len(bodies):
                share = own / (own + HEIGHTS_MM[bodies[other].level])
                gaps.append(abs(float(middles[other, 2]) - s) * share)
            else:
                gaps.append(None)
        up, down = (gap if gap is not None else (gaps[1 - side] or own / 2) for side, gap in enumerate(gaps))
        levels.append(LocatedLevel(body.level, middles[n], (s - down, s + up), body.confidence))
    return levels
