"""From boxes in slices to one vertebra per level.

Boxes are linked across slices in two steps. ``follow_column`` keeps those on one continuous column; ``decode_levels``
then names stretches of slices in anatomical order (C1 above C2 ...). A level owns the boxes that carry its name by the
detector's scores among the neighbours that the decoded order allows; its 3D box is their hull.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.decode import SLAB_MM, LevelSlab, decode_levels

FRONT_TOLERANCE_MM = 8.0
ARCH_HALF_DEPTH_MM = 3.5


@dataclass
class FusedLevel:
    """One level: its slab, the boxes it owns (by slice), middle of the body and hull in RAS mm.

    ``size`` compares its height with the mean adult; ``slab_s`` is the slab's lower and upper end in S (mm).
    """

    slab: LevelSlab
    boxes: dict[int, SliceBox]
    center_ras: np.ndarray
    low_ras: np.ndarray
    high_ras: np.ndarray
    size: float
    slab_s: tuple[float, float]

    @property
    def index(self) -> int:
        return self.slab.level


def body_evidence(slices: list[list[SliceBox]], step_mm: float) -> np.ndarray:
    """Evidence ``[n, 8]`` that a slice passes through the *body* of each level.

    A box that begins far behind the front of the column (the front edge of the foremost box within 8 mm of height)
    shows only posterior elements, which hang lower than their body, and counts less.
    """
    n = len(slices)
    front = np.full(n, np.nan)
    for row, boxes in enumerate(slices):
        if boxes:
            front[row] = max(b.high[1] for b in boxes if b.strength >= 0.5 * max(x.strength for x in boxes))
    reach = max(1, round(8.0 / step_mm))
    scores = np.zeros((n, 8))
    for row, boxes in enumerate(slices):
        near = front[max(0, row - reach) : row + reach + 1]
        near = near[np.isfinite(near)]
        for box in boxes:
            line = float(np.median(near))
            full = np.clip(1.25 - max(0.0, line - box.high[1]) / FRONT_TOLERANCE_MM, 0.1, 1.0)
            scores[row] = np.maximum(scores[row], box.scores * full)
    return scores


def fuse(
    slices: list[list[SliceBox]],
    heights: np.ndarray,
    step_mm: float,
    discs: np.ndarray | None = None,
    slabs: list[LevelSlab] | None = None,
) -> list[FusedLevel]:
    """One ``FusedLevel`` per level seen, top to bottom.

    Parameters
    ----------
    slices
        Boxes on the column, for each slice from superior to inferior.
    heights
        S (RAS mm) of each slice at the column.
    step_mm
        Distance between the slices.
    discs
        How disc-like each slice is (see ``discs``), or nothing.
    slabs
        The levels' slices where they are known; else they follow from the boxes.
    """
    if slabs is None:
        slabs = decode_levels(body_evidence(slices, step_mm), step_mm, discs)
    levels = []
    for slab in slabs:
        level = _gather(slab, slices, heights, step_mm, slabs)
        if level is not None:
            levels.append(level)
    return levels


def _gather(slab: LevelSlab, slices, heights, step_mm: float, slabs: list[LevelSlab]) -> FusedLevel | None:
    """The boxes of one level: in its slab the best fitting one, around it those that clearly carry its name."""
    owned: dict[int, SliceBox] = {}
    below, above = round(22.0 / step_mm), round(10.0 / step_mm)
    neighbours = {s.level for s in slabs} | {7}
    for row in range(max(0, slab.first - above), min(len(slices), slab.last + below + 1)):
        inside = slab.first <= row <= slab.last
        best, value = None, 0.0
        for box in slices[row]:
            allowed = [box.scores[m] for m in neighbours if abs(m - slab.level) <= 1] or [1.0]
            own = box.scores[slab.level] / (max(allowed) + 1e-6)
            if inside or (own > 0.9 and box.scores[slab.level] > 0.25):
                fit = box.scores[slab.level] + (0.5 * box.strength if inside else 0.0)
                if fit > value:
                    best, value = box, fit
        if best is not None:
            owned[row] = best
    _drop_separate(owned, slab, round(6.0 / step_mm))
    body = [owned[row] for row in range(slab.first, slab.last + 1) if row in owned]
    if not body:
        return None
    fronts = np.array([b.high[1] for b in body])
    keep = [b for b, f in zip(body, fronts, strict=True) if f > np.max(fronts) - 7.0]
    size = float(np.clip((heights[slab.first] - heights[slab.last] + step_mm) / SLAB_MM[slab.level], 0.8, 1.25))
    depth = ARCH_HALF_DEPTH_MM if slab.level == 0 else 8.2 * size
    centre = np.array(
        [
            np.median([b.middle[0] for b in keep]),
            np.median([b.high[1] for b in keep]) - depth,
            (heights[slab.first] + heights[slab.last]) / 2,
        ]
    )
    boxes = list(owned.values())
    lows = np.array([[b.low[0], b.low[1]] for b in boxes])
    highs = np.array([[b.high[0], b.high[1]] for b in boxes])
    s = np.array([b.s for b in boxes])
    low = np.array([*np.percentile(lows, 5, axis=0), s.min() - step_mm / 2])
    high = np.array([*np.percentile(highs, 95, axis=0), s.max() + step_mm / 2])
    slab_s = (heights[slab.last] - step_mm / 2, heights[slab.first] + step_mm / 2)
    return FusedLevel(slab, owned, centre, low, high, size, slab_s)


def _drop_separate(owned: dict[int, SliceBox], slab: LevelSlab, gap: int) -> None:
    """Remove boxes that no chain of boxes links to the slab (more than ``gap`` empty slices between)."""
    for rows in (range(slab.last + 1, 10**6), range(slab.first - 1, -1, -1)):
        missing = 0
        limit = max(owned, default=0) + 1
        for row in rows:
            if row > limit:
                break
            if row not in owned:
                missing += 1
            elif missing > gap:
                del owned[row]
            else:
                missing = 0
