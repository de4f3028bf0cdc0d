"""Atlas and axis as signed distance functions in their own frames (right, anterior, superior; mm).

Sizes after Doherty & Heggeness, Spine 1994;19:2497-2500 (atlas) and 1995;20:513-516 (axis). Points are folded on the
right half. The atlas has its origin in the middle of the anterior arch.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.sdf import Points, arc_tube, ellipsoid, horn, smooth_max, smooth_min
from CSpineFractureLib.phantom.vertebral_arch import arch, canal
from CSpineFractureLib.phantom.vertebral_body import body


def axis(v: Vertebra, q: Points) -> np.ndarray:
    """C2: body and dens, sloping upper facets, pars, thick laminae, large forked spinous process."""
    s = v.shape["size"]
    half = v.height / 2
    low = (q[0], q[1], q[2] + np.float32(0.30 * half))
    result = body(v, low, 0.72 * half, 0.0)
    result = smooth_min(result, dens(v, q), 2.2)
    slope = q[2] + (q[0] - np.float32(12 * s)) * np.float32(0.45)
    facet = (q[0], q[1], slope)
    shoulder = ellipsoid(facet, (13.0 * s, -4.0 * s, 0.42 * half), (8.8 * s, 8.6 * s, 5.4 * s))
    result = smooth_min(result, shoulder, 2.6)
    pars = horn(
        q,
        (12.5 * s, -6 * s, 0.1 * half),
        (v.canal_width / 2 + 4.6 * s, -v.depth / 2 - 8 * s, -0.5 * half),
        (3.2 * s, 4.2 * s),
    )
    result = smooth_min(result, pars, 2.4)
    result = smooth_min(result, arch(v, q, z_shift=-0.3 * half), 2.0)
    wing = horn(q, (15 * s, -6 * s, 0.0), (25.5 * s, -9.5 * s, -0.42 * half), (2.4 * s, 3.2 * s), (2.0 * s, 2.4 * s))
    wing = smooth_min(
        wing, horn(q, (11 * s, 0.5 * s, -0.35 * half), (24.5 * s, -8 * s, -0.45 * half), (1.5 * s, 2.2 * s)), 1.4
    )
    tunnel = (
        q[0] - np.float32(17.6 * s) - (q[2] + np.float32(0.2 * half)) * np.float32(0.35),
        q[1] + np.float32(5.6 * s),
    )
    hole = np.sqrt(tunnel[0] ** 2 + tunnel[1] ** 2) - np.float32(2.7 * s)
    result = smooth_min(result, wing, 1.4)
    result = smooth_max(result, -np.maximum(hole, q[2] - np.float32(0.25 * half)), 0.6)
    return smooth_max(result, -canal(v, q), 1.0)


def dens(v: Vertebra, q: Points) -> np.ndarray:
    """The dens: a waisted peg that leans a little backwards, about 10.5 mm wide and 15 mm tall."""
    s, half = v.shape["size"], v.height / 2
    base, waist, tip = (0, 0.6 * s, 0.25 * half), (0, 0.2 * s, half + 3.2 * s), (0, -1.1 * s, half + 11.8 * s)
    result = horn(q, base, waist, (6.6 * s, 5.6 * s), (4.7 * s, 4.9 * s), up=(0, 1, 0))
    result = smooth_min(result, horn(q, waist, tip, (4.7 * s, 4.9 * s), (4.6 * s, 4.2 * s), up=(0, 1, 0)), 1.5)
    return result


def atlas(v: Vertebra, q: Points) -> np.ndarray:
    """C1: arches with tubercles, lateral masses with sloping facets, long pierced transverse processes."""
    s, h = v.shape["size"], v.height / 2
    lean = (q[0], q[1], q[2] + 0 * q[0])
    front = arc_tube(lean, (0, -19.5 * s, 0), (18.5 * s, 19.5 * s), (30, 92), 2.4 * s, flat=0.86 * h / (2.4 * s))
    front = smooth_min(front, ellipsoid(q, (0, 1.4 * s, -0.1 * h), (3.6 * s, 3.2 * s, 0.9 * h)), 1.6)
    tilt = np.float32(0.42) * (q[0] - np.float32(18 * s))
    dish = np.float32(1.4 * s) * np.exp(
        -(
            ((q[0] - np.float32(18 * s)) / np.float32(5.5 * s)) ** 2
            + ((q[1] + np.float32(13 * s)) / np.float32(8 * s)) ** 2
        )
    )
    upper = q[2] - np.float32(7.6 * s) - tilt + dish
    lower = -q[2] - np.float32(8.2 * s) + np.float32(-0.36) * (q[0] - np.float32(18 * s))
    turn = (q[0] - np.float32(17.6 * s)) + np.float32(0.32) * (q[1] + np.float32(14 * s))
    ring = (
        (np.abs(turn) / np.float32(6.8 * s)) ** 2.6 + (np.abs(q[1] + np.float32(14 * s)) / np.float32(10.0 * s)) ** 2.6
    ) ** (1 / 2.6)
    mass = smooth_max((ring - 1.0) * np.float32(6.8 * s), np.maximum(upper, lower), 2.0)
    result = smooth_min(front, mass, 2.2)
    tubercle = ellipsoid(q, (11.5 * s, -11.0 * s, 0), (2.2 * s, 2.4 * s, 2.6 * s))
    result = smooth_min(result, tubercle, 1.2)
    rear = arc_tube(q, (0, -18.5 * s, -0.8 * s), (19.0 * s, 24.5 * s), (-12, -92), 2.1 * s, flat=1.9)
    result = smooth_min(result, rear, 1.8)
    result = smooth_min(result, ellipsoid(q, (0, -43.8 * s, -0.8 * s), (3.6 * s, 3.2 * s, 4.6 * s)), 2.0)
    tip = (36.5 * s, -18.5 * s, -2.0 * s)
    wing = horn(q, (22 * s, -12.5 * s, 0), (33.5 * s, -15.0 * s, -1.0), (1.6 * s, 2.8 * s), (1.7 * s, 2.6 * s))
    wing = smooth_min(wing, horn(q, (22 * s, -20 * s, 0), tip, (2.0 * s, 3.2 * s), (3.0 * s, 3.8 * s)), 1.5)
    wing = smooth_min(wing, horn(q, (33 * s, -14.8 * s, -1), tip, (2.1 * s, 3.0 * s)), 1.4)
    hole = np.sqrt(
        ((q[0] - np.float32(27.6 * s)) / np.float32(3.3 * s)) ** 2
        + ((q[1] + np.float32(16.4 * s)) / np.float32(2.9 * s)) ** 2
    )
    hole = (hole - 1.0) * np.float32(2.9 * s) + 0 * q[2]
    return smooth_min(result, smooth_max(wing, -hole, 0.6), 1.6)
