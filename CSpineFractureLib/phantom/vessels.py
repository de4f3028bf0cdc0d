"""Arteries, veins, lymph nodes, salivary glands and the nuchal ligament.

Calibres: common carotid 6.5 mm, internal 5 mm (Krejza et al., Stroke 2006;37:1103-1105), vertebral artery 3-4.5 mm,
internal jugular vein 8-16 mm. Normal neck nodes are shorter than 10 mm.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.sdf import ellipsoid
from CSpineFractureLib.phantom.shapes import capsule_path, curve, superellipse

# level -> (u, v, half width, half depth); right side of the neck frame
CAROTID = {
    "C0": (25, 2, 2.5, 2.5),
    "C1": (26, 9, 2.6, 2.6),
    "C2": (25, 14, 2.7, 2.7),
    "C3": (26, 18, 3.4, 3.2),
    "C4": (25, 22, 3.6, 3.6),
    "C5": (24, 23, 3.3, 3.3),
    "C7": (22, 26, 3.3, 3.3),
    "T2": (17, 31, 3.5, 3.5),
    "T3": (13, 34, 4, 4),
    "T6": (10, 34, 5, 5),
}
OUTER_CAROTID = {
    "C0": (38, 14, 1.6, 1.6),
    "C1": (37, 18, 1.8, 1.8),
    "C2": (33, 22, 2.0, 2.0),
    "C3": (29, 25, 2.3, 2.3),
    "C4": (26, 24, 2.0, 2.0),
}
JUGULAR = {
    "C0": (31, -1, 4.5, 3.5),
    "C1": (32, 4, 4.8, 3.6),
    "C2": (33, 10, 5.0, 4.0),
    "C4": (33, 17, 5.6, 4.8),
    "C6": (32, 22, 6.2, 5.2),
    "T1": (29, 28, 6.6, 5.6),
    "T2": (24, 33, 7, 6),
    "T3": (16, 42, 7, 6),
    "T6": (14, 44, 7, 7),
}
AORTA = {"T4": (-13, 24, 9, 11), "T6": (-17, 20, 13, 15)}
LOWER_AORTA = {"T4": (-17, 2, 10, 10), "T6": (-18, 0, 11.5, 11.5)}
CAVA = {"T3": (15, 36, 6, 6), "T6": (19, 28, 9, 8)}
OUTER_JUGULAR = {
    "C1": (58, -2, 1.6, 1.3),
    "C3": (59, 4, 1.8, 1.4),
    "C5": (57, 4, 2.0, 1.6),
    "C7": (52, 10, 2.4, 2.0),
    "T1": (46, 14, 2.6, 2.4),
}
FRONT_JUGULAR = {"C3": (10, 52, 1.2, 1.0), "C5": (12, 50, 1.4, 1.1), "T1": (12, 52, 1.6, 1.3)}

# level, u, v of the chains of lymph nodes
NODES = (("C2", 40, 14), ("C3", 40, 16), ("C4", 42, 10), ("C5", 42, 6), ("C6", 46, 8), ("C7", 56, 6))


def paint_vessels(f: Frames, rng: np.random.Generator) -> None:
    """Veins, then arteries with plaques, then the vertebral arteries."""
    p = f.person
    for side in (-1, 1):
        big = float(np.clip(rng.normal(1.0 + 0.12 * side, 0.2), 0.55, 1.6))
        _sweep(f, rng, JUGULAR, side, big, p.vein_hu)
        _sweep(f, rng, OUTER_JUGULAR, side, 1.0, p.vein_hu)
        _sweep(f, rng, FRONT_JUGULAR, side, 1.0, p.vein_hu)
        _sweep(f, rng, CAROTID, side, 1.0, p.artery_hu, plaque=rng.random() < 0.9 * p.calcium)
        _sweep(f, rng, OUTER_CAROTID, side, 1.0, p.artery_hu)
        _subclavian(f, side)
    for table, hu in ((AORTA, p.artery_hu), (LOWER_AORTA, p.artery_hu), (CAVA, p.vein_hu)):
        _sweep(f, rng, table, 1, 1.0, hu)
    for side in (-1, 1):
        _vertebral(f, side, float(rng.uniform(1.5, 2.2)))


def _sweep(
    f: Frames, rng: np.random.Generator, table: dict, side: int, big: float, hu: float, plaque: bool = False
) -> None:
    s = f.size
    names = sorted(table, key=f.level.get, reverse=True)
    top, bottom = f.level[names[0]], f.level[names[-1]]
    off = rng.normal(0, 1.2, 2)
    rows = np.array([table[n] for n in names]) * s
    wide = (side * rows[:, 0]).min() - 12, (side * rows[:, 0]).max() + 12
    index = f.neck_box(top, bottom, wide, (rows[:, 1].min() - 10, rows[:, 1].max() + 10))
    if index is None:
        return
    keys = {n: (side * r[0] + off[0], r[1] + off[1], r[2] * big, r[3] * big) for n, r in zip(names, rows, strict=True)}
    u, v, a, b = f.along(keys, index)
    wave = np.sin(f.heights[index[0]] / 14 + rng.uniform(0, 6)).astype(np.float32)[:, None, None]
    x, y = f.u[index] - u - 1.2 * wave, f.v[index] - v
    d = superellipse(x, y, a, b)
    z = f.heights[index[0]].astype(np.float32)[:, None, None]
    d = np.maximum(d, np.maximum(z - np.float32(top), np.float32(bottom) - z))
    f.paint(index, d, np.float32(hu))
    if table is CAROTID:
        k, j, i = (n + part.start for n, part in zip(np.unravel_index(d.argmin(), d.shape), index, strict=True))
        f.marks.setdefault("artery", []).append((f.canvas.ijk_to_ras @ [i, j, k, 1])[:3].tolist())
    if plaque:
        fork = np.float32(f.level["C4"] + rng.uniform(-8, 14) * s)
        angle = rng.uniform(0, 6.28)
        turned = np.cos(np.arctan2(y, x) - angle - 0.4 * f.middle[index])
        shell = np.abs(d + 0.3) - np.float32(0.9)
        patch = np.maximum(np.float32(0.2) - turned, (np.abs(z - fork) - np.float32(rng.uniform(4, 11))) / 6)
        f.paint(index, np.maximum(shell, 2.5 * patch), np.float32(rng.uniform(450, 950)))


def _subclavian(f: Frames, side: int) -> None:
    """Subclavian artery and vein over the first rib."""
    s = f.size
    for ahead, up, radius, hu in ((0, 0, 4.2, f.person.artery_hu), (11, -5, 5.2, f.person.vein_hu)):
        nodes = [("T2", 14, 30), ("T1", 34, 20), ("T1", 58, 16), ("T2", 92, 20), ("T3", 130, 12)]
        points = [np.add(f.from_neck(n, side * u * s, (v + ahead) * s), (0, 0, up * s)) for n, u, v in nodes]
        path = np.array([[*f.tucked(p, radius + 6), radius * s] for p in points])
        path[1:3, 2] -= 3 * s
        _path(f, curve(path, 9.0), hu)


def _vertebral(f: Frames, side: int, radius: float) -> None:
    """Vertebral artery: in front of C7, through the foramina of C6-C1, behind C1's lateral mass into the skull."""
    s = f.size
    points = [f.from_neck("T2", side * 22 * s, 20 * s), f.from_neck("T1", side * 21 * s, 14 * s)]
    seventh = f.spine["C7"]
    points.append(f.from_vertebra("C7", (side * (seventh.width / 2 + 6 * s), seventh.depth / 2 - 1.0 * s, 0)))
    for level in ("C6", "C5", "C4", "C3"):
        v = f.spine[level]
        points.append(f.from_vertebra(level, (side * (v.width / 2 + 4.9 * s), -0.25 * v.depth, -2.5 * s)))
    half = f.spine["C2"].height / 2
    points.append(f.from_vertebra("C2", (side * 16.0 * s, -5.6 * s, -0.5 * half)))
    points.append(f.from_vertebra("C2", (side * 21.0 * s, -6.0 * s, 0.5 * half)))
    points.append(f.from_vertebra("C1", (side * 27.6 * s, -16.4 * s, -4 * s)))
    points.append(f.from_vertebra("C1", (side * 27.4 * s, -17 * s, 7.0 * s)))
    points.append(f.from_vertebra("C1", (side * 22 * s, -27.5 * s, 6.0 * s)))
    points.append(f.from_vertebra("C1", (side * 12.5 * s, -27 * s, 9 * s)))
    points += [f.from_head((side * 6.5, -18, 16)), f.from_head((0.5 * side, -10, 30))]
    path = np.array([[*p, radius * s] for p in points])
    fat = np.add(path[3:11], (0, 0, 0, 1.4 * s))
    _path(f, curve(fat, 5.0), f.person.fat_hu + 40, keep=True)
    _path(f, curve(path, 5.0), f.person.artery_hu)


def _path(f: Frames, path: np.ndarray, hu: float, keep: bool = False) -> None:
    """A round tube, painted in pieces so that windows stay small."""
    for n in range(0, len(path) - 1, 3):
        part = path[n : n + 4]
        rim = part[:, 3].max() + 2
        index = f.box(part[:, :3].min(axis=0) - rim, part[:, :3].max(axis=0) + rim, 0)
        if index is None:
            continue
        _, axes = f.canvas.window((-1e3,) * 3, (1e3,) * 3)
        points = (axes[0][..., index[2]], axes[1][:, index[1]], axes[2][index[0]])
        d = capsule_path(points, part)
        f.paint(index, np.maximum(d, 0.3 - f.bone[index]) if keep else d, np.float32(hu))


def paint_glands(f: Frames, rng: np.random.Generator) -> None:
    """Parotid (fatty), submandibular glands, and lymph nodes in the fat of the neck."""
    fatty = 0.25 + 0.6 * f.person.wear
    for side in (-1, 1):
        big = rng.uniform(0.85, 1.15)
        _gland(f, (side * 57, -5, 2), (8.5 * big, 14, 24 * big), 42 - 75 * fatty + rng.uniform(-5, 5), 14)
        _gland(f, (side * 31, 30, -42), (9 * big, 15, 12 * big), 52 - 25 * fatty, 5)
    s = f.size
    for _ in range(int(rng.integers(10, 26))):
        side = rng.choice([-1, 1])
        level, u, v = NODES[int(rng.integers(len(NODES)))]
        u, v = side * (u + rng.normal(0, 4)) * s, (v + rng.normal(0, 6)) * s
        spot = np.add(f.from_neck(level, u, v), (0, 0, rng.normal(0, 5)))
        radii = rng.uniform(1.6, 3.6) * np.array([1.0, rng.uniform(0.9, 1.5), rng.uniform(1.0, 2.2)])
        index = f.box(spot - radii - 2, spot + radii + 2, 0)
        if index is not None:
            f.paint(
                index, ellipsoid(f.crop(f.world, index), tuple(spot), tuple(radii)), np.float32(rng.uniform(38, 62))
            )


def _gland(f: Frames, centre: tuple, radii: tuple, hu: float, patchy: float) -> None:
    index = f.head_box(np.subtract(centre, radii), np.add(centre, radii))
    if index is None:
        return
    d = ellipsoid(f.crop(f.head, index), centre, radii) + 1.2 * f.middle[index] + 0.6 * f.fine[index]
    f.paint(index, np.maximum(d, 3.0 - f.bone[index]), hu + patchy * f.fine[index])


def paint_nuchal_ligament(f: Frames) -> None:
    """A thin sheet in the midline from the spinous processes to the skin, with fat beside it."""
    s = f.size
    index = f.neck_box(f.level["C0"], f.level["C7"], (-12, 12), (-100, -25))
    if index is None:
        return
    keys = {"C0": (-66,), "C2": (-62,), "C4": (-62,), "C7": (-66,)}
    (back,) = f.along({k: (v[0] * s,) for k, v in keys.items()}, index)
    wave = 1.0 * f.broad[index]
    x, v = f.u[index] + wave, f.v[index]
    ends = np.maximum(back - v, v + np.float32(28 * s))
    f.paint(index, np.maximum(np.abs(x) - np.float32(2.2), ends), np.float32(f.person.fat_hu + 12))
    f.paint(index, np.maximum(np.abs(x) - np.float32(0.7), ends), np.float32(48.0))
