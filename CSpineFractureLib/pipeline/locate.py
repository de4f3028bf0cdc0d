"""The levels as the sagittal network names them: middles, slabs of slices, and boxes where YOLO has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from CSpineFractureLib.pipeline.body_line import body_line
from CSpineFractureLib.pipeline.borders import place_borders
from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.column_search import ColumnMap
from CSpineFractureLib.pipeline.decode import FLOOR, LevelSlab
from CSpineFractureLib.pipeline.move_map import end_c7, move_map, rename_map
from CSpineFractureLib.pipeline.name_bodies import HEIGHTS_MM, NAME_WEIGHT, UNANCHORED, NamedBody, name_bodies
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import GRID_MM

AROUND = 2
"""Voxels of the map around a place among which its heat is the highest."""
AROUND_MM = 4.0
"""In height, around a place: slices of which YOLO's names count."""
END_MM = 30.0
"""From the lowest slice that YOLO looked at, up to which its names count less: it takes the last vertebra for C7."""
SEEN_MM, SEEN = 8.0, 0.4
"""YOLO must see one of the bodies as cervical, in slices so near and with such a score. In 44 real heads and chests
without a neck (cut out of the marked CT) its best score at what the map takes for bodies is 0.25; in 67 copies of the
same CT cut off above, below or at both ends, the least is 0.74."""
YOLO_WEIGHT, REGRESSED_WEIGHT, BESIDE_WEIGHT = 0.5, 2.5, 0.35
"""Of the evidence for names that YOLO and the level regressor give, and of the map's own names beside the latter;
chosen like the weights of ``name_bodies``."""
AGREES = 0.5
"""Of the probability of the level regressor's likeliest name for a place: a name with less is never sure. Of 39 real CT
whose levels in the whole scan stood for the truth it doubts 3 of 234 sure names there; where they are cut off above, 1
of 321 that are right and 8 of 26 that lie on another level."""
BOX_CLASS, BOX_PIXELS = 128, 4
"""Of 255: what belongs to a box; and the fewest such voxels of a level in a slice."""
THORAX = 7
CUT_SHARE, SIZES = 0.3, (0.85, 1.2)
"""How near to an end of the scan, of its usual height, the middle of a body lies that is cut by it; and sizes of
people, against the usual heights."""


@dataclass(frozen=True)
class LocatedLevel:
    """A level 0-6 (C1-C7): RAS mm of its middle, S of its slab's lower and upper end at the column, its confidence."""

    level: int
    center_ras: np.ndarray
    slab_s: tuple[float, float]
    confidence: float


def locate(
    column: ColumnMap, view: CanonicalView, evidence: np.ndarray, heights: np.ndarray
) -> tuple[list[LocatedLevel], ColumnMap]:
    """The levels from top to bottom, by the map of the column and what YOLO says of its slices, and the map to them.

    ``evidence`` ``[n, 8]``: see ``fuse.body_evidence``; ``heights``: S of these slices (RAS mm). No levels where the
    two networks do not agree that there is a neck.
    """
    bodies, middles = bodies_of(column, view, evidence, heights)
    shown = [float(middle[2]) for body, middle in zip(bodies, middles, strict=True) if body.level < THORAX]
    if not _is_neck(shown, evidence, heights):
        return [], column
    return at_discs(with_slabs(bodies, beyond_the_scan(bodies, middles, _ends_s(view))), column, view)


def _ends_s(view: CanonicalView) -> tuple[float, float]:
    """S of the lowest and of the highest slice, RAS mm."""
    return tuple(float(view.ras_of(np.array([0, 0, k]))[2]) for k in (0, view.hu.shape[0] - 1))


def _is_neck(shown_s: list[float], evidence: np.ndarray, heights: np.ndarray) -> bool:
    return any((evidence[np.abs(heights - s) <= SEEN_MM, :THORAX] >= SEEN).any() for s in shown_s)


def bodies_of(
    column: ColumnMap, view: CanonicalView, evidence: np.ndarray, heights: np.ndarray
) -> tuple[list[NamedBody], np.ndarray]:
    """The bodies of C1-C7 and T1 from top to bottom and their middles ``[n, 3]`` (RAS mm); arguments as ``locate``."""
    places = column.places
    heat = np.array([[_highest(one, place) for place in places] for one in column.heat]).reshape(len(column.heat), -1)
    ras = column.ras_of(np.array([_middle(column.heat.max(axis=0), place) for place in places]).reshape(-1, 3), view)
    further = YOLO_WEIGHT * np.array([_names_at(s, evidence, heights) for s in ras[:, 2]]).reshape(-1, len(heat)).T
    named = NAME_WEIGHT
    if column.names is not None:
        further += REGRESSED_WEIGHT * column.names
        named = BESIDE_WEIGHT
    bodies = name_bodies(places * np.array(GRID_MM), heat, further, named)
    if column.names is not None:
        bodies = [_doubted(body, column.names) for body in bodies]
    return bodies, _middles(bodies, ras)


def _doubted(body: NamedBody, names: np.ndarray) -> NamedBody:
    """Not sure of its name where what lies around it speaks for another one (``names``: see ``ColumnMap``)."""
    if body.place is None or names[body.level, body.place] >= np.log(AGREES):
        return body
    return replace(body, confidence=min(body.confidence, UNANCHORED))


def _middles(bodies: list[NamedBody], ras: np.ndarray) -> np.ndarray:
    """``[n, 3]``: the places of bodies; of those without one, between their neighbours as their usual heights say."""
    seen = [n for n, body in enumerate(bodies) if body.place is not None]
    if not seen:
        return np.zeros((0, 3))
    ends = np.cumsum([0.0, *(HEIGHTS_MM[body.level] for body in bodies)])
    along, found = (ends[:-1] + ends[1:]) / 2, ras[[bodies[n].place for n in seen]]
    return np.stack([np.interp(along, along[seen], found[:, axis]) for axis in range(3)], axis=1)


def beyond_the_scan(bodies: list[NamedBody], middles: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """``middles`` ``[n, 3]`` with that of a first or last body which an end of the scan cuts as far away as is usual.

    What is left of it seems to have its middle nearer to its neighbour. ``ends``: lowest and highest S (RAS mm).
    """
    levels = np.array([body.level for body in bodies])
    heights = np.array(HEIGHTS_MM)[levels]
    usual, found = (heights[:-1] + heights[1:]) / 2, -np.diff(middles[:, 2])
    moved = middles.copy()
    for own, other, end, down in ((-1, -2, ends[0], 1), (0, 1, ends[1], -1)):
        inner = [n for n in range(len(usual)) if n != own % len(usual)] if len(usual) > 1 else []
        if not inner or levels[own] == 0 or abs(middles[own, 2] - end) > CUT_SHARE * heights[own]:
            continue
        size = np.clip(np.median(found[inner] / usual[inner]), *SIZES)
        away = max(size * (heights[own] + heights[other]) / 2, abs(middles[other, 2] - middles[own, 2]))
        moved[own, 2] = middles[other, 2] - down * away
    return moved


def _names_at(s: float, evidence: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """``[8]``: log odds of the names around a height, against chance; 0 where YOLO saw nothing, less near its end."""
    near = np.abs(heights - s) <= AROUND_MM
    scores = evidence[near].mean(axis=0) if near.any() else np.zeros(evidence.shape[1])
    trust = np.clip((s - heights.min()) / END_MM, 0, 1) if near.any() else 0.0
    return trust * np.log(len(scores) * (scores + FLOOR) / (scores + FLOOR).sum())


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
    row = column.row_of(k, view)
    if row is None:
        return []
    boxes = []
    is_shown = (column.classes[1:, row] >= BOX_CLASS).sum(axis=(1, 2)) >= BOX_PIXELS
    for number in 1 + np.flatnonzero(is_shown):
        plane = column.classes[number, row]
        j, i = np.nonzero(plane >= BOX_CLASS)
        ends = [(row, j.min() - 0.5, i.min() - 0.5), (row, j.max() + 0.5, i.max() + 0.5)]
        corners = column.ras_of(np.array(ends), view)
        scores = np.zeros(8)
        scores[number - 1] = float(np.sort(plane[j, i])[-BOX_PIXELS:].mean()) / 255
        low, high = corners.min(axis=0), corners.max(axis=0)
        boxes.append(SliceBox(k, float(corners[:, 2].mean()), tuple(low[:2]), tuple(high[:2]), scores))
    return boxes


def _highest(heat: np.ndarray, place: np.ndarray) -> float:
    return float(heat[tuple(slice(max(0, n - AROUND), n + AROUND + 1) for n in place)].max())


def _middle(heat: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The centre of the warmth around a place, finer than the grid."""
    around = tuple(slice(max(0, n - AROUND), n + AROUND + 1) for n in place)
    index = np.indices(heat[around].shape).reshape(3, -1)
    return (index * heat[around].ravel()).sum(axis=1) / heat[around].sum() + [part.start for part in around]


def with_slabs(bodies: list[NamedBody], middles: np.ndarray) -> list[LocatedLevel]:
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


def at_discs(
    levels: list[LocatedLevel], column: ColumnMap, view: CanonicalView
) -> tuple[list[LocatedLevel], ColumnMap]:
    """The levels with their borders at the discs and their middles between them, all in one line; the map likewise."""
    if not levels:
        return [], column
    names, centres = np.array([level.level for level in levels]), np.array([level.center_ras for level in levels])
    column = rename_map(column, view, names, centres)
    line = body_line(view, centres, names)
    inner = [(upper.slab_s[0] + lower.slab_s[1]) / 2 for upper, lower in pairwise(levels)]
    along = place_borders(line, names, np.array([levels[0].slab_s[1], *inner, levels[-1].slab_s[0]]))
    borders, middles = line.point_at(along), line.point_at((along[:-1] + along[1:]) / 2)
    found = []
    middles[:, 2] = np.clip(middles[:, 2], *_ends_s(view))
    for n, level in enumerate(levels):
        forward = level.center_ras[1] - line.point_at(line.along_at(level.center_ras[2]))[1]
        slab_s = (float(borders[n + 1, 2]), float(borders[n, 2]))
        found.append(replace(level, center_ras=middles[n] + [0, forward, 0], slab_s=slab_s))
    moved = move_map(column, view, line, names, borders)
    return found, end_c7(moved, view, line, borders[-1]) if names[-1] == THORAX - 1 else moved
