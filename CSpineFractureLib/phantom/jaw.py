"""The lower jaw and the teeth.

Mandible after axial CT of adults: body about 28 mm tall and 11 mm thick, ramus 60 mm tall and 6 mm thick. Sizes of
teeth after Wheeler's Dental Anatomy: crowns from 5.4 mm (lower incisor) to 11 mm (molar) wide.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from CSpineFractureLib.phantom.frames import Frames
from CSpineFractureLib.phantom.sdf import Points, ellipsoid, smooth_max, smooth_min
from CSpineFractureLib.phantom.shapes import curve, polygon, ribbon_piece

DENTINE_HU, ENAMEL_HU, METAL_HU, PULP_HU = 1500.0, 2600.0, 3200.0, 150.0
# width along the arch, depth across it, crown height, root length (mm), middle incisor to second molar
UPPER = [
    (8.5, 7, 10, 13),
    (6.5, 6, 9, 13),
    (7.5, 8, 10, 17),
    (7, 9, 8.5, 14),
    (7, 9, 8.5, 14),
    (10.3, 11, 7.5, 13),
    (9.8, 11, 7, 12),
]
LOWER = [
    (5.4, 6, 8.8, 12.5),
    (5.8, 6.5, 9, 14),
    (7, 7.5, 10.5, 16),
    (7, 7.5, 8.5, 14),
    (7, 8, 8, 14.5),
    (11, 10.2, 7.5, 14),
    (10.5, 10, 7, 13),
]
BODY = [(44.0, 14, -24), (40, 28, -29), (34, 42, -31), (25, 54, -31.5), (13, 63.5, -31), (0, 67, -30.5)]
RAMUS = [
    (6, -27),
    (3.5, -14),
    (2.0, 4),
    (-1.5, 20),
    (-3.5, 27),
    (0.5, 30.5),
    (6, 28),
    (7.5, 20),
    (13, 15),
    (21, 19),
    (27, 27),
    (30, 22),
    (31, 6),
    (34, -10),
    (42, -20),
    (36, -43),
    (24, -41),
    (14, -36),
]


class Jaw:
    """Mandible and teeth of one person; ``open_mm`` is how far the mouth is open at the incisors."""

    def __init__(self, f: Frames, rng: np.random.Generator) -> None:
        self.f, self.rng = f, rng
        self.open_mm = float(np.clip(rng.gamma(1.2, 2.5) - 0.5, 0, 12))
        self.swing = np.float32(self.open_mm / 85.0)
        age = f.person.age
        self.missing = float(np.clip((age - 25) / 130, 0.02, 0.5)) * float(rng.uniform(0.3, 1.5))
        self.toothless = bool(rng.random() < np.clip((age - 60) / 120, 0, 0.25))
        self.metal = float(rng.choice([0.0, 0.12, 0.35], p=[0.4, 0.4, 0.2]))
        self.wide = float(rng.uniform(0.95, 1.05))

    def _swung(self, p: Points) -> Points:
        """Points in the frame of the closed jaw: it turns about the condyles."""
        c, s = np.cos(self.swing), np.sin(self.swing)
        y, z = p[1] - np.float32(0), p[2] - np.float32(25)
        return p[0], y * c - z * s, y * s + z * c + np.float32(25)

    def paint_mandible(self) -> None:
        """Body, angle, ramus, coronoid and condyle with a cortex of 2-3 mm over marrow and the nerve's canal."""
        f = self.f
        box = f.head_box((-60, -10, -62), (60, 82, 36), 3)
        if box is None:
            return
        p = self._swung(f.crop(f.head, box))
        x, y, z = np.abs(p[0]) / np.float32(self.wide), p[1], p[2]
        q = (x, y, z)
        lean = np.float32(50.0) - np.float32(0.36) * (y - 2) + np.float32(0.05) * z
        outline = polygon(y, z, RAMUS)
        thick = 2.3 + 1.4 * np.clip((-2 - z) / 20, 0, 1) + 0.8 * np.clip((y - 24) / 10, 0, 1)
        d = smooth_max(outline, np.abs(x - lean) - thick, 2.6)
        d = smooth_min(d, ellipsoid((x, y, z), (47.5, -1.0, 25.5), (9.0, 4.4, 5.2)), 3.0)
        low = 4.0 if self.toothless else 0.0
        rows = [(*n, 5.0 - 0.3 * low, 13.5 - low, 0.20 if k else 0.1, 0.0, 1.0) for k, n in enumerate(BODY)]
        rows[0] = (*BODY[0], 4.0, 12.5, 0.1, 0, 1)
        rows[-1] = (*BODY[-1], 5.8, 15.0 - low, 0.0, -0.22, 1)
        rows = curve(np.array(rows), 9.0)
        rows[:, 2] -= 0.5 * low
        mirrored = rows[-2] * np.array([-1, 1, 1, 1, 1, -1, 1, 1])
        path = [*rows, mirrored]
        body = None
        for a, b in pairwise(path):
            piece = ribbon_piece(q, np.asarray(a), np.asarray(b))
            body = piece if body is None else np.minimum(body, piece)
        d = smooth_min(d, body, 4.0)
        d = smooth_min(d, ellipsoid(q, (5, 70.5, -42), (9, 4.5, 5.5)), 4.0)
        d = d + 0.35 * f.fine[box] + 0.3 * f.middle[box]
        d = np.maximum(d, (2.0 - f.bone[box]) / f.size)
        cortex = np.float32(1.5) + 1.3 * np.clip((-28 - z) / 14, 0, 1)
        marrow = np.clip((-d - cortex) / 0.8, 0, 1)
        hard = f.person.cortical_hu * 1.12 + 40 * f.middle[box]
        soft = f.person.trabecular_hu * 0.8 + 110 * f.fine[box] + 70 * f.middle[box]
        canal = np.clip(2.2 - np.hypot(z + 33 - 0.25 * np.clip(28 - y, 0, 30), -d - 5.0), 0, 1)
        hu = hard + (soft - hard) * marrow
        f.paint(box, d * f.size, hu + (40 - hu) * canal * marrow)

    def paint_teeth(self) -> None:
        """Two arches of single teeth with crowns, roots and pulp, some missing, some with metal."""
        if self.toothless:
            return
        for table, upper in ((UPPER, True), (LOWER, False)):
            for side in (-1, 1):
                self._row(table, upper, side)

    def _row(self, table: list, upper: bool, side: int) -> None:
        half, front, rear = (25.5, 78.0, 30.0) if upper else (24.5, 74.5, 28.0)
        angles = np.linspace(np.pi / 2, 0.0, 400)
        line = np.stack([half * np.cos(angles), rear + (front - rear) * np.sin(angles)], axis=1)
        run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        at = 0.15
        for n, (wide, deep, crown, root) in enumerate(table):
            place = at + wide / 2
            at += wide + 0.15
            gone = self.rng.random() < self.missing * (1.5 if n > 4 else 1.0)
            shift, lift, twist = self.rng.normal(0, 0.3, 2), self.rng.normal(0, 0.4), self.rng.normal(0, 0.08)
            metal = self.rng.random() < self.metal * (1.6 if n > 3 else 0.3)
            whole = self.rng.random() < 0.4
            if gone or place > run[-1]:
                continue
            x, y = np.interp(place, run, line[:, 0]), np.interp(place, run, line[:, 1])
            ahead = np.interp(place + 0.5, run, line[:, 0]) - x, np.interp(place + 0.5, run, line[:, 1]) - y
            angle = np.arctan2(ahead[1], ahead[0]) + twist
            centre = (x + shift[0], y + shift[1], -4.0 + lift + (0.9 if upper else -0.9))
            self._tooth(centre, angle, (wide, deep, crown, root), upper, side, metal, whole, n)

    def _tooth(
        self, centre: tuple, angle: float, size: tuple, upper: bool, side: int, metal: bool, whole: bool, n: int
    ) -> None:
        f = self.f
        wide, deep, crown, root = size
        sign = 1 if upper else -1
        reach = max(wide, deep) / 2 + 3
        ends = sorted([centre[2] - sign * 2, centre[2] + sign * (crown + root + 3)])
        drop = 0 if upper else self.open_mm
        low = (side * centre[0] - reach, centre[1] - reach - 4, ends[0] - drop - 1)
        high = (side * centre[0] + reach, centre[1] + reach + 4, ends[1] + 1)
        box = f.head_box(low, high, 3)
        if box is None:
            return
        p = f.crop(f.head, box)
        x, y, z = p if upper else self._swung(p)
        x, y, t = x * side - np.float32(centre[0]), y - np.float32(centre[1]), (z - np.float32(centre[2])) * sign
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        lean = (0.10 if n < 3 else 0.02) * (t - crown)
        along, across = x * c + y * s, y * c - x * s + lean
        share = np.clip(t / crown, 0, 1)
        taper = np.clip((t - crown) / root, 0, 1)
        edge = 0.45 + 0.55 * np.clip(share * 2.2, 0, 1) if n < 3 else 0.9 + 0.1 * share
        a = np.float32(wide / 2) * (1 - 0.16 * share**2 - 0.60 * taper)
        b = np.float32(deep / 2) * edge * (1 - 0.12 * share**2 - 0.52 * taper)
        ring = ((np.abs(along / a) ** 3 + np.abs(across / b) ** 3) ** np.float32(1 / 3) - 1) * np.minimum(a, b)
        if n > 4:
            split = np.minimum(np.abs(along), np.abs(across) + 2.2) - np.float32(0.2 + 1.1) * np.clip(
                taper * 3 - 0.6, 0, 1
            )
            ring = np.maximum(ring, -np.where(taper > 0.2, split, 9.0))
            cusps = np.float32(0.9) * np.cos(along * 6.3 / wide) * np.cos(across * 6.3 / deep)
        else:
            cusps = np.float32(0.0)
        d = smooth_max(ring, np.maximum(-t + 0.3 - 0.3 * cusps, t - np.float32(crown + root)), 1.2)
        enamel = np.clip((np.float32(crown) - t) / 1.5, 0, 1) * np.clip((1.5 + d) / 1.0, 0, 1)
        pulp = np.clip((-1.9 - ring) / 0.7, 0, 1) * (t > 0.35 * crown)
        hu = DENTINE_HU + (ENAMEL_HU - DENTINE_HU) * enamel
        hu = hu + (PULP_HU - hu) * pulp * 0.6
        if metal:
            share = np.float32(1.0) if whole else np.clip((2.6 - np.abs(along)) / 1.0, 0, 1)
            hu = hu + (METAL_HU - hu) * np.clip((crown * (0.95 if whole else 0.45) - t) / 0.8, 0, 1) * share
        f.paint(box, d * f.size, hu)
