"""The vertebral body as a signed distance function in the vertebra's own frame (right, anterior, superior; mm).

Shape after Panjabi et al., Spine 1991;16:861-869 (waisted body, concave end-plates, uncinate processes of C3-C7).
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.sdf import Points, ellipsoid, smooth_max, smooth_min


def body(v: Vertebra, p: Points, half: float, uncus: float) -> np.ndarray:
    """A body of half height ``half``; its upper rim rises ``uncus`` mm at the sides. ``p``: folded on the right."""
    x, y, z = p
    s, shape = v.shape["size"], v.shape
    u = np.clip(z / np.float32(half), -1.25, 1.25)
    flare = 1.0 - np.float32(shape["waist"]) * (1 - u * u)
    a, b = v.width / 2 * flare, v.depth / 2 * flare
    behind = (y < 0) * np.exp(-((x / np.float32(0.32 * v.width)) ** 2))
    y_kidney = y + np.float32(0.11 * v.depth) * behind
    front = np.float32(2.3) + np.float32(0.9) * (y < 0)
    section = ((np.abs(x) / a) ** front + (np.abs(y_kidney) / b) ** front) ** (1 / front)
    wall = (section - 1.0) * np.float32(min(v.width, v.depth) / 2)

    lateral = np.clip((np.abs(x) / np.float32(v.width / 2) - 0.58) / 0.42, 0, 1.2)
    posterior = np.clip(0.8 - y / np.float32(v.depth), 0.25, 1.25)
    dish = np.exp(-((x / np.float32(0.36 * v.width)) ** 2 + ((y + 0.08 * v.depth) / np.float32(0.36 * v.depth)) ** 2))
    top = half - np.float32(0.9) * dish + np.float32(uncus) * lateral**1.6 * posterior
    ahead = np.clip(y / np.float32(v.depth / 2), -1.1, 1.15)
    lip = np.where(ahead > 0, 1.7 * ahead**2, -0.9 * ahead**2).astype(np.float32)
    bottom = -half - lip + np.float32(1.3) * dish + np.float32(0.55 * uncus) * lateral**2
    result = smooth_max(wall, np.maximum(z - top, bottom - z), 1.5)

    if shape["vein"] < 0.7:
        return result
    vein = ellipsoid(p, (0, -v.depth / 2 + 0.9 * s, 0.02 * half), (2.0 * s, shape["vein"] * s, 0.75 * s))
    return smooth_max(result, -vein, 0.35)


def osteophytes(v: Vertebra, p: Points, half: float) -> np.ndarray | None:
    """Bony lips at the rims of both end-plates, larger in front and at the uncinate joints; ``None`` when absent."""
    grown = v.shape["osteophyte"]
    if grown < 0.6:
        return None
    x, y, z = p
    result = None
    for sign in (-1.0, 1.0):
        rise = z - np.float32(sign * half) - np.float32(sign * 0.1 * grown) * (y > 0)
        ring = np.sqrt((x / np.float32(v.width / 2)) ** 2 + (y / np.float32(v.depth / 2)) ** 2)
        out = (ring - 1.0) * np.float32(min(v.width, v.depth) / 2)
        around = np.arctan2(y, x)
        patchy = 0.62 + 0.38 * np.sin(2.3 * around + v.shape["phase"] + 1.9 * sign) * np.sin(
            5.1 * around - v.shape["phase"]
        )
        sector = np.clip(0.40 + 0.75 * y / np.float32(v.depth / 2), 0.05, 1.0) * np.float32(grown) * patchy
        spur = np.sqrt((np.maximum(out - 0.25 * sector, 0) / 1.15) ** 2 + (rise / 0.9) ** 2) - (0.30 + 0.36 * sector)
        spur = np.maximum(spur, -(out + 4.0))
        result = spur if result is None else smooth_min(result, spur, 0.8)
    return result
