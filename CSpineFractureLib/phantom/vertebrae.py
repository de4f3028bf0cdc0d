"""Vertebra bodies as signed distance functions in their own frame (right, anterior, superior; mm)."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.sdf import (
    Points,
    arc_tube,
    capsule,
    ellipsoid,
    rounded_box,
    smooth_max,
    smooth_min,
    vertical_cylinder,
)


def vertebra_distance(v: Vertebra, local: Points) -> np.ndarray:
    """Signed distance (mm) of a whole vertebra at points given in its local frame."""
    if v.level == "C1":
        return _atlas(v, local)
    if v.level == "C2":
        return _axis(v, local)
    return _typical(v, local)


def reach(v: Vertebra) -> tuple[float, float, float, float]:
    """Half width, anterior, posterior and half vertical reach (mm) of a vertebra around its centre."""
    s = v.shape["size"]
    if v.level == "C1":
        return 44 * s, 8 * s, 56 * s, 18 * s
    extra = 12 if v.level.startswith("T") else 0
    return (38 + extra) * s, v.depth / 2 + 9, v.depth / 2 + 32 * s + v.spinous, max(v.height, 17) * 0.5 + 34 * s


def _mirrored(p: Points) -> Points:
    """Points folded on the right half, for bodies that are symmetric."""
    return np.abs(p[0]), p[1], p[2]


def _body(v: Vertebra, p: Points, half: float, uncus: float) -> np.ndarray:
    """Vertebral body: waisted kidney-shaped section, concave endplates, uncinate rims, osteophytes, anterior lip."""
    x, y, z = p
    u = np.clip(z / half, -1.2, 1.2)
    flare = 1.0 - v.shape["waist"] * (1 - u * u) + 0.02 * v.shape["osteophyte"] * np.clip(np.abs(u) - 0.6, 0, 1) * 2.5
    a, b = v.width / 2 * flare, v.depth / 2 * flare
    y_kidney = y + 0.10 * v.depth * np.exp(-((x / (0.30 * v.width)) ** 2)) * (y < 0)
    power = 2.6
    section = ((np.abs(x) / a) ** power + (np.abs(y_kidney) / b) ** power) ** (1 / power)
    wall = (section - 1.0) * np.float32(min(v.width, v.depth) / 2)
    lateral = np.clip((np.abs(x) / (v.width / 2) - 0.62) / 0.38, 0, 1.15)
    behind = np.clip(0.75 - y / v.depth, 0.2, 1.2)
    top = half - 0.9 * np.exp(-((x / (0.4 * v.width)) ** 2 + (y / (0.4 * v.depth)) ** 2)) + uncus * lateral**2 * behind
    lip = 1.3 * np.clip(y / (v.depth / 2), 0, 1.1) ** 2 - 0.8 * np.clip(-y / (v.depth / 2), 0, 1.1) ** 2
    bottom = -half - lip + 1.0 * np.exp(-((x / (0.4 * v.width)) ** 2 + (y / (0.45 * v.depth)) ** 2))
    bottom = bottom + 0.5 * uncus * lateral**2
    return smooth_max(wall, np.maximum(z - top, bottom - z), 1.6)


def _canal_centre(v: Vertebra) -> float:
    return -v.depth / 2 - v.canal_depth / 2 + 0.5


def _arch(v: Vertebra, p: Points, z_shift: float = 0.0) -> np.ndarray:
    """Pedicles, articular pillars, laminae and spinous process of C2-T3 (symmetric half, folded)."""
    s = v.shape["size"]
    x, y, z = p[0], p[1], p[2] - np.float32(z_shift)
    q = (x, y, z)
    cy = _canal_centre(v)
    px, py = v.canal_width / 2 + 4.6 * s, cy + 0.15 * v.canal_depth
    result = capsule(
        q, (v.width / 2 - 3 * s, -v.depth / 2 + 2.5 * s, 1.2 * s), (px, py, 0.5 * s), 3.0 * s, 3.2 * s, 1.15
    )
    slope = np.tan(np.radians(v.shape["facet_tilt"]))
    sheared = (x, y, z - (y - np.float32(py - 2 * s)) * np.float32(slope))
    pillar = rounded_box(sheared, (px, py - 2 * s, -0.5 * s), (5.6 * s, 4.6 * s, v.pitch / 2 - 0.9), 2.6 * s)
    result = smooth_min(result, pillar * np.float32(0.8), 2.0)
    back = cy - v.canal_depth / 2 - 2.4 * s
    lamina_h = 2.1 if v.level != "C2" else 2.6
    lamina = capsule(q, (px - 1.5 * s, py - 5 * s, -1.5 * s), (0.6, back, -4.5 * s), 2.5 * s, 2.6 * s, lamina_h)
    result = smooth_min(result, lamina, 2.0)
    drop = np.radians(v.drop)
    tip = (0.0, back - v.spinous * np.cos(drop), -5.0 * s - v.spinous * np.sin(drop))
    result = smooth_min(result, capsule(q, (0, back, -4.5 * s), tip, 2.4 * s, 2.7 * s, 1.7), 2.0)
    if v.level in ("C2", "C3", "C4", "C5", "C6"):
        fork = (v.shape["bifid"] * s, tip[1] - 3.5 * s, tip[2] - 1.0 * s)
        result = smooth_min(result, capsule(q, (1.0, tip[1] + 3 * s, tip[2]), fork, 2.0 * s, 2.6 * s), 1.5)
    else:
        result = smooth_min(result, ellipsoid(q, tip, (3.6 * s, 4.5 * s, 4.5 * s)), 2.0)
    return result


def _transverse(v: Vertebra, p: Points) -> np.ndarray:
    """Transverse process with its foramen: anterior and posterior bars joined by the costotransverse lamella."""
    s = v.shape["size"]
    w, d = v.width / 2, v.depth / 2
    reach_x = 11.5 * s if v.level != "C7" else 15 * s
    front, rear = (w + reach_x - 2.5 * s, 0.05 * d, -2.5 * s), (w + reach_x, -d - 1.5 * s, -3.0 * s)
    thin = 1.0 if v.level == "C7" else 1.7
    result = capsule(p, (w - 1.0, 0.1 * d, 0.5 * s), front, thin * s, (thin + 0.5) * s, 1.6)
    result = smooth_min(result, capsule(p, (w + 4 * s, -d - 3 * s, 0.0), rear, 2.2 * s, 2.4 * s, 1.4), 1.5)
    result = smooth_min(result, capsule(p, front, rear, 1.5 * s, flat=1.6), 1.5)
    hole = vertical_cylinder(p, (w + 4.6 * s, -0.48 * d), ((2.5 if v.level == "C7" else 3.0) * s, 2.8 * s))
    return smooth_max(result, -hole, 0.6)


def _typical(v: Vertebra, p: Points) -> np.ndarray:
    q = _mirrored(p)
    s = v.shape["size"]
    result = _body(v, q, v.height / 2, v.shape["uncus"] * s if v.level.startswith("C") else 0.4)
    result = smooth_min(result, _arch(v, q), 1.5)
    if v.level.startswith("C"):
        result = smooth_min(result, _transverse(v, q), 1.2)
    else:
        px = v.canal_width / 2 + 5 * s
        tip = (px + 22 * s, _canal_centre(v) - 8 * s, 3 * s)
        result = smooth_min(result, capsule(q, (px, _canal_centre(v) - 2 * s, 0), tip, 4.2 * s, 4.6 * s, 1.2), 2.0)
    canal = vertical_cylinder(q, (0, _canal_centre(v)), (v.canal_width / 2, v.canal_depth / 2))
    return smooth_max(result, -canal, 1.0)


def _axis(v: Vertebra, p: Points) -> np.ndarray:
    """C2: body and dens, sloping shoulders for C1, thick laminae, large bifid spinous process."""
    q = _mirrored(p)
    s = v.shape["size"]
    half = v.height / 2
    low = (q[0], q[1], q[2] + np.float32(0.30 * half))
    result = _body(v, low, 0.72 * half, 0.0)
    tip = half + 14.0 * s
    result = smooth_min(result, capsule(q, (0, -0.5, 0.2 * half), (0, 0.0, half + 2), 5.2 * s, 4.7 * s), 2.5)
    result = smooth_min(result, capsule(q, (0, 0, half), (0, -0.6, tip - 4 * s), 4.7 * s, 4.9 * s), 1.5)
    slope = (q[0], q[1], q[2] + (q[0] - np.float32(13 * s)) * np.float32(0.5))
    shoulder = ellipsoid(slope, (13.5 * s, -3.5 * s, 0.55 * half), (9.0 * s, 8.0 * s, 5.0 * s))
    result = smooth_min(result, shoulder, 2.5)
    result = smooth_min(result, _arch(v, q, z_shift=-0.45 * half), 2.0)
    cy = _canal_centre(v)
    bar = capsule(q, (13 * s, -5 * s, 0.1 * half), (22 * s, -8 * s, -0.35 * half), 2.6 * s, 2.6 * s, 1.3)
    foramen = vertical_cylinder(q, (17.5 * s, -6.0 * s), (2.6 * s, 2.6 * s))
    result = smooth_min(result, smooth_max(bar, -np.maximum(foramen, q[2] - np.float32(0.2 * half)), 0.6), 1.2)
    canal = vertical_cylinder(q, (0, cy), (v.canal_width / 2, v.canal_depth / 2))
    return smooth_max(result, -canal, 1.0)


def _atlas(v: Vertebra, p: Points) -> np.ndarray:
    """C1: anterior and posterior arches, lateral masses with sloping facets, long transverse processes."""
    q = _mirrored(p)
    s = v.shape["size"]
    h = v.height / 2
    front = arc_tube(q, (0, -20 * s, 0), (20 * s, 20 * s), (25, 92), 2.6 * s, flat=h / (2.6 * s))
    front = smooth_min(front, ellipsoid(q, (0, 1.2 * s, 0), (4.5 * s, 3.0 * s, h)), 1.5)
    tilted = (q[0], q[1], q[2] - (q[0] - np.float32(18 * s)) * np.float32(0.35) * np.sign(q[2]))
    mass = rounded_box(tilted, (18.5 * s, -14.5 * s, 0), (7.0 * s, 9.0 * s, 8.2 * s), 4.0 * s)
    result = smooth_min(front, mass, 2.5)
    rear = arc_tube(q, (0, -18 * s, -0.5), (19.5 * s, 25.5 * s), (-5, -92), 2.5 * s, flat=1.7)
    result = smooth_min(result, rear, 2.0)
    result = smooth_min(result, ellipsoid(q, (0, -45 * s, -0.5), (4.0 * s, 3.5 * s, 4.5 * s)), 2.0)
    tip = (36.5 * s, -19 * s, -2.0 * s)
    wing = capsule(q, (22 * s, -12 * s, 0), (34 * s, -15.5 * s, -1.0), 1.9 * s, 2.0 * s, 1.5)
    wing = smooth_min(wing, capsule(q, (22 * s, -19.5 * s, 0), tip, 2.2 * s, 3.4 * s, 1.4), 1.5)
    wing = smooth_min(wing, capsule(q, (34 * s, -15.5 * s, -1), tip, 2.4 * s, 3.2 * s, 1.2), 1.5)
    hole = vertical_cylinder(q, (28 * s, -16.2 * s), (3.1 * s, 2.9 * s))
    return smooth_min(result, smooth_max(wing, -hole, 0.6), 1.5)
