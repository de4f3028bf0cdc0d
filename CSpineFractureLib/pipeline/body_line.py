"""The line through the bodies of a column, and what the CT along it tells of discs and pedicles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from CSpineFractureLib.volume.canonical import CanonicalView

STEP_MM = 0.5
BEYOND_MM = (18.0, 22.0)
"""How far the line goes on above the highest middle and below the lowest."""
DEPTHS_MM, SIDES_MM = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0), (-6.0, -3.0, 0.0, 3.0, 6.0)
"""Where around the line the CT is read."""
PEDICLE_DEPTHS_MM, PEDICLE_SIDES_MM = (-8.0, -4.0, 0.0), (12.0, 18.0)
"""Where beside the bodies pedicles and transverse processes alternate with the foramina of the nerves."""
TISSUE_HU, LEAST_HU, MOST_HU = -500.0, -100.0, 900.0
DISC_SD_MM, AROUND_SD_MM, LEAST_CURVE_HU, MOST_ODD = 2.0, 9.0, 5.0, 1.5
"""A disc is a dip of about twice the first, compared with the dips in a stretch of about twice the second."""
PEDICLE_SD_MM, PEDICLES_AROUND_SD_MM, LEAST_RISE_HU = 3.0, 18.0, 15.0
"""A rise from foramen to pedicle takes about twice the first, and is compared with those around likewise."""
PLATES_MM, PLATE_SD_MM, LEAST_STEP_HU, PLATE_GAIN = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0), 0.5, 60.0, 0.8
"""Where slices are fine: how far the two end plates beside a disc may be apart, how far the line is smoothed for them,
and by how much the disc is at least darker; chosen on 16 phantoms (``cspine phantom --plan neck``)."""
FINE_MM = 1.5
"""Slices up to this distance show end plates."""


@dataclass(frozen=True)
class BodyLine:
    """The line through the bodies' middles, from top to bottom in steps of about 0.5 mm.

    ``points`` ``[n, 3]`` RAS mm, ``along`` ``[n]`` mm from its top, ``hu`` ``[n]`` means around it; NaN outside tissue.
    ``beside`` ``[sides, n]``: HU to the right and to the left of it, at ``PEDICLE_SIDES_MM``. ``slice_mm`` is the
    distance of the slices that it was read from.
    """

    points: np.ndarray
    along: np.ndarray
    hu: np.ndarray
    beside: np.ndarray
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
    around = _read(view, points, [depth * across + [side, 0, 0] for depth in DEPTHS_MM for side in SIDES_MM])
    tissue = around > TISSUE_HU
    total = (np.clip(around, LEAST_HU, MOST_HU) * tissue).sum(axis=0)
    mean = np.where(tissue.any(axis=0), total / np.maximum(tissue.sum(axis=0), 1), np.nan)
    aside = np.array([1.0, 0.0, -slope]) / np.sqrt(1 + slope**2)
    beside = [
        _read(view, points, [depth * across + way * aside for depth in PEDICLE_DEPTHS_MM for way in (-side, side)])
        for side in PEDICLE_SIDES_MM
    ]
    beside = np.clip(beside, LEAST_HU, MOST_HU).mean(axis=1)
    along = np.concatenate([[0], np.cumsum(STEP_MM * length[1:])])
    return BodyLine(points, along, mean, beside, view.spacing_mm[2])


def _read(view: CanonicalView, points: np.ndarray, offsets: list[np.ndarray]) -> np.ndarray:
    """HU ``[offsets, n]`` at ``points`` ``[n, 3]`` moved by each of the offsets (mm); -1024 outside of the scan."""
    index = view.ijk_of((points + np.array(offsets)).reshape(-1, 3))[:, ::-1]
    return ndimage.map_coordinates(view.hu, index.T, output=np.float32, order=1, cval=-1024).reshape(-1, len(points))


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


def pedicle_signal(line: BodyLine) -> np.ndarray:
    """``[n]``: how far the sides of the line brighten downwards as at a disc, in the usual size of rises around
    (-1.5..1.5).

    Uncinate processes and pedicles stand beside the upper half of a body, the foramina of the nerves beside its lower
    half. In coarse slices of old bone, where marrow is as dark as discs, they tell which of two dark gaps is the disc.
    """
    sd = PEDICLE_SD_MM / STEP_MM
    rise = ndimage.gaussian_filter1d(line.beside, sd, axis=1, order=1, mode="nearest").mean(axis=0) * sd
    odd = rise / (_usual(rise, PEDICLES_AROUND_SD_MM) + LEAST_RISE_HU)
    return np.clip(odd, -MOST_ODD, MOST_ODD)


def _usual(values: np.ndarray, around_mm: float = AROUND_SD_MM) -> np.ndarray:
    return np.sqrt(ndimage.gaussian_filter1d(values**2, around_mm / STEP_MM, mode="nearest"))


def _between_plates(hu: np.ndarray) -> np.ndarray:
    """By how much each place is darker than the darker one of two places beside it, at the best distance of these."""
    smooth, best = ndimage.gaussian_filter1d(hu, PLATE_SD_MM / STEP_MM, mode="nearest"), np.full(len(hu), -np.inf)
    for apart in PLATES_MM:
        half = round(apart / 2 / STEP_MM)
        beside = np.pad(smooth, half, mode="edge")
        best = np.maximum(best, np.minimum(beside[: -2 * half], beside[2 * half :]) - smooth)
    return best
