"""Smooth random fields that are evaluated at points, so that bone can be rough without a full grid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.phantom.sdf import Points


class TiledNoise:
    """One random field of unit variance that repeats every ``cells`` cells; feature size is chosen per call."""

    def __init__(self, rng: np.random.Generator, cells: int = 40) -> None:
        tile = ndimage.gaussian_filter(rng.standard_normal((cells,) * 3).astype(np.float32), 0.9, mode="wrap")
        self.tile = tile / tile.std()

    def __call__(self, p: Points, cell_mm: float, shift: float = 0.0) -> np.ndarray:
        """Values at points (mm) with features of about three cells; another ``shift`` (cells) gives another field."""
        shape = np.broadcast_shapes(*(q.shape for q in p))
        index = np.empty((3, *shape), np.float32)
        for n, q in enumerate(p):
            index[n] = q / np.float32(cell_mm) + np.float32(shift * (1.0 + 0.37 * n))
        return ndimage.map_coordinates(self.tile, index, order=1, mode="grid-wrap", output=np.float32)

    def warp(self, p: Points, amplitude_mm: float, cell_mm: float, shift: float) -> Points:
        """Points moved by a smooth vector field of about the given amplitude."""
        return tuple(
            q
            + np.float32(amplitude_mm)
            * self(p, cell_mm, shift + 11.3 * n).reshape(np.broadcast_shapes(*(v.shape for v in p)))
            for n, q in enumerate(p)
        )
