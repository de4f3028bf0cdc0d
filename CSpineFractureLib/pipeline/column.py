"""The axis of the column through the bodies of the levels found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.pipeline.fuse import FusedLevel

ARCH_BEFORE_DENS_MM = 10.0


@dataclass(frozen=True)
class ColumnLine:
    """Middles of the bodies by height, RAS mm: ``s`` increasing, ``r`` and ``a`` beside it; ``size`` of the person."""

    s: np.ndarray
    r: np.ndarray
    a: np.ndarray
    size: float

    @classmethod
    def through(cls, levels: list[FusedLevel]) -> ColumnLine:
        """Through the middles of the levels; C1 counts with the dens, which stands behind its anterior arch."""
        size = float(np.median([level.size for level in levels]))
        points = []
        for level in levels:
            r, a, s = level.center_ras
            points.append((s, r, a - ARCH_BEFORE_DENS_MM * size if level.index == 0 else a))
        points = np.array(sorted(points), float)
        return cls(points[:, 0], points[:, 1], points[:, 2], size)

    def at(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Middle R, middle A and slope dA/dS of the axis at heights ``s``, and the size factor."""
        if len(self.s) == 1:
            return np.full_like(s, self.r[0]), np.full_like(s, self.a[0]), np.zeros_like(s), self.size
        slope = np.clip(np.gradient(self.a, self.s), -0.7, 0.7)
        return (*(np.interp(s, self.s, v).astype(np.float32) for v in (self.r, self.a, slope)), self.size)
