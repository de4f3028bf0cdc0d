"""The levels of one CT as segments: the network's slices, put in order along the column and cleaned in 3D."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.pipeline.assess import body_cut
from CSpineFractureLib.pipeline.axial import STEP_MM
from CSpineFractureLib.pipeline.body_centre import body_centre
from CSpineFractureLib.pipeline.decode import LevelSlab
from CSpineFractureLib.pipeline.segment_order import Bodies, find_bodies, follow_order, order_levels
from CSpineFractureLib.pipeline.segment_tidy import column_part, tidy, without_islands
from CSpineFractureLib.pipeline.slice_rows import LEAST_SCORE
from CSpineFractureLib.pipeline.unet_segment import NamedSlices
from CSpineFractureLib.volume.canonical import CanonicalView

LEAST_VOLUME_MM3 = 400.0
BODY_BEHIND_FRONT_MM, ARCH_BEHIND_FRONT_MM = 8.2, 3.5


@dataclass(frozen=True)
class SegmentedLevel:
    """One level as a segment.

    ``number`` is 1-7, ``place`` the block ``[k, j, i]`` of the canonical view that holds it, ``centre_ras`` the middle
    of its body (RAS mm); ``cut`` tells that the scan shows only a part. ``confidence`` (0..1) is the network's mean
    probability there times how far the name is agreed on: by its slices (their share) and by the whole sequence.
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

    Levels of less than 400 mm3 or ``least_confidence`` are left out, as is the thorax.
    """
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
    boxes = ndimage.find_objects(labels, max_label=len(LEVELS))
    levels = [
        _level(slab, box, labels, found, view, _guess(slab, bodies, slices, offset, view))
        for slab in slabs
        if (box := boxes[slab.level]) is not None
    ]
    levels = [one for one in levels if one.volume_mm3 >= LEAST_VOLUME_MM3 and one.confidence >= least_confidence]
    labels[~np.isin(labels, [0, *(one.number for one in levels)])] = 0
    return labels, levels


def presence_by_slice(labels: np.ndarray, found: NamedSlices) -> dict[int, dict[str, float]]:
    """For each canonical slice the levels it shows, each with the network's mean probability there, from 0.05 on.

    Where the network said another name than the sequence, its probability counts half.
    """
    rows = {}
    for k, plane in enumerate(labels):
        inside = plane > 0
        if not inside.any():
            continue
        numbers = plane[inside]
        sure = found.sure[k][inside] / 255 * np.where(found.names[k][inside] == numbers, 1.0, 0.5)
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
    agreed = float((found.names[place][own] == number).mean())
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
