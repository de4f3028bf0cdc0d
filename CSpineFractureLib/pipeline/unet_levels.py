"""The levels of one CT as segments: the network's slices, put in order along the column and cleaned in 3D.

Where the column locator found the levels before, it names them: the network then says only what is bone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.pipeline.assess import body_cut
from CSpineFractureLib.pipeline.axial import STEP_MM
from CSpineFractureLib.pipeline.body_centre import body_centre
from CSpineFractureLib.pipeline.column_search import names_on
from CSpineFractureLib.pipeline.decode import LevelSlab
from CSpineFractureLib.pipeline.locate import slabs_of
from CSpineFractureLib.pipeline.segment_order import UNKNOWN, Bodies, find_bodies, follow_order, order_levels
from CSpineFractureLib.pipeline.segment_rim import at_half_maximum
from CSpineFractureLib.pipeline.segment_tidy import column_part, tidy, without_islands
from CSpineFractureLib.pipeline.slice_rows import LEAST_SCORE
from CSpineFractureLib.pipeline.unet_column import LocatedColumn
from CSpineFractureLib.pipeline.unet_segment import NamedSlices
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.morphology import filled_block

Placed = tuple[LevelSlab, np.ndarray]

LEAST_VOLUME_MM3 = 400.0
NAMES_MM, BESIDE_MM = 1.0, 4.0
"""Grid on which the locator's names are taken, and how far from its vertebrae bone still belongs to them."""
BODY_BEHIND_FRONT_MM, ARCH_BEHIND_FRONT_MM = 8.2, 3.5


@dataclass(frozen=True)
class SegmentedLevel:
    """One level as a segment.

    ``number`` is 1-7, ``place`` the block ``[k, j, i]`` of the canonical view that holds it, ``centre_ras`` the middle
    of its body (RAS mm); ``cut`` tells that the scan shows only a part. ``confidence`` (0..1) is the network's mean
    probability there times how far the name is agreed on: by its slices (their share) and by the whole sequence, or by
    the column locator.
    """

    number: int
    place: tuple[slice, slice, slice]
    centre_ras: np.ndarray
    volume_mm3: float
    cut: bool
    confidence: float

    @property
    def name(self) -> str:
        return LEVELS[self.number - 1]


def segment_levels(
    found: NamedSlices, view: CanonicalView, least_confidence: float
) -> tuple[np.ndarray, list[SegmentedLevel]]:
    """Labels (uint8 ``[k, j, i]`` on the canonical grid, 0-7) and the levels they hold, top to bottom.

    Where the column locator found the levels, the names are its own; else they follow from the network's. Levels of
    less than 400 mm3 or ``least_confidence`` are left out, as is the thorax.
    """
    labels, placed = _in_order(found, view) if found.column is None else _at_column(found, found.column, view)
    boxes = ndimage.find_objects(labels, max_label=len(LEVELS))
    levels = [
        _level(slab, box, labels, found, view, guess)
        for slab, guess in placed
        if (box := boxes[slab.level]) is not None
    ]
    levels = [one for one in levels if one.volume_mm3 >= LEAST_VOLUME_MM3 and one.confidence >= least_confidence]
    labels[~np.isin(labels, [0, *(one.number for one in levels)])] = 0
    return labels, levels


def _in_order(found: NamedSlices, view: CanonicalView) -> tuple[np.ndarray, list[Placed]]:
    """Labels, and the levels with about the middles of their bodies, by what the network named."""
    labels = np.zeros(view.hu.shape, np.uint8)
    part = column_part(found.names, view.spacing_mm)
    if part is None:
        return labels, []
    kept, place = part
    beside = (slice(None), *place[1:])  # all slices: a level that begins in the first one is cut
    column = NamedSlices(np.zeros_like(found.names[beside]), found.sure[beside])
    column.names[place[0]] = without_islands(found.names[place], kept, view.spacing_mm)
    step = max(1, round(STEP_MM / view.spacing_mm[2]))
    slices = list(range(len(labels) - 1, -1, -step))
    bodies = find_bodies(column, slices, view.spacing_mm)
    slabs = order_levels(bodies, step * view.spacing_mm[2]) if bodies is not None else []
    if not slabs:
        return labels, []
    ordered = follow_order(column, slices, bodies, slabs, view.spacing_mm)
    labels[beside] = tidy(ordered, view.spacing_mm)
    offset = (place[2].start, place[1].start)
    return labels, [(slab, _guess(slab, bodies, slices, offset, view)) for slab in slabs]


def _at_column(found: NamedSlices, column: LocatedColumn, view: CanonicalView) -> tuple[np.ndarray, list[Placed]]:
    """As ``_in_order``, where the column locator named the levels: the network says what of them is bone.

    It sees pixels of about 0.8 mm; the rim of finer ones is cut at half maximum.
    """
    labels = np.zeros(view.hu.shape, np.uint8)
    place = filled_block(found.names)
    if place is None:
        return labels, []
    step = tuple(max(1, round(NAMES_MM / mm)) for mm in view.spacing_mm[::-1])
    names = names_on(column.map, view, place, step)[0]
    away = ndimage.distance_transform_edt(names == 0, sampling=np.multiply(step, view.spacing_mm[::-1]))
    names[(names == 0) & (away <= BESIDE_MM)] = UNKNOWN
    for axis, count in enumerate(step):
        names = np.repeat(names, count, axis)
    names = names[tuple(slice(part.stop - part.start) for part in place)]
    labels[place] = tidy(np.where(found.names[place] > 0, names, 0).astype(np.uint8), view.spacing_mm)
    at_half_maximum(labels, view.hu, view.spacing_mm)
    slices = np.arange(len(labels))[::-1]
    heights = view.ras_of(np.column_stack([column.middles[slices, ::-1], slices]))[:, 2]
    centres = {level.level: level.center_ras for level in column.levels}
    return labels, [(slab, centres[slab.level]) for slab in slabs_of(column.levels, heights)]


def presence_by_slice(labels: np.ndarray, found: NamedSlices) -> dict[int, dict[str, float]]:
    """For each canonical slice the levels it shows, each with the network's mean probability there, from 0.05 on.

    Where the network said another name than the sequence, its probability counts half (unless it gave no names).
    """
    rows = {}
    for k, plane in enumerate(labels):
        inside = plane > 0
        if not inside.any():
            continue
        numbers = plane[inside]
        agreed = np.ones(numbers.shape, bool) if found.column else found.names[k][inside] == numbers
        sure = found.sure[k][inside] / 255 * np.where(agreed, 1.0, 0.5)
        sums, counts = np.bincount(numbers, sure, 8), np.bincount(numbers, minlength=8)
        scores = {LEVELS[n - 1]: float(sums[n] / counts[n]) for n in range(1, 8) if counts[n]}
        rows[k] = {level: score for level, score in scores.items() if score >= LEAST_SCORE}
    return rows


def _level(
    slab: LevelSlab,
    place: tuple[slice, slice, slice],
    labels: np.ndarray,
    found: NamedSlices,
    view: CanonicalView,
    guess: np.ndarray,
) -> SegmentedLevel:
    number = slab.level + 1
    own = labels[place] == number
    agreed = slab.confidence if found.column else float((found.names[place][own] == number).mean())
    sure = float(found.sure[place][own].mean()) / 255
    return SegmentedLevel(
        number,
        place,
        body_centre(own, place, view, guess, first=slab.level == 0),
        float(own.sum()) * float(np.prod(view.spacing_mm)),
        slab.cut_above or slab.cut_below or body_cut(view, place),
        sure * (agreed + slab.confidence) / 2,
    )


def _guess(slab: LevelSlab, bodies: Bodies, slices: list[int], offset: tuple[int, int], view: CanonicalView):
    """RAS mm of the middle of the body (C1: of the arch), by its slab and the front of the column."""
    row = (slab.first + slab.last) // 2
    behind = ARCH_BEHIND_FRONT_MM if slab.level == 0 else BODY_BEHIND_FRONT_MM
    j = offset[1] + bodies.front[row] + behind / view.spacing_mm[1]
    return view.ras_of(np.array([offset[0] + bodies.middle[row], j, slices[row]]))
