"""Intensity windows of the source documents, in Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """A display window: centre (level) and width, both in HU."""

    centre: float
    width: float

    @property
    def low(self) -> float:
        return self.centre - self.width / 2

    @property
    def high(self) -> float:
        return self.centre + self.width / 2

    def apply(self, hu: np.ndarray) -> np.ndarray:
        """Map HU to float32 0..1, clipped; same shape."""
        return np.clip((hu.astype(np.float32) - self.low) / self.width, 0.0, 1.0)


BONE = Window(500, 2000)
"""Yaseen et al., IEEE Access 2024 (document 000), section III-B."""

BONE_600_2800 = Window(600, 2800)
BONE_700_4000 = Window(700, 4000)
BONE_400_1800 = Window(400, 1800)
"""The three bone windows stacked as channels in document 002, preprocessing section."""

THREE_BONE_WINDOWS = (BONE_600_2800, BONE_700_4000, BONE_400_1800)
