"""Skin, fat, fasciae and muscles: the soft body in which everything else lies."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.muscles import pack_muscles
from CSpineFractureLib.phantom.outline import body_outlines


def paint_soft_body(f: Frames, rng: np.random.Generator) -> np.ndarray:
    """Fat, skin, muscles and platysma on the whole canvas; returns the distance to the skin (mm)."""
    p, pixel = f.person, f.canvas.spacing[0]
    skin, fascia, head_skin = body_outlines(f, rng)
    inside = np.clip(0.5 - skin / np.float32(pixel), 0, 1)
    strands = np.clip(np.abs(f.middle + 0.4 * f.fine), 0, 1)
    hu = np.float32(p.fat_hu) + 7 * f.middle + np.where(strands < 0.06, 28, 0)
    packing = pack_muscles(f, fascia, rng)
    gap = np.float32(0.15 + 0.9 * p.wear + 0.03 * p.fat_mm) + 0.5 * np.clip(f.broad, 0, 1)
    cover = packing.cover(gap, pixel)
    muscle = np.float32(p.muscle_hu) + 5 * f.middle + 3.5 * f.fine
    streaks = np.clip((np.abs(f.fine + 0.7 * f.middle) - 1.15 + 0.35 * p.wear) * 1.2, 0, 0.7) * np.float32(0.35 + 0.65 * p.wear)
    muscle += (p.fat_hu - muscle) * streaks
    hu += cover * (muscle - hu)
    hu = _platysma(f, skin, fascia, hu)
    dermis = np.clip((skin + np.float32(1.9)) / np.float32(pixel) + 0.5, 0, 1)
    hu += dermis * (38 - hu)
    f.canvas.hu += inside * (hu - f.canvas.hu)
    return skin


def _platysma(f: Frames, skin: np.ndarray, fascia: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """A thin muscle sheet in the fat of the front and sides of the neck."""
    sheet = np.abs(fascia - np.float32(1.2)) - np.float32(0.7)
    heights = f.heights.astype(np.float32)[:, None, None]
    place = (f.v > 6 * f.size) & (heights < f.level["C2"]) & (heights > f.level["T3"]) & (skin < -2)
    cover = np.clip(0.5 - sheet / np.float32(f.canvas.spacing[0]), 0, 0.8) * place
    return hu + cover * (45 - hu)
