"""The names of vertebrae in order along the column, from what a network named slice by slice.

Slices through C3-C6 look alike, so a network that sees one slice at a time slips: whole slices are misread by a level,
pixels are swapped between neighbours. What it sees of the *bodies* is therefore read as one sequence from top to bottom
by ``decode_levels`` (levels follow each other, each for a plausible height; the area of the bodies dips at the discs).
Names that this order forbids are moved or taken away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.decode import LevelSlab, decode_levels
from CSpineFractureLib.pipeline.unet_segment import THORACIC, NamedSlices

UNKNOWN = 9
"""Bone whose name the order forbids."""
FRONT_MM2, FRONT_REACH_MM, FRONT_PERCENTILE = 15.0, 8.0, 20
"""The front of a slice's bone is where it has this area; of the front of the column, slices of 8 mm up and down decide
(discs show only posterior elements, an island may lie before the column)."""
BODY_DEPTH_MM, BODY_HALF_WIDTH_MM = 17.0, 12.0
WHOLE_BODY_MM2 = 120.0
LEAST_BODY_MM2 = 20.0
SHIFTS = (-2, -1, 0, 1, 2)
CLEARLY = 0.35
"""How much more of a slice's body must have a fitting name before the slice is renamed."""
AROUND_BODY_MM = 6.0
"""How far a body reaches over its slab: end plates lean, uncinate processes stand up."""
ABOVE_MM, BELOW_MM = 12.0, 25.0
"""How far posterior elements reach over their body: superior articular processes up, spinous processes down."""
DENS_MM = 10.0
"""How far the dens may stand above the slab of C1."""


@dataclass(frozen=True)
class Bodies:
    """The zone of the vertebral bodies in each slice, superior to inferior; pixels of the array it was made from.

    ``front`` is the first row, ``middle`` the middle column (both float, without gaps); ``masses`` and ``others``
    ``[n, 8]`` are the pixels of C1-C7 and thorax in the zone and beside it, counted by their probability.
    """

    front: np.ndarray
    middle: np.ndarray
    masses: np.ndarray
    others: np.ndarray
    pixel_mm2: float

    def zone(self, row: int, shape: tuple[int, int], spacing_mm: tuple[float, float, float]) -> tuple[slice, slice]:
        """The pixels ``(j, i)`` of the zone in one slice of this shape."""
        ends = []
        for centre, before, after, n in (
            (self.front[row], 2.0 / spacing_mm[1], BODY_DEPTH_MM / spacing_mm[1], shape[0]),
            (self.middle[row], BODY_HALF_WIDTH_MM / spacing_mm[0], BODY_HALF_WIDTH_MM / spacing_mm[0], shape[1]),
        ):
            ends.append(slice(int(np.clip(round(centre - before), 0, n)), int(np.clip(round(centre + after), 0, n))))
        return tuple(ends)


def find_bodies(found: NamedSlices, slices: list[int], spacing_mm: tuple[float, float, float]) -> Bodies | None:
    """The zone of the bodies in these slices (canonical ``k``, superior to inferior); ``None`` without any bone.

    ``spacing_mm`` along i, j, k.
    """
    pixel_mm2 = spacing_mm[0] * spacing_mm[1]
    step_mm = (slices[0] - slices[1] if len(slices) > 1 else 1) * spacing_mm[2]
    fronts = np.array([_front(found.names[k] > 0, pixel_mm2) for k in slices])
    known = np.isfinite(fronts)
    if not known.any():
        return None
    reach = 2 * max(1, round(FRONT_REACH_MM / step_mm)) + 1
    foremost = ndimage.percentile_filter(fronts[known], FRONT_PERCENTILE, reach, mode="nearest")
    rows = np.arange(len(slices))
    front = np.interp(rows, rows[known], ndimage.uniform_filter1d(foremost, 3, mode="nearest"))
    middle = _middles(found, slices, front, known, spacing_mm)
    bodies = Bodies(front, middle, np.zeros((len(slices), 8)), np.zeros((len(slices), 8)), pixel_mm2)
    for row, k in enumerate(slices):
        zone = (k, *bodies.zone(row, found.names.shape[1:], spacing_mm))
        bodies.masses[row] = _masses(found.names[zone], found.sure[zone])
        bodies.others[row] = _masses(found.names[k], found.sure[k]) - bodies.masses[row]
    return bodies


def order_levels(bodies: Bodies, step_mm: float) -> list[LevelSlab]:
    """The levels seen, top to bottom, each with the slices of its body (rows of ``bodies``)."""
    area = bodies.masses * bodies.pixel_mm2
    area[:, 0] += bodies.others[:, 0] * bodies.pixel_mm2  # C1 has no body: its whole ring counts
    evidence = np.minimum(1, area / WHOLE_BODY_MM2)
    return decode_levels(evidence, step_mm, _dips(evidence.sum(axis=1), step_mm))


def follow_order(
    found: NamedSlices,
    slices: list[int],
    bodies: Bodies,
    slabs: list[LevelSlab],
    spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    """The names that the order allows, uint8 as ``found.names``; ``UNKNOWN`` where it forbids what the network said.

    A slice whose body was misread by some levels is renamed as a whole. Thoracic voxels stay 8.
    """
    rows = np.clip(np.searchsorted(-np.asarray(slices), -np.arange(len(found.names))), 0, len(slices) - 1)
    step_mm = (slices[0] - slices[1] if len(slices) > 1 else 1) * spacing_mm[2]
    heights = np.arange(len(slices)) * step_mm  # downwards
    in_body, anywhere = _allowed(heights, slabs, step_mm)
    shifts = _shifts(bodies, slabs, heights, anywhere)
    ordered = np.zeros_like(found.names)
    for k, row in enumerate(rows):
        names = found.names[k].astype(np.int16)
        names[names > 0] = np.clip(names[names > 0] + shifts[row], 1, THORACIC)
        table = np.append(0, np.where(anywhere[row], np.arange(1, 9), UNKNOWN)).astype(np.uint8)
        ordered[k] = table[names]
        zone = bodies.zone(row, names.shape, spacing_mm)
        table[1:] = np.where(in_body[row], np.arange(1, 9), UNKNOWN)
        ordered[k][zone] = table[names[zone]]
    return ordered


def _front(bone: np.ndarray, pixel_mm2: float) -> float:
    """The row in which the bone ``[j, i]`` of a slice begins, NaN without bone."""
    area = np.cumsum(np.count_nonzero(bone, axis=1)) * pixel_mm2
    return float(np.searchsorted(area, FRONT_MM2)) if area[-1] >= FRONT_MM2 else np.nan


def _middles(found: NamedSlices, slices, front, known, spacing_mm) -> np.ndarray:
    """The middle column of the bone behind the front of each slice, smoothed, interpolated over gaps."""
    rows, middles = [], []
    for row in np.flatnonzero(known):
        first = round(front[row])
        bone = found.names[slices[row], first : first + round(BODY_DEPTH_MM / spacing_mm[1])] > 0
        count = np.count_nonzero(bone, axis=0)
        if count.any():
            rows.append(row)
            middles.append(float(np.average(np.arange(len(count)), weights=count)))
    smooth = ndimage.median_filter(np.array(middles), 9, mode="nearest")
    return np.interp(np.arange(len(slices)), rows, smooth)


def _masses(names: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """float ``[8]``: the pixels of C1-C7 and thorax, counted by their probabilities."""
    return np.bincount(names.ravel(), weights=sure.ravel() / 255, minlength=9)[1:9]


def _dips(area: np.ndarray, step_mm: float) -> np.ndarray:
    """How much smaller than its surroundings (9 mm) the bone in the zone is, by their spread; -1.5 to 1.5."""
    local = ndimage.gaussian_filter1d(area, 9.0 / step_mm, mode="nearest")
    spread = np.sqrt(ndimage.gaussian_filter1d((area - local) ** 2, 9.0 / step_mm, mode="nearest")) + 0.1
    return np.clip((local - ndimage.gaussian_filter1d(area, 0.8 / step_mm, mode="nearest")) / spread, -1.5, 1.5)


def _shifts(bodies: Bodies, slabs: list[LevelSlab], heights: np.ndarray, anywhere: np.ndarray) -> np.ndarray:
    """By how many levels each slice must be renamed, so that most of its bone has a name that fits here.

    A name fits in the body zone as far as its slab is near (not at all from 6 mm on), and elsewhere where ``anywhere``
    allows it. Slices without a body go with the nearest that has one.
    """
    fits = np.zeros((len(heights), 8))
    for slab in slabs:
        outside = np.maximum(heights[slab.first] - heights, heights - heights[slab.last])
        fits[:, slab.level] = np.clip(1 - outside / AROUND_BODY_MM, 0, 1)
    fits[:, 1] = np.maximum(fits[:, 1], fits[:, 0])  # the dens
    fits[:, slabs[-1].level + 1] = np.clip(1 - (heights[slabs[-1].last] - heights) / AROUND_BODY_MM, 0, 1)
    scores = np.zeros((len(SHIFTS), len(heights)))
    for n, shift in enumerate(SHIFTS):
        renamed = np.clip(np.arange(8) + shift, 0, 7)
        scores[n] = (bodies.masses * fits[:, renamed] + bodies.others * anywhere[:, renamed]).sum(axis=1)
    total = bodies.masses.sum(axis=1)
    rows, seen = np.arange(len(heights)), np.flatnonzero(total * bodies.pixel_mm2 >= LEAST_BODY_MM2)
    best = scores.argmax(axis=0)
    clear = scores[best, rows] - scores[SHIFTS.index(0)] > CLEARLY * total
    shifts = np.where(clear & (total > 0), np.array(SHIFTS)[best], 0)
    return shifts[seen[np.abs(rows[:, None] - seen).argmin(axis=1)]] if len(seen) else shifts


def _allowed(heights: np.ndarray, slabs: list[LevelSlab], step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of C1-C7 and thorax may show in the body zone, and anywhere, in each slice: bool ``[n, 8]`` both."""
    in_body, anywhere = (np.zeros((len(heights), 8), bool) for _ in range(2))
    for slab in slabs:
        top, bottom = heights[slab.first] - step_mm / 2, heights[slab.last] + step_mm / 2
        above = AROUND_BODY_MM
        if slab.level == 1:
            first = next((heights[s.first] for s in slabs if s.level == 0), -np.inf)
            above = max(above, top - first + DENS_MM)
        in_body[:, slab.level] = (heights >= top - above) & (heights <= bottom + AROUND_BODY_MM)
        anywhere[:, slab.level] = (heights >= top - max(above, ABOVE_MM)) & (heights <= bottom + BELOW_MM)
    above, below = slabs[0].level - 1, slabs[-1].level + 1
    if above >= 0:  # its body is not seen, but its arch may hang into what is
        in_body[:, above] = heights <= heights[slabs[0].first] + AROUND_BODY_MM
        anywhere[:, above] = heights <= heights[slabs[0].first] + BELOW_MM
    in_body[:, below] = heights >= heights[slabs[-1].last] - AROUND_BODY_MM
    anywhere[:, below] = heights >= heights[slabs[-1].last] - ABOVE_MM
    return in_body, anywhere
