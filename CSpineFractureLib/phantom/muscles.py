"""The muscles of neck and shoulder girdle as bodies of their own with fat between them.

Cross sections per level as in axial atlases (Som & Curtin, Head and Neck Imaging, 5th ed. 2011). Each voxel belongs to
the nearest muscle; where two are equally near lies a fat plane.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.frames import Frames, Index
from CSpineFractureLib.phantom.shapes import strip

# name -> level -> (u, v, half length, half thickness, angle of the length from +u in degrees, bend mm); right side
PAIRED: dict[str, dict[str, tuple[float, float, float, float, float, float]]] = {
    "longus colli": {
        "C1": (4, 13.5, 4, 1.8, -10, 0),
        "C3": (7, 11, 5.5, 3, -15, 0),
        "C5": (8.5, 11.5, 6, 3.6, -20, 0),
        "C7": (10, 11.5, 6, 3.4, -25, 0),
        "T1": (10, 12, 5, 3, -25, 0),
        "T3": (8, 12, 4, 2.2, -25, 0),
    },
    "longus capitis": {
        "C0": (9, 15, 6.5, 4.5, 0, 0),
        "C1": (12, 16.5, 7, 4.2, -5, 0),
        "C2": (13.5, 12.5, 6.5, 4.2, -10, 0),
        "C4": (16.5, 11, 5, 3.4, -20, 0),
        "C6": (19, 8, 3, 2, -20, 0),
    },
    "anterior scalene": {
        "C3": (24, 6, 4, 3, 30, 0),
        "C5": (27, 10, 6, 4, 35, 0),
        "C6": (30, 13, 7, 5, 30, 0),
        "C7": (35, 18, 8, 5.5, 25, 0),
        "T1": (40, 24, 8, 5, 20, 0),
    },
    "middle scalene": {
        "C2": (27, -6, 4, 4, 90, 0),
        "C3": (28, -4, 6, 5, 80, 0),
        "C5": (33, 0, 9, 6, 70, 0),
        "C7": (41, 0, 11, 8, 60, 0),
        "T1": (47, -2, 11, 8, 60, 0),
        "T2": (54, -6, 8, 6, 60, 0),
    },
    "posterior scalene": {
        "C5": (33, -13, 5, 4, 60, 0),
        "C7": (42, -15, 8, 5, 50, 0),
        "T1": (49, -18, 8, 6, 60, 0),
        "T2": (58, -22, 7, 5, 60, 0),
    },
    "levator scapulae": {
        "C1": (38, -13, 6, 4, 90, 0),
        "C3": (39, -19, 10, 5.5, 75, 0),
        "C5": (43, -25, 12, 6, 65, 0),
        "C7": (56, -36, 13, 8, 50, 0),
        "T1": (70, -44, 13, 8, 40, 0),
        "T2": (82, -52, 9, 6, 40, 0),
    },
    "sternocleidomastoid": {
        "C0": (52, -16, 13, 6.5, 92, 0),
        "C1": (53, -12, 17, 6.5, 95, 2),
        "C2": (53, -4, 18, 6, 100, 3),
        "C3": (50, 5, 19, 5.8, 108, 3),
        "C4": (46, 14, 18, 6, 116, 3),
        "C5": (42, 22, 17, 6.2, 124, 3),
        "C6": (37, 30, 16, 6, 134, 3),
        "C7": (31, 38, 16, 5.5, 146, 3),
        "T1": (24, 46, 14, 5, 160, 2),
        "T2": (17, 54, 9, 4, 175, 0),
    },
    "splenius capitis": {
        "C0": (46, -34, 15, 4, 62, 2),
        "C1": (43, -36, 18, 4.5, 55, 3),
        "C3": (33, -47, 20, 4.5, 40, 4),
        "C5": (26, -55, 20, 4.2, 30, 5),
        "C7": (18, -61, 15, 4, 20, 3),
        "T1": (14, -63, 11, 3.4, 15, 1),
        "T3": (8, -64, 5, 2.5, 15, 0),
    },
    "splenius cervicis": {
        "C2": (35, -22, 4, 3, 70, 0),
        "C5": (38, -40, 8, 3, 50, 1),
        "C7": (32, -53, 11, 3.2, 30, 2),
        "T2": (18, -60, 9, 3, 15, 0),
    },
    "semispinalis capitis": {
        "C0": (15, -55, 14, 6.5, 15, 2),
        "C1": (15, -53, 15, 7.5, 20, 2),
        "C3": (16, -50, 15, 7, 30, 3),
        "C5": (17, -48, 14, 6.5, 40, 3),
        "C7": (20, -50, 12, 6.5, 40, 2),
        "T1": (21, -51, 10, 6, 35, 2),
        "T3": (20, -52, 7, 4, 30, 0),
    },
    "semispinalis cervicis": {
        "C2": (9, -44, 8, 5, 60, 0),
        "C3": (9, -40, 9, 6, 65, 0),
        "C5": (12, -39, 10, 6.5, 60, 0),
        "C7": (13, -44, 11, 6.5, 65, 0),
        "T1": (13, -47, 10, 6, 65, 0),
        "T3": (12, -48, 8, 5, 70, 0),
    },
    "multifidus": {
        "C2": (13, -33, 6, 3, 50, 0),
        "C3": (13, -31, 8, 4, 40, 0),
        "C5": (15, -31, 9, 4.5, 40, 0),
        "C7": (13, -34, 9, 5, 50, 0),
        "T1": (12, -37, 9, 5, 60, 0),
        "T3": (11, -38, 8, 4.5, 70, 0),
    },
    "longissimus capitis": {
        "C0": (47, -24, 6, 3, 70, 0),
        "C1": (40, -26, 6, 3.5, 65, 0),
        "C3": (30, -31, 6, 4, 55, 0),
        "C5": (29, -33, 6, 4, 50, 0),
        "C7": (28, -40, 6, 4, 50, 0),
        "T1": (28, -44, 5, 4, 50, 0),
    },
    "longissimus cervicis": {
        "C3": (27, -22, 4, 3.5, 60, 0),
        "C5": (32, -26, 6, 4.5, 60, 0),
        "C7": (35, -32, 8, 6, 50, 0),
        "T1": (37, -37, 9, 7, 40, 0),
        "T3": (34, -42, 12, 8, 30, 0),
    },
    "inferior oblique": {"C1": (25, -34, 12, 5.5, 25, 0), "C2": (15, -40, 12, 5.5, 35, 0)},
    "rectus posterior": {"C0": (8, -48, 8, 4, 160, 0), "C1": (8, -44, 8, 4.5, 130, 0), "C2": (5, -45, 5, 3, 120, 0)},
    "superior oblique": {"C0": (30, -42, 9, 5, 40, 0), "C1": (34, -28, 7, 5, 50, 0)},
    "rectus lateralis": {"C0": (28, -12, 5, 4, 90, 0), "C1": (33, -11, 4, 3.5, 90, 0)},
    "rhomboid": {
        "C7": (16, -69, 11, 2, 165, 2),
        "T1": (32, -70, 24, 2.6, 160, 4),
        "T3": (44, -72, 34, 4, 160, 6),
        "T6": (40, -78, 36, 4.5, 165, 6),
    },
    "serratus posterior": {"C7": (14, -65, 9, 1.6, 15, 2), "T3": (34, -64, 22, 1.8, 20, 4)},
    "supraspinatus": {
        "T1": (108, -40, 24, 9, 160, 3),
        "T2": (112, -40, 30, 12, 160, 3),
        "T3": (115, -42, 26, 9, 160, 0),
    },
    "infraspinatus": {"T2": (125, -62, 24, 5, 30, 3), "T3": (118, -62, 40, 12, 30, 5), "T6": (110, -66, 46, 14, 30, 6)},
    "subscapularis": {
        "T2": (112, -28, 26, 6, 150, 0),
        "T3": (108, -30, 40, 11, 145, -4),
        "T6": (104, -40, 40, 13, 140, -5),
    },
    "serratus anterior": {
        "T1": (72, -26, 10, 4, 60, 3),
        "T3": (80, -28, 26, 4.5, 65, 6),
        "T6": (96, -28, 34, 5, 70, 8),
    },
    "deltoid": {
        "T1": (142, -26, 16, 5, 80, 8),
        "T2": (170, -18, 36, 9, 82, 14),
        "T3": (182, -14, 46, 12, 82, 16),
        "T6": (186, -10, 48, 13, 85, 16),
    },
    "pectoralis major": {"T2": (100, 36, 22, 3, 30, 3), "T3": (88, 50, 46, 6, 25, 5), "T6": (80, 84, 66, 9, 25, 8)},
    "pectoralis minor": {"T3": (84, 36, 22, 5, 30, 2), "T6": (78, 70, 34, 5, 30, 3)},
    "sternohyoid": {
        "C4": (7, 43, 6, 1.8, 10, 0),
        "C5": (8, 46, 7, 1.9, 20, 0),
        "C7": (10, 42, 8, 2.2, 15, 0),
        "T2": (15, 46, 9, 2.4, 10, 0),
    },
    "sternothyroid": {"C5": (17, 36, 7, 1.7, 130, 0), "C7": (15, 38, 9, 1.9, 150, 0), "T2": (14, 42, 9, 2, 165, 0)},
    "omohyoid": {
        "C4": (15, 40, 4, 1.8, 150, 0),
        "C6": (28, 28, 6, 2, 130, 0),
        "C7": (48, 20, 9, 2, 160, 0),
        "T1": (76, 0, 12, 2.4, 150, 0),
    },
}


class MusclePacking:
    """Nearest and second nearest muscle of each voxel: where they tie lies a fat plane."""

    def __init__(self, shape: tuple) -> None:
        self.nearest = np.full(shape, 40.0, np.float32)
        self.second = np.full(shape, 40.0, np.float32)

    def add(self, index: Index | None, distance: np.ndarray | None) -> None:
        """Take in one muscle."""
        if index is None:
            return
        first, second = self.nearest[index], self.second[index]
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)

    def cover(self, gap_mm: np.ndarray | float, pixel_mm: float) -> np.ndarray:
        """Share of muscle in each voxel, with fat planes of about ``gap_mm``."""
        pixel = np.float32(pixel_mm)
        inside = np.clip(0.5 - self.nearest / pixel, 0, 1)
        apart = np.clip((self.second - self.nearest - gap_mm) / pixel + 0.5, 0, 1)
        return inside * apart


def pack_muscles(f: Frames, fascia: np.ndarray, rng: np.random.Generator) -> MusclePacking:
    """All muscles of the neck and shoulders: paired ones by section, trapezius as a sheet under the fascia."""
    packing = MusclePacking(f.canvas.hu.shape)
    person, s = f.person, f.size
    swell = 2.8 * person.bulk - 0.6 * person.wear
    for levels in PAIRED.values():
        names = sorted(levels, key=f.level.get, reverse=True)
        top, bottom = f.level[names[0]] + 6 * s, f.level[names[-1]] - 6 * s
        rows = np.array([levels[n] for n in names])
        for side in (-1, 1):
            jitter = rng.normal(0, 0.9, (1, 2)), 1 + rng.normal(0, 0.07, (1, 2)), rng.normal(0, 4)
            keys = {}
            for n, row in zip(names, rows, strict=True):
                u, v, half, thick, angle, bend = row
                v -= 2.5 * np.clip((-v - 36) / 12, 0, 1)
                u, v = np.array([u, v]) * s + jitter[0][0]
                half, thick = np.array([half, thick * person.bulk]) * s * jitter[1][0]
                keys[n] = (side * u, v, half, thick, side * np.radians(angle + jitter[2]), bend * s)
            reach_mm = (rows[:, 2] + np.abs(rows[:, 5])).max() * s + 6
            wide = (side * rows[:, 0] * s).min() - reach_mm, (side * rows[:, 0] * s).max() + reach_mm
            deep = rows[:, 1].min() * s - reach_mm, rows[:, 1].max() * s + reach_mm
            index = f.neck_box(top, bottom, wide, deep)
            if index is None:
                continue
            u, v, half, thick, angle, bend = f.along(keys, index)
            height = f.heights[index[0]].astype(np.float32)[:, None, None]
            over = np.maximum(np.maximum(height - np.float32(top - 6 * s), np.float32(bottom + 6 * s) - height), 0)
            shrink = np.float32(1.0) - 0.75 * np.clip(over / np.float32(6 * s), 0, 1) ** 2
            if rows[:, 3].max() > 5:
                for at in names[1:-1]:
                    f.mark("muscle", f.from_neck(at, *keys[at][:2]))
            d = strip(f.u[index] - u, f.v[index] - v, half * shrink, thick * shrink, angle, bend)
            packing.add(index, np.maximum(d - np.float32(swell), fascia[index] + np.float32(0.6)))
    packing.add(*_trapezius(f, fascia, rng))
    return packing


def _trapezius(f: Frames, fascia: np.ndarray, rng: np.random.Generator) -> tuple[Index | None, np.ndarray | None]:
    """The trapezius: a sheet right under the fascia, from the nuchal line to the shoulder, thicker below."""
    s = f.size
    index = f.neck_box(f.level["C0"] + 8, f.heights[0], (-230, 230), (-160, 30))
    if index is None:
        return None, None
    keys = {
        "C0": (0.9, 14, 5),
        "C2": (1.3, 22, 5),
        "C4": (2.0, 40, 5),
        "C6": (3.2, 66, 4),
        "C7": (4.6, 96, 3),
        "T1": (5.5, 150, 3),
        "T3": (4.5, 110, 2),
        "T6": (3.2, 70, 1.5),
    }
    thick, width, _ = f.along(keys, index)
    thick = thick * np.float32(f.person.bulk * s)
    d = fascia[index]
    sheet = np.abs(d + thick + np.float32(0.4)) - thick
    u = np.abs(f.u[index])
    edge = np.maximum(u - width * np.float32(s), f.v[index] + np.float32(14 * s) - 0.1 * u)
    return index, np.maximum(sheet, edge * np.float32(0.3))
