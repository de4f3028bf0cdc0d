"""Skin, fat, fasciae and muscles: the soft body in which everything else lies."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.muscles import pack_muscles
from CSpineFractureLib.phantom.outline import body_outlines


def paint_soft_body(f: Frames, rng: np.random.Generator) -> np.ndarray:
    """Fat, skin, muscles and platysma on the whole canvas; returns the distance to the skin (mm)."""
    p, pixel = f.person, f.canvas.spacing[0]
    skin, fascia = body_outlines(f, rng)
    inside = np.clip(0.5 - skin / np.float32(pixel), 0, 1)
    strands = np.clip(np.abs(f.middle + 0.4 * f.fine), 0, 1)
    hu = np.float32(p.fat_hu) + 7 * f.middle + np.where(strands < 0.06, 28, 0)
    packing = pack_muscles(f, fascia, rng)
    gap = np.float32(-0.45 + 0.9 * p.wear + 0.04 * p.fat_mm) + 0.5 * np.clip(f.broad, -0.6, 1.2)
    cover = packing.cover(gap, pixel)
    muscle = np.float32(p.muscle_hu) + 5 * f.middle + 3.5 * f.fine
    streaks = np.clip((np.abs(f.fine + 0.7 * f.middle) - 1.15 + 0.35 * p.wear) * 1.2, 0, 0.7) * np.float32(
        0.35 + 0.65 * p.wear
    )
    muscle += (p.fat_hu - muscle) * streaks
    hu += cover * (muscle - hu)
    hu = _platysma(f, skin, fascia, hu)
    dermis = np.clip((skin + np.float32(1.9)) / np.float32(pixel) + 0.5, 0, 1)
    hu += dermis * (38 - hu)
    f.canvas.hu += inside * (hu - f.canvas.hu)
    low = (f.heights < f.level["C4"])[:, None, None]
    depth = np.where(low & (fascia > 2.5) & (skin < -3.0) & (f.v < -20 * f.size), np.minimum(fascia - 2, -3 - skin), 0)
    for flat in np.argsort(depth[::6, ::3, ::3], axis=None)[-24:]:
        k, j, i = np.multiply(np.unravel_index(flat, depth[::6, ::3, ::3].shape), (6, 3, 3))
        if depth[k, j, i] > 0:
            f.mark("fat", (f.canvas.ijk_to_ras @ [i, j, k, 1])[:3])
    return skin


def _platysma(f: Frames, skin: np.ndarray, fascia: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """A thin muscle sheet in the fat of the front and sides of the neck."""
    sheet = np.abs(fascia - np.float32(1.2)) - np.float32(0.7)
    heights = f.heights.astype(np.float32)[:, None, None]
    place = (f.v > 6 * f.size) & (heights < f.level["C2"]) & (heights > f.level["T3"]) & (skin < -2)
    cover = np.clip(0.5 - sheet / np.float32(f.canvas.spacing[0]), 0, 0.8) * place
    return hu + cover * (45 - hu)
