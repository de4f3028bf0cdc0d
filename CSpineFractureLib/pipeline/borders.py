"""Where the borders between located levels lie: at the discs, dark gaps along the column, near where they are expected.

The sagittal network sees 2 mm pixels and no disc of a coarse scan; its middles err by some millimetres. The CT itself,
read along the bodies' line, shows the discs. Which dark gap is which follows from the heights of vertebrae and from
where the network puts the middles; found exactly, by dynamic programming over places along the line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from CSpineFractureLib.pipeline.name_bodies import HEIGHTS_MM
from CSpineFractureLib.volume.canonical import CanonicalView

STEP_MM = 0.5
BEYOND_MM = (18.0, 22.0)
"""How far the line goes on above the highest middle and below the lowest."""
DEPTHS_MM, SIDES_MM = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0), (-6.0, -3.0, 0.0, 3.0, 6.0)
"""Where around the line the CT is read."""
TISSUE_HU, LEAST_HU, MOST_HU = -500.0, -100.0, 900.0
DISC_SD_MM, AROUND_SD_MM, LEAST_CURVE_HU, MOST_ODD = 2.4, 9.0, 5.0, 1.5
"""A disc is a dip of about twice the first, compared with the dips in a stretch of about twice the second."""
PLATES_MM, PLATE_SD_MM, LEAST_STEP_HU, PLATE_GAIN = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0), 0.5, 60.0, 0.8
"""Where slices are fine: how far the two end plates beside a disc may be apart, how far the line is smoothed for them,
and by how much the disc is at least darker; chosen on 16 phantoms (``cspine phantom --plan neck``)."""
FINE_MM = 1.5
"""Slices up to this distance show end plates."""
DISC_WEIGHT, FINE_DISC_WEIGHT, LEAST_DISC = 0.7, 1.0, -0.8
HEIGHT_SD, PLACE_SD_MM = 0.1, 6.0
"""Of the logarithm of a level's height, and of a border around where the middles put it.

These, ``DISC_WEIGHT`` and ``DISC_SD_MM`` were chosen on 16 marked real CT; seven others were kept out.
"""
SIZES, SIZE_SD = (0.9, 0.95, 1.0, 1.05, 1.1), 0.05
LEAST_HEIGHT_MM = 4.0


@dataclass(frozen=True)
class BodyLine:
    """The line through the bodies' middles, from top to bottom in steps of about 0.5 mm.

    ``points`` ``[n, 3]`` RAS mm, ``along`` ``[n]`` mm from its top, ``hu`` ``[n]`` means around it; NaN outside tissue.
    ``slice_mm`` is the distance of the slices that it was read from.
    """

    points: np.ndarray
    along: np.ndarray
    hu: np.ndarray
    slice_mm: float

    def along_at(self, s: np.ndarray) -> np.ndarray:
        """mm along the line at heights ``s``."""
        return np.interp(-np.asarray(s, float), -self.points[:, 2], self.along)

    def point_at(self, along: np.ndarray) -> np.ndarray:
        """RAS mm ``(..., 3)`` at mm along the line."""
        return np.stack([np.interp(along, self.along, self.points[:, axis]) for axis in range(3)], axis=-1)


def body_line(view: CanonicalView, middles: np.ndarray, levels: np.ndarray) -> BodyLine:
    """The line through ``middles`` ``[n, 3]`` (RAS mm) of ``levels`` (0-6, 7 thoracic), straight from side to side.

    C1 is left out where others show the way: its middle lies in its front arch. A middle or two far aside, such as
    a fragment's, do not draw the line with them (Theil and Sen's slope).
    """
    used = middles[levels > 0] if (levels > 0).sum() >= 2 else middles
    count, heights = len(used), used[:, 2]
    slope, start = stats.theilslopes(used[:, 0], heights)[:2] if count >= 3 else (0.0, np.median(used[:, 0]))
    bend = np.polyfit(heights, used[:, 1], 2 if count >= 5 else min(1, count - 1))
    s = np.arange(middles[:, 2].max() + BEYOND_MM[0], middles[:, 2].min() - BEYOND_MM[1], -STEP_MM)
    lean = np.polyval(np.polyder(bend), s)
    length = np.sqrt(1 + lean**2)
    points = np.stack([start + slope * s, np.polyval(bend, s), s], axis=1)
    across = np.stack([np.zeros(len(s)), 1 / length, -lean / length], axis=1)
    offsets = [depth * across + [side, 0, 0] for depth in DEPTHS_MM for side in SIDES_MM]
    index = view.ijk_of((points + np.array(offsets)).reshape(-1, 3))[:, ::-1]
    hu = ndimage.map_coordinates(view.hu, index.T, output=np.float32, order=1, cval=-1024).reshape(-1, len(s))
    tissue = hu > TISSUE_HU
    total = (np.clip(hu, LEAST_HU, MOST_HU) * tissue).sum(axis=0)
    mean = np.where(tissue.any(axis=0), total / np.maximum(tissue.sum(axis=0), 1), np.nan)
    return BodyLine(points, np.concatenate([[0], np.cumsum(STEP_MM * length[1:])]), mean, view.spacing_mm[2])


def disc_signal(line: BodyLine) -> np.ndarray:
    """``[n]``: how far the line dips as at a disc, in the usual size of dips around (-1.5..1.5); 0 outside tissue.

    In fine slices a disc lies between two bright end plates some millimetres apart. In coarse ones sharpness (the
    second derivative) tells it from marrow, which in old bone may be as dark but lies in a wider dip.
    """
    known = np.isfinite(line.hu)
    if not known.any():
        return np.zeros(len(line.hu))
    hu = np.interp(line.along, line.along[known], line.hu[known])
    if line.slice_mm <= FINE_MM:
        dip = _between_plates(hu)
        odd = PLATE_GAIN * dip / (_usual(np.maximum(dip, 0.0)) + LEAST_STEP_HU)
    else:
        fine = DISC_SD_MM / STEP_MM
        dip = ndimage.gaussian_filter1d(hu, fine, order=2, mode="nearest") * fine**2
        odd = dip / (_usual(dip) + LEAST_CURVE_HU)
    return np.where(known, np.clip(odd, -MOST_ODD, MOST_ODD), 0.0)


def _usual(dip: np.ndarray) -> np.ndarray:
    return np.sqrt(ndimage.gaussian_filter1d(dip**2, AROUND_SD_MM / STEP_MM, mode="nearest"))


def _between_plates(hu: np.ndarray) -> np.ndarray:
    """By how much each place is darker than the darker one of two places beside it, at the best distance of these."""
    smooth, best = ndimage.gaussian_filter1d(hu, PLATE_SD_MM / STEP_MM, mode="nearest"), np.full(len(hu), -np.inf)
    for apart in PLATES_MM:
        half = round(apart / 2 / STEP_MM)
        beside = np.pad(smooth, half, mode="edge")
        best = np.maximum(best, np.minimum(beside[: -2 * half], beside[2 * half :]) - smooth)
    return best


def place_borders(line: BodyLine, levels: np.ndarray, expected_s: np.ndarray) -> np.ndarray:
    """mm along the line of the borders of ``levels`` ``[n]``, consecutive from top to bottom: ``[n + 1]``.

    ``expected_s`` ``[n + 1]``: S (mm) where the middles put them. There is no disc above C1 and C2.
    """
    expected, heights = line.along_at(expected_s), np.array(HEIGHTS_MM)[levels]
    places = np.arange(0.0, line.along[-1], STEP_MM)
    weight = FINE_DISC_WEIGHT if line.slice_mm <= FINE_MM else DISC_WEIGHT
    disc = weight * np.maximum(np.interp(places, line.along, disc_signal(line)), LEAST_DISC)
    costs = [0.5 * ((places - place) / PLACE_SD_MM) ** 2 for place in expected]
    for border, cost in enumerate(costs):
        below = levels[border] if border < len(levels) else levels[-1] + 1
        if below > 1:
            cost -= disc
    mean_size = np.clip((expected[-1] - expected[0]) / heights.sum(), 0.75, 1.3)
    gaps = places[None] - places[:, None]
    logs = np.where(gaps > LEAST_HEIGHT_MM, np.log(np.maximum(gaps, LEAST_HEIGHT_MM)), np.inf)
    best = (np.inf, expected)
    for size in SIZES:
        odd = [0.5 * ((logs - np.log(height * size * mean_size)) / HEIGHT_SD) ** 2 for height in heights]
        value, path = _cheapest(costs, odd)
        value += 0.5 * (np.log(size) / SIZE_SD) ** 2
        if value < best[0]:
            best = (value, places[path])
    return best[1]


def _cheapest(costs: list[np.ndarray], steps: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """The cheapest way through all borders: its cost, and the index of each border's place."""
    cost, origins = costs[0], []
    for own, step in zip(costs[1:], steps, strict=True):
        through = cost[:, None] + step
        origins.append(through.argmin(axis=0))
        cost = through.min(axis=0) + own
    path = [int(cost.argmin())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return float(cost.min()), np.array(path[::-1])
