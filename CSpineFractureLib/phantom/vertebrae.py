"""Whole vertebrae as signed distance functions in their own frame (right, anterior, superior; mm)."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.sdf import Points, smooth_max, smooth_min
from CSpineFractureLib.phantom.upper_vertebrae import atlas, axis
from CSpineFractureLib.phantom.vertebral_arch import arch, canal, thoracic_transverse, transverse
from CSpineFractureLib.phantom.vertebral_body import body, osteophytes


def vertebra_distance(v: Vertebra, local: Points) -> np.ndarray:
    """Signed distance (mm, negative inside) of a whole vertebra at points given in its local frame."""
    q = _folded(v, local)
    if v.level == "C1":
        return atlas(v, q)
    if v.level == "C2":
        return axis(v, q)
    return _typical(v, q)


def reach(v: Vertebra) -> tuple[float, float, float, float]:
    """Half width, anterior, posterior and half vertical reach (mm) of a vertebra around its centre."""
    s = v.shape["size"]
    if v.level == "C1":
        return 46 * s, 9 * s, 56 * s, 20 * s
    wide = 46 if v.level.startswith("T") else 38 if v.level == "C7" else 33
    return wide * s, v.depth / 2 + 10, v.depth / 2 + 32 * s + v.spinous, max(v.height, 17) * 0.5 + 34 * s


def _folded(v: Vertebra, p: Points) -> Points:
    """Points folded on the right half; the arch leans to one side and one half is a little larger."""
    x, y, z = p
    behind = np.maximum(-y - np.float32(v.depth / 2 + 14), 0)
    x = x - np.float32(v.shape["skew"]) * behind
    x = x * (1 + np.float32(v.shape["uneven"]) * np.sign(x))
    return np.abs(x), y, z


def _typical(v: Vertebra, q: Points) -> np.ndarray:
    s, half = v.shape["size"], v.height / 2
    cervical = v.level.startswith("C")
    result = body(v, q, half, v.shape["uncus"] * s if cervical else 0.4)
    result = smooth_min(result, arch(v, q), 1.6)
    result = smooth_min(result, transverse(v, q) if cervical else thoracic_transverse(v, q), 1.3)
    spurs = osteophytes(v, q, half)
    if spurs is not None:
        result = smooth_min(result, spurs, 1.2)
    return smooth_max(result, -canal(v, q), 1.0)
