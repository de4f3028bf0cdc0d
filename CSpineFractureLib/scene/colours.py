"""Colours with a meaning: suspicion of a fracture, and the strength of Grad-CAM."""

from __future__ import annotations

import numpy as np

Colour = tuple[float, float, float]
"""Red, green and blue, 0..1."""

NOT_JUDGED: Colour = (0.72, 0.72, 0.72)
CALM: Colour = (0.62, 0.84, 1.00)
ALARM: Colour = (1.00, 0.13, 0.27)
"""The ends of the suspicion scale: pale blue and red differ in lightness too, so no colour vision mixes them up."""

_INFERNO = (
    (0, 0, 4),
    (31, 12, 72),
    (85, 15, 109),
    (136, 34, 106),
    (186, 54, 85),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)
"""Nine equal steps of the perceptually uniform colour map inferno (Smith and van der Walt, 2015; CC0)."""


def suspicion_colour(probability: float | None) -> Colour:
    """Pale blue at probability 0 through to red at 1; grey where no probability was computed (``None``)."""
    if probability is None:
        return NOT_JUDGED
    share = min(1.0, max(0.0, probability))
    red, green, blue = (calm + (alarm - calm) * share for calm, alarm in zip(CALM, ALARM, strict=True))
    return (red, green, blue)


def inferno(count: int = 256) -> np.ndarray:
    """``count`` colours of the map inferno from dark to bright, float64 ``[count, 3]``, 0..1."""
    steps = np.array(_INFERNO) / 255
    wanted = np.linspace(0, len(steps) - 1, count)
    return np.stack([np.interp(wanted, np.arange(len(steps)), steps[:, channel]) for channel in range(3)], axis=1)
