"""Domain randomisation: tissues of impossible densities, so that a network learns shapes and not HU.

After Tobin et al., IROS 2017 (domain randomization) and Billot et al., Med Image Anal 2023;86:102789 (SynthSeg), kept
so mild that bone stays the brightest large structure.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

KNOTS_HU = np.array([-1000.0, -500.0, -100.0, 0.0, 60.0, 150.0, 400.0, 900.0, 1600.0, 3000.0], np.float32)
SPREAD_HU = np.array([0.0, 120.0, 60.0, 40.0, 30.0, 40.0, 90.0, 180.0, 300.0, 400.0])


def randomised(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ideal HU ``[k, j, i]`` with a random rising tissue curve, a smooth bias and odd blobs in soft tissue."""
    curve = np.maximum.accumulate(KNOTS_HU + rng.normal(0, 1, len(KNOTS_HU)) * SPREAD_HU)
    out = np.interp(hu, KNOTS_HU, curve).astype(np.float32)
    size = [max(3, int(n / 40)) for n in hu.shape]
    bias = ndimage.zoom(
        rng.normal(0, 1, size).astype(np.float32), [n / m for n, m in zip(hu.shape, size, strict=True)], order=1
    )
    bias = bias[tuple(slice(0, n) for n in hu.shape)]
    soft = (hu > -200) & (hu < 150)
    out[soft] += np.float32(rng.uniform(0, 45)) * bias[soft]
    for _ in range(int(rng.integers(0, 12))):
        radius = rng.uniform(2, 14, 3)
        centre = [rng.uniform(0, n) for n in hu.shape]
        place = tuple(
            slice(max(0, int(c - r)), min(n, int(c + r) + 1)) for c, r, n in zip(centre, radius, hu.shape, strict=True)
        )
        grid = np.ogrid[place]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius, strict=True)) < 1
        region, tissue = out[place], soft[place]
        region[inside & tissue] = rng.uniform(-150, 900)
    return out
