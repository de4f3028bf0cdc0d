"""Upper chest and shoulder girdle: lungs, ribs 1-3, manubrium, clavicles, scapulae, humeri.

Ribs start at the vertebra's upper edge, pass in front of the transverse process and slope down to the front (shape of
the cage: Dansereau & Stokes, J Biomech 1988;21:893-901).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.sdf import ellipsoid, smooth_max, smooth_min
from CSpineFractureLib.phantom.shapes import capsule_path, curve, polygon, ribbon_piece, superellipse
from CSpineFractureLib.phantom.vertebral_arch import pillar_centre

LUNG = {
    "T1": (27, -4, 9, 12),
    "T2": (35, -2, 21, 26),
    "T3": (46, 4, 32, 40),
    "T4": (55, 12, 39, 52),
    "T6": (66, 20, 48, 68),
}
# beyond the transverse process, in the vertebra's frame: right, anterior, superior (mm)
RIBS = {
    "T1": [(50, -20, -2), (62, -4, -6), (62, 18, -11), (50, 38, -15), (34, 50, -18)],
    "T2": [(54, -32, -4), (76, -22, -12), (90, 6, -20), (84, 40, -28), (62, 66, -36), (38, 80, -40)],
    "T3": [(58, -36, -6), (86, -28, -16), (106, 4, -26), (102, 44, -36), (76, 76, -44), (42, 94, -50)],
}


def paint_lungs(f: Frames, rng: np.random.Generator) -> None:
    """Chest wall and lungs, whose tops reach the neck of the first rib."""
    s = f.size
    top = f.level["T1"] - rng.uniform(0, 8) * s
    for side in (-1, 1):
        index = f.neck_box(top + 10, f.heights[0], (side * 62 * s - 62 * s, side * 62 * s + 62 * s), (-60 * s, 100 * s))
        if index is None:
            continue
        keys = {k: (side * u * s, v * s, a * s, b * s) for k, (u, v, a, b) in LUNG.items()}
        for level in ("T2", "T3"):
            f.mark("lung", f.from_neck(level, *keys[level][:2]))
        u, v, a, b = f.along(keys, index)
        z = f.heights[index[0]].astype(np.float32)[:, None, None]
        dome = np.sqrt(np.clip((top - z) / np.float32(22 * s), 0.02, 1))
        x, y = f.u[index] - u, f.v[index] - v
        d = superellipse(x, y, a * dome, b * dome, 2.3)
        d = smooth_max(d, np.float32(13 * s) - side * f.u[index] - 0.25 * np.clip(f.v[index], -30, 30), 6.0)
        d = np.maximum(d, z - np.float32(top)) + 0.7 * f.middle[index]
        wall = np.maximum(d - np.float32(6.5 * s), 1.0 - side * f.u[index] / 30)
        hu = f.person.muscle_hu + 5 * f.middle[index]
        striped = np.clip(np.abs(d - 3.2 * s) / 1.6 - 0.35, 0, 1)
        f.paint(index, wall, f.person.fat_hu + (hu - f.person.fat_hu) * striped)
        air = np.float32(-825) - 0.55 * np.clip(y, -40, 40) + 14 * f.middle[index]
        vessels = np.clip(f.fine[index] + 0.4 * f.middle[index] - 1.55, 0, 1) * 420
        f.paint(
            index,
            np.maximum(np.maximum(d, 3.0 - f.bone[index]), f.skin[index] + 14),
            np.clip(air + vessels, -880, -200),
        )


def paint_ribs(f: Frames) -> None:
    """Ribs 1-3 on both sides, from the vertebra to the cartilage in front."""
    for level, far in RIBS.items():
        v = f.spine[level]
        s = f.size
        px, py = pillar_centre(v)
        near = [
            (v.width / 2 + 1.5 * s, -v.depth / 2 + 3.5 * s, 0.30 * v.height),
            (px + 6 * s, py + 4.5 * s, 3.0 * s),
            (px + 17 * s, py - 1.0 * s, 2.5 * s),
            (px + 25 * s, py - 5.0 * s, 0.5 * s),
        ]
        flat = level == "T1"
        for side in (-1, 1):
            nodes = [*near, *((x * s, y * s, z * s) for x, y, z in far)]
            rows = []
            for n, (x, y, z) in enumerate(nodes):
                wide = (2.9, 3.4, 3.6, 4.2)[n] if n < 4 else 3.3
                tall = (3.6, 3.4, 4.2, 5.0)[n] if n < 4 else 5.8
                if flat and n > 3:
                    wide, tall = 6.8 + 0.4 * (n - 4), 2.5
                out = 0.0 if flat or n < 4 else 0.35
                up = np.array([side * out * np.sign(x), 0.0, 1.0]) @ v.axes
                rows.append([*f.from_vertebra(level, (side * x, y, z)), wide * s, tall * s, *up])
            _bone_band(f, curve(np.array(rows), 11.0), 1.3, joint=True)


def paint_girdle(f: Frames, rng: np.random.Generator) -> None:
    """Manubrium, clavicles, scapulae and humeri."""
    s = f.size
    t = f.level
    at = lambda level, u, v, up=0.0: f.from_neck(t[level] + up * s, u * s, v * s)  # noqa: E731
    notch = at("T3", 0, 57, -4)
    _bone_band(
        f,
        np.array(
            [
                [*(notch + np.array(q) * s), a * s, b * s, 0, 1, 0.35]
                for q, a, b in (
                    ((0, 0, 0), 19, 5.5),
                    ((0, 3, -10), 23, 5.5),
                    ((0, 10, -26), 18, 5.2),
                    ((0, 17, -40), 14, 5.0),
                )
            ]
        ),
        1.3,
    )
    for side in (-1, 1):
        up = rng.normal(0, 4)
        clavicle = [
            (15, 57, "T3", 3, 7.5),
            (30, 57, "T2", -10 + 0.2 * up, 6.2),
            (60, 48, "T2", -4 + 0.5 * up, 5.4),
            (92, 26, "T2", 3 + up, 5.4),
            (122, 2, "T2", 5 + up, 5.8),
            (142, -12, "T2", 3 + up, 5.4),
        ]
        rows = np.array(
            [[*f.tucked(at(n, side * u, v, z), r * s + 4), r * s, r * 0.95 * s, 0, 0, 1] for u, v, n, z, r in clavicle]
        )
        _bone_band(f, curve(rows, 9.0), 1.9)
        _scapula(f, side, up)
        _humerus(f, side, up)


def _bone_band(f: Frames, rows: np.ndarray, cortex: float, joint: bool = False) -> None:
    """A band of bone with cortex and marrow, painted in pieces; a ``joint`` keeps 1 mm from the vertebrae."""
    for n in range(0, len(rows) - 1, 4):
        part = rows[max(n - 1, 0) : n + 6]
        keep = rows[n : n + 5]
        rim = keep[:, 3:5].max() + 2
        index = f.box(keep[:, :3].min(axis=0) - rim, keep[:, :3].max(axis=0) + rim, 4)
        if index is None:
            continue
        p = f.crop(f.world, index)
        d = None
        for a, b in pairwise(part):
            piece = ribbon_piece(p, a, b)
            d = piece if d is None else np.minimum(d, piece)
        _paint_bone(f, index, d, cortex, joint)


def _paint_bone(f: Frames, index, d: np.ndarray, cortex: float, joint: bool = False) -> None:
    d = d + 0.3 * f.fine[index]
    if joint:
        d = np.maximum(d, 1.3 - f.bone[index])
    marrow = np.clip((-d - cortex) / 0.8, 0, 1)
    hard = np.float32(f.person.cortical_hu * 0.92)
    soft = f.person.trabecular_hu * 0.75 + 50 * f.fine[index] + 30 * f.middle[index]
    f.paint(index, d, hard + (soft - hard) * marrow)


def _scapula(f: Frames, side: int, up: float) -> None:
    """Blade, spine with acromion, glenoid with coracoid."""
    s, t2 = f.size, f.level["T2"] + 0.6 * up
    low = f.from_neck("T3", min(side * 66, side * 150) * s, -100 * s)
    high = f.from_neck("T3", max(side * 66, side * 150) * s, 10 * s)
    index = f.box((*np.minimum(low, high)[:2], f.heights[0]), (*np.maximum(low, high)[:2], t2 + 22 * s), 8)
    if index is None:
        return
    u, v = f.u[index] * side / np.float32(s), f.v[index] / np.float32(s)
    z = (f.heights[index[0]].astype(np.float32)[:, None, None] - np.float32(t2)) / np.float32(s)
    plane = v - (-82.0 + 0.86 * (u - 70) - 0.0022 * (u - 100) ** 2 - 0.08 * z)
    outline = polygon(
        u,
        z,
        [(72, -32), (76, 0), (84, 6), (104, 0), (120, -6), (132, -14), (132, -40), (112, -72), (84, -118), (76, -112)],
    )
    rim = 1.3 + 1.8 * np.clip((u - 112) / 14, 0, 1) + 1.6 * np.exp(-((outline / 3) ** 2))
    d = smooth_max(outline, np.abs(plane) * np.float32(0.76) - rim, 2.0)
    q = (u, v, z)
    glenoid = ellipsoid(q, (131, -26, -24), (7, 12, 18))
    coracoid = capsule_path(q, np.array([(127, -20, -10, 7.0), (126, -2, -4, 6.0), (132, 12, -10, 4.5)]))
    ridge = capsule_path(
        q,
        np.array(
            [(80, -84, -22, 3.0), (110, -66, -8, 4.5), (138, -48, 2, 5.5), (158, -28, 4, 6.0), (156, -12, 4, 4.5)]
        ),
    )
    d = smooth_min(smooth_min(smooth_min(d, glenoid, 4.0), coracoid, 4.0), ridge, 3.0)
    _paint_bone(f, index, d * s, 1.3)


def _humerus(f: Frames, side: int, up: float) -> None:
    s, t2 = f.size, f.level["T2"] + 0.6 * up
    low = f.from_neck("T3", min(side * 125, side * 200) * s, -60 * s)
    high = f.from_neck("T3", max(side * 125, side * 200) * s, 15 * s)
    index = f.box((*np.minimum(low, high)[:2], f.heights[0]), (*np.maximum(low, high)[:2], t2 + 8 * s), 8)
    if index is None:
        return
    q = (
        f.u[index] * side / np.float32(s),
        f.v[index] / np.float32(s),
        (f.heights[index[0]].astype(np.float32)[:, None, None] - np.float32(t2)) / np.float32(s),
    )
    d = ellipsoid(q, (160, -25, -28), (23, 22, 23))
    d = smooth_min(d, ellipsoid(q, (174, -21, -30), (11, 13, 16)), 5.0)
    d = smooth_min(
        d, capsule_path(q, np.array([(166, -23, -40, 18.0), (172, -22, -75, 12.5), (174, -22, -160, 11.5)])), 8.0
    )
    _paint_bone(f, index, d * s, 1.4)
