"""The face: maxilla, palate, nose, cheek bones, pterygoid plates, tongue and the muscles of chewing.

Head frame (mm of a mean head). Places after axial CT of adults.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.sdf import ellipsoid, smooth_max, smooth_min
from CSpineFractureLib.phantom.shapes import capsule_path, curve, ribbon_piece

AIR_HU, MUSCLE_HU = -990.0, 58.0


def arch_line(x: np.ndarray, y: np.ndarray, half: float, front: float, rear: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance from a dental arch (a half ellipse open behind, mm) and the angle along it (0-pi)."""
    depth = front - rear
    t = np.arctan2(np.maximum(y - np.float32(rear), 0.0) / np.float32(depth), x / np.float32(half))
    q = np.sqrt((x / np.float32(half)) ** 2 + ((y - np.float32(rear)) / np.float32(depth)) ** 2)
    slope = np.sqrt((x / np.float32(half * half)) ** 2 + ((y - np.float32(rear)) / np.float32(depth * depth)) ** 2)
    d = np.abs((q - 1) * q / np.maximum(slope, np.float32(1e-4)))
    behind = np.where(y < rear, np.hypot(np.abs(x) - np.float32(half), y - np.float32(rear)), d)
    return behind, t


def paint_face_soft(f: Frames, rng: np.random.Generator, open_mm: float) -> None:
    """Muscles of chewing, cheeks, lips, tongue and floor of the mouth."""
    muscle = lambda box: f.person.muscle_hu + 5 * f.middle[box] + 3 * f.fine[box]  # noqa: E731
    for side in (-1, 1):
        wide = rng.uniform(0.85, 1.15)
        parts = [
            ([(59, 8, 27, 5.0, 13), (57, 16, 6, 8.0 * wide, 18), (52, 13, -22, 6.0, 13)], 1),
            ([(23, 24, 20, 4, 5), (33, 18, 0, 6.5, 11), (42, 11, -24, 5.0, 10)], 1),
            ([(22, 22, 26, 6, 8), (34, 12, 25, 8.5, 9), (46, 2, 24, 4, 5)], 0),
            ([(41, 29, 22, 5, 9), (50, 26, 40, 8, 17), (61, 12, 62, 5.5, 30), (66, 2, 84, 3, 34)], 1),
            ([(49, -20, -2, 4, 6), (40, 2, -26, 3.2, 3.6), (28, 30, -54, 3.0, 3.4)], 0),
            ([(6, 62, -44, 4.0, 4.5), (16, 45, -56, 3.8, 4.6), (26, 30, -54, 3, 3.5)], 0),
        ]
        for nodes, standing in parts:
            rows = np.array(
                [
                    (side * x, y, z, a, b, 0, 1.0 if standing else 0.2, 0.0 if standing else 1.0)
                    for x, y, z, a, b in nodes
                ]
            )
            _band(f, rows, muscle)
    for body, hu in ((_tongue(f, rng, open_mm), 54.0), (_floor(f), 58.0)):
        box, d = body
        if box is not None:
            x = f.head[0][box]
            raphe = np.clip(1.3 - np.abs(x + 1.5 * f.broad[box]), 0, 1) * 45
            f.paint(box, np.maximum(d, 3.0 - f.bone[box]), hu - raphe + 6 * f.middle[box] + 3 * f.fine[box], 2.0)
    _lips(f)


def _band(f: Frames, rows: np.ndarray, hu) -> None:
    reach = rows[:, 3:5].max() + 2
    box = f.head_box(rows[:, :3].min(axis=0) - reach, rows[:, :3].max(axis=0) + reach, 4)
    if box is None:
        return
    q = f.crop(f.head, box)
    d, rows = None, curve(rows, 16.0)
    for a, b in pairwise(rows):
        piece = ribbon_piece(q, a, b)
        d = piece if d is None else np.minimum(d, piece)
    f.paint(box, (d + 0.6 * f.fine[box]) * f.size, hu(box))


def _tongue(f: Frames, rng: np.random.Generator, open_mm: float):
    box = f.head_box((-34, 8, -56), (34, 78, 22), 4)
    if box is None:
        return None, None
    q = f.crop(f.head, box)
    high = rng.uniform(4, 13) - 0.6 * open_mm
    x, y, z = q
    half = np.clip(11 + 0.62 * (66 - y), 8, 25.5)
    low, top = -47.0, high - 0.012 * (y - 42) ** 2
    rise = np.clip((z + 47) / 30, 0, 1)
    side = (np.abs(x / (half * (0.72 + 0.28 * rise))) ** 2.6 + np.abs((y - 38) / 29) ** 2.6) ** np.float32(1 / 2.6)
    body = smooth_max((side - 1) * 18, np.maximum(z - top + 0.008 * x * x, low - z), 6.0)
    root = ellipsoid(q, (0, 33, -34), (21, 18, 24))
    return box, smooth_min(body, root, 8.0) + 0.8 * f.middle[box]


def _floor(f: Frames):
    """Mylohyoid and geniohyoid: a sling between the halves of the mandible down to the hyoid."""
    box = f.head_box((-42, 10, -66), (42, 72, -18), 4)
    if box is None:
        return None, None
    x, y, z = f.crop(f.head, box)
    sling = z + 47 - 0.0075 * x * x + 0.10 * (60 - y)
    sheet = np.abs(sling) - 2.2
    outline = (np.sqrt((x / (12 + 0.75 * np.clip(64 - y, 0, 44))) ** 2) - 1) * 10
    outline = np.maximum(outline, np.maximum(y - 64, 18 - y))
    genio = np.maximum(ellipsoid((np.abs(x), y, z), (5.5, 44, -44), (5.0, 20, 5.0)), -(np.abs(x) - 0.8))
    return box, np.minimum(np.maximum(sheet, outline), genio)


def _lips(f: Frames) -> None:
    box = f.head_box((-34, 54, -20), (34, 92, 20), 4)
    if box is None:
        return
    x, y, z = f.crop(f.head, box)
    d, _ = arch_line(x, y, 33, 82, 34)
    ring = np.maximum(d - 4.0, np.abs(z + 3) - 13.0)
    f.paint(box, ring * f.size, 42 + 8 * f.middle[box])


def paint_face_bones(f: Frames, rng: np.random.Generator) -> None:
    """Maxilla with sinuses, palate, nasal cavity with turbinates, zygoma and arch, pterygoid plates, orbit's floor."""
    box = f.head_box((-70, 4, -4), (70, 90, 75), 3)
    if box is None:
        return
    p = f.crop(f.head, box)
    x, y, z = p
    q = (np.abs(x), y, z)
    wall = rng.uniform(1.1, 1.7)
    big = rng.uniform(0.88, 1.1)
    wavy = 1.2 * f.middle[box] + 0.8 * f.broad[box]
    sinus = smooth_max(
        ellipsoid(q, (28, 42, 33), (16.5 * big, 20, 20 * big)), 0.70 * (q[0] - 15) - 0.71 * (y - 25), 5.0
    )
    sinus = smooth_max(sinus, np.maximum(15.0 + 0.12 * (z - 30) - q[0], y - 55 + 0.25 * (q[0] - 20)), 5.0) + wavy
    nose = _nose(q)
    d, _ = arch_line(x, y, 25, 76, 30)
    alveolus = smooth_max(d - 5.2, np.abs(z - 10.5) - 9.0, 3.0)
    arch_roof = 20.0 - 0.010 * x * x - 0.006 * np.clip(y - 45, 0, 40) ** 2
    palate = np.maximum(np.abs(z - arch_roof) - 1.5, np.maximum(np.abs(x) - 24, np.maximum(32 - y, y - 76)))
    spine = ellipsoid(p, (0, 74, 21), (5, 5, 3))
    bone = smooth_min(smooth_min(alveolus, palate, 3.0), spine, 3.0)
    bone = np.minimum(bone, np.maximum(np.abs(sinus) - wall * 0.6 - 0.15, -6 + 0 * z))
    rim = np.maximum(np.abs(nose) - 0.7, np.maximum(y - 64, 30 - y))
    bone = np.minimum(bone, rim)
    nasal = np.maximum(np.abs(ellipsoid(q, (0, 56, 48), (12, 22, 28)) - 1.0) - 1.0, np.maximum(58 - y, 44 - z))
    bone = np.minimum(bone, nasal)
    for nodes in (
        [(37, 50, 30, 3, 9), (48, 46, 32, 4.5, 9), (55, 36, 33, 3.4, 6), (60, 24, 33, 2.0, 4), (61, 12, 32, 2.4, 4.5)],
        [(46, 48, 36, 4.5, 6), (46, 46, 50, 3.5, 5), (47, 44, 62, 4, 5)],
        [(18, 58, 38, 4, 4), (30, 55, 43, 3, 3), (42, 51, 42, 3.5, 4)],
        [(47, 44, 56, 2.2, 9), (40, 30, 58, 1.6, 12), (30, 20, 58, 2.2, 12)],
        [(10, 62, 72, 5, 6), (20, 64, 77, 4, 5), (34, 61, 79, 3.6, 4.5), (45, 52, 75, 4, 5), (47, 45, 64, 4, 5)],
    ):
        rows = curve(np.array([(*n, 0, 0.15, 1.0) for n in nodes]), 9.0)
        for a, b in pairwise(rows):
            bone = np.minimum(bone, ribbon_piece(q, a, b))
    for nodes in ([(12, 29), (18, 23)], [(15, 31), (27, 20)]):
        (ax, ay), (bx, by) = nodes
        t = np.clip(((q[0] - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        plate = np.hypot(q[0] - ax - t * (bx - ax), y - ay - t * (by - ay)) - 0.95
        bone = np.minimum(bone, np.maximum(plate, np.maximum(4 - z, z - 42)))
    body = ellipsoid(q, (15, 31, 30), (5.5, 4.5, 13))
    bone = smooth_min(bone, body, 3.0) + 0.3 * f.fine[box]
    lined = np.minimum(np.maximum(nose - 1.2, 17.0 - y), sinus)
    f.paint(box, lined * f.size, 44 + 5 * f.middle[box])
    depth = -bone
    hard, soft = f.person.cortical_hu * 0.92, f.person.trabecular_hu * 1.15
    marrow = np.clip((depth - 1.3) / 0.8, 0, 1)
    f.paint(box, bone * f.size, hard + (soft - hard + 60 * f.fine[box]) * marrow)
    swollen = rng.random(2) < 0.25
    level = np.where(x > 0, 24.0 if swollen[0] else -50.0, 24.0 if swollen[1] else -50.0)
    f.paint(
        box,
        np.maximum(sinus + wall * 0.6, np.maximum(-bone, 0.0) - 9) * f.size,
        np.where(z < level, 20.0, AIR_HU).astype(np.float32),
    )
    _nasal_air(f, rng)
    _eyes(f)


def _nose(q) -> np.ndarray:
    """The nasal cavity: a tall box from the nostrils to the choanae, wider below."""
    x, y, z = q
    half = np.clip(15.5 - 0.30 * np.clip(z - 24, 0, 60), 3.0, 16) - 3.0 * np.clip((y - 60) / 20, 0, 1)
    top = 60 - 0.6 * np.clip(y - 50, 0, 40) - 0.5 * np.clip(34 - y, 0, 30)
    d = smooth_max(x - half, np.maximum(z - top, 21.5 + 0.05 * (y - 50) - z), 3.0)
    return smooth_max(d, np.maximum(y - 84, 22 - y), 3.0)


def _nasal_air(f: Frames, rng: np.random.Generator) -> None:
    box = f.head_box((-22, 14, 16), (22, 98, 66), 3)
    if box is None:
        return
    x, y, z = f.crop(f.head, box)
    q = (np.abs(x), y, z)
    lining = 1.0
    bend = rng.normal(0, 2.0) * np.sin(np.clip((y - 25) / 45, 0, 1) * np.pi)
    septum = np.abs(x - bend) - 1.1
    air = smooth_max(_nose(q) + lining, -septum, 0.8)
    for side in (-1, 1):
        swell = rng.uniform(0.7, 1.25)
        for cz, size in ((28, (4.8, 20, 6.5)), (40, (3.8, 15, 5.2)), (50, (2.4, 9, 3.5))):
            shell = ellipsoid((x, y, z), (side * (9.0 - 0.11 * (cz - 28)), 47, cz), (size[0] * swell, size[1], size[2]))
            air = np.maximum(air, -shell)
    back = ellipsoid(q, (0, 20, 26), (12.5, 11, 11))
    tip = capsule_path(q, np.array([(6, 80, 26, 4.0), (6, 90, 24, 3.4)]))
    air = np.minimum(np.minimum(air, np.maximum(back, np.abs(z - 40) - 24)), tip)
    air = np.where(q[1] < 76, np.maximum(air, (f.skin[box] + 2.6) / f.size), air)
    f.paint(box, air * f.size, np.float32(AIR_HU), under_skin_mm=None)
    cells = np.maximum(np.maximum(q[0] - 11, np.abs(y - 38) - 14), np.abs(z - 58) - 7)
    wall = np.minimum(np.abs(np.sin(x * 0.55) * 1.6), np.abs(np.sin(y * 0.42 + f.middle[box]) * 2.2)) - 0.55
    f.paint(box, np.maximum(cells, -wall) * f.size, np.float32(-930.0))


def _eyes(f: Frames) -> None:
    """Globes with lenses, optic nerves and straight muscles in the fat of the orbits."""
    for side in (-1, 1):
        box = f.head_box(
            np.minimum((side * 8, 8, 46), (side * 48, 8, 46)), np.maximum((side * 8, 70, 84), (side * 48, 70, 84)), 3
        )
        if box is None:
            continue
        x, y, z = f.crop(f.head, box)
        q = (x * side, y, z)
        cone = np.hypot(q[0] - 31 + 0.45 * (46 - y), z - 62) - np.clip(3 + 0.40 * (y - 12), 2, 16)
        orbit = smooth_max(cone, np.maximum(12 - y, y - 50), 4.0)
        f.paint(box, orbit * f.size, np.float32(f.person.fat_hu + 12))
        muscles = np.maximum(np.abs(cone + 4.5) - 1.6, np.maximum(18 - y, y - 46))
        quarter = np.abs(np.sin(2 * np.arctan2(z - 62, q[0] - 31 + 0.45 * (46 - y)))) * 6 - 2.6
        f.paint(box, np.maximum(muscles, quarter) * f.size, np.float32(55.0))
        nerve = capsule_path(q, np.array([(16, 12, 62, 1.8), (29.5, 39, 62, 1.8)]))
        f.paint(box, nerve * f.size, np.float32(40.0))
        globe = ellipsoid(q, (31, 48, 62), (12, 12, 12))
        f.paint(box, globe * f.size, np.float32(18.0))
        f.paint(box, (np.abs(globe + 0.7) - 0.7) * f.size, np.float32(55.0))
        f.paint(box, ellipsoid(q, (31.5, 56.5, 62), (4.6, 2.0, 4.6)) * f.size, np.float32(90.0))


def paint_soft_palate(f: Frames, rng: np.random.Generator, open_mm: float) -> None:
    """Soft palate with uvula hanging from the hard palate, and air in the mouth in a share of people."""
    box = f.head_box((-26, 2, -30), (26, 82, 26), 3)
    if box is None:
        return
    p = f.crop(f.head, box)
    if open_mm > 3 or rng.random() < 0.35:
        gap = rng.uniform(1.5, 4.0) + 0.5 * max(open_mm, 0)
        x, y, z = p
        dome = 13.5 - 0.016 * x * x - 0.006 * np.clip(y - 45, 0, 40) ** 2 - 0.010 * np.clip(45 - y, 0, 40) ** 2
        d = np.maximum(np.abs(z - dome + gap) - gap + 0.9 * f.middle[box], np.hypot(x / 19, (y - 47) / 25) * 19 - 19)
        f.paint(box, d * f.size, np.float32(AIR_HU))
    nodes = np.array(
        [
            (0, 33, 17, 13, 3.2),
            (0, 24, 12, 11, 4.0),
            (0, 17.5, 2, 7, 3.6),
            (0, 15.5, -9, 3.2, 2.8),
            (0, 15.5, -14, 2, 2),
        ]
    )
    rows = curve(np.hstack([nodes, np.tile([0.0, -0.45, 0.9], (5, 1))]), 6.0)
    d = None
    for a, b in pairwise(rows):
        piece = ribbon_piece(p, a, b)
        d = piece if d is None else np.minimum(d, piece)
    f.paint(box, (d + 0.3 * f.fine[box]) * f.size, np.float32(52.0))
