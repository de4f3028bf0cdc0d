"""What lies in the beam besides the patient: table, mattress, headrest, cervical collar.

Carbon-fibre table tops with foam inside and mattress as in common scanners; a two-piece collar of foam and
polyethylene as worn after trauma (Sundstrom et al., J Neurotrauma 2014;31:531-540).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.shapes import enlarged

FOAM_HU, COVER_HU, PLASTIC_HU = -945.0, -350.0, -85.0


def paint_table(f: Frames, skin: np.ndarray, rng: np.random.Generator) -> None:
    """Collar and headrest around the body, then the table below everything."""
    collar, headrest = rng.random() < 0.35, rng.random() < 0.75
    outside = _distance_outside(f, skin) if collar or headrest else None
    if headrest:
        _headrest(f, outside, rng)
    if collar:
        _collar(f, outside, rng)
    if rng.random() < 0.93:
        _couch(f, skin, rng, gap=rng.uniform(14, 30) if headrest else rng.uniform(1, 8))


def _distance_outside(f: Frames, skin: np.ndarray) -> np.ndarray:
    """Distance (mm) from the skin outwards, -5 inside, on the whole canvas; found on every second voxel."""
    small = ndimage.distance_transform_edt(skin[::2, ::2, ::2] > 0).astype(np.float32) * (2 * f.canvas.spacing[0])
    outside = enlarged(small, [0.5] * 3, f.canvas.hu.shape)
    return np.where(skin < 0, np.float32(-5.0), outside)


def _headrest(f: Frames, outside: np.ndarray, rng: np.random.Generator) -> None:
    """A foam cradle behind the head in a thin shell."""
    y, z = f.head[1], f.head[2]
    floor = rng.uniform(-18, 4)
    thick, high = rng.uniform(9, 18), rng.uniform(-55, -30)
    place = np.maximum(y - high, floor - z)
    foam = np.maximum(np.abs(outside - 1.5 - thick / 2) - thick / 2, place)
    whole = (slice(None),) * 3
    f.paint(whole, np.maximum(foam, 0.9 - outside), np.float32(FOAM_HU + 12) + 8 * f.middle, under_skin_mm=None)
    shell = np.maximum(np.abs(outside - 1.5 - thick) - 1.3, place)
    f.paint(whole, np.maximum(shell, 0.9 - outside), np.float32(rng.uniform(-150, 120)), under_skin_mm=None)


def _collar(f: Frames, outside: np.ndarray, rng: np.random.Generator) -> None:
    """Foam pads in two plastic shells, loose in places, from chin and occiput to sternum and upper back."""
    s = f.size
    heights = f.heights.astype(np.float32)[:, None, None]
    ahead = np.clip(f.v / np.float32(60 * s), -1, 1)
    top = np.float32(f.level["C3"]) + 8 * s + 12 * s * ahead
    bottom = np.float32(f.level["C7"]) - 4 * s - 14 * s * np.abs(ahead)
    loose = np.float32(rng.uniform(1.5, 5)) + 1.6 * np.clip(f.broad, -1, 1.5)
    place = np.maximum(np.maximum(heights - top, bottom - heights), np.abs(f.u) - 100 * s)
    overlap = np.abs(f.v + 6 * s) - 9 * s
    hole = np.sqrt(f.u**2 + (heights - np.float32(f.level["C6"])) ** 2) - 16 * s
    place = np.maximum(place, np.where(f.v > 20, -hole, -50.0))
    pad = rng.uniform(5, 9)
    whole = (slice(None),) * 3
    foam = np.maximum(np.abs(outside - loose - pad / 2) - pad / 2, place + 3)
    f.paint(whole, np.maximum(foam, 0.9 - outside), np.float32(FOAM_HU + 25), under_skin_mm=None)
    shell = np.abs(outside - loose - pad - 1.4) - 1.4
    double = np.maximum(np.abs(outside - loose - pad - 5.0) - 1.2, overlap)
    f.paint(
        whole, np.maximum(np.minimum(shell, double), place), np.float32(PLASTIC_HU) + 12 * f.middle, under_skin_mm=None
    )


def _couch(f: Frames, skin: np.ndarray, rng: np.random.Generator, gap: float) -> None:
    """Mattress with its cover and a curved hollow table top, below the lowest skin."""
    _, axes = f.canvas.window((-1e3,) * 3, (1e3,) * 3)
    rows = np.nonzero((skin < 0).any(axis=(0, 2)))[0]
    if len(rows) == 0:
        return
    back = float(axes[1].ravel()[rows.max()]) - gap
    middle = float(np.mean(f.axis_r)) + rng.uniform(-12, 12)
    bend = np.float32(rng.uniform(0.0002, 0.0011))
    x = axes[0] - np.float32(middle)
    y = axes[1] - np.float32(back) - bend * x * x + 0 * axes[2]
    whole = (slice(None),) * 3
    pad = rng.uniform(6, 18) if rng.random() < 0.7 else 0.0
    free = 0.9 - np.maximum(skin, -20)
    if pad:
        f.paint(whole, np.maximum(np.maximum(y, -pad - y), free), np.float32(FOAM_HU + 10), under_skin_mm=None)
        f.paint(whole, np.maximum(np.abs(y) - 0.5, free), np.float32(COVER_HU), under_skin_mm=None)
    hollow = rng.uniform(28, 55)
    y = y + np.float32(pad)
    f.paint(whole, np.maximum(np.maximum(y, -hollow - y), free), np.float32(FOAM_HU - 25), under_skin_mm=None)
    shell = np.minimum(np.abs(y + 0.8) - 0.9, np.abs(y + hollow - 2 * bend * x * x) - 0.9)
    f.paint(whole, np.maximum(shell, free), np.float32(rng.uniform(-250, 150)), under_skin_mm=None)
