"""Pharynx, larynx, windpipe and gullet with hyoid, cartilages and the thyroid gland.

Sizes: larynx after Eckel et al., Surg Radiol Anat 1994;16:31-36; trachea 16-20 mm wide (Breatnach et al., AJR
1984;142:903-906); hyoid as seen on CT of adults.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from CSpineFractureLib.phantom.frames import Frames, Index
from CSpineFractureLib.phantom.sdf import ellipsoid, smooth_max, smooth_min
from CSpineFractureLib.phantom.shapes import broken_line, curve, ribbon_piece, superellipse

AIR_HU, MUCOSA_HU, CARTILAGE_HU = -995.0, 48.0, 88.0


class Throat:
    """The throat of one person; heights of its parts follow C3-C6, lower in men and with age."""

    def __init__(self, f: Frames, rng: np.random.Generator) -> None:
        self.f, self.rng = f, rng
        p, s = f.person, f.size
        low = rng.normal(0, 2.5) + (0 if p.male else 3.0) - 4 * np.clip((p.age - 50) / 40, 0, 1)
        self.hyoid = f.level["C4"] + (5 + low) * s
        drop = lambda mm: self.hyoid - mm * s * (1.0 if p.male else 0.9)  # noqa: E731
        self.tip, self.fold, self.cord, self.ring = drop(-17), drop(13), drop(27), drop(40)
        self.wide, self.open = rng.uniform(0.85, 1.2), rng.uniform(0.72, 1.15)
        self.big = 1.0 if p.male else 0.87
        f.mark("nasopharynx", f.from_head((0, 15, 22)))
        for level in ("T1", "T2", "T3"):
            f.mark("air", self._world(0, 0, f.level[level]))
        for side in (-1, 1):
            f.mark("thyroid", self._world(side * 17 * s, -1, self.ring - 9 * s))

    def paint(self) -> None:
        """From outside inwards: walls, glands, cartilage, air, then what stands in the air."""
        self._walls()
        self._gullet()
        self._thyroid_gland()
        self._airway()
        self._epiglottis()
        self._thyroid_cartilage()
        self._cricoid()
        self._hyoid()

    def _lateral(self, top: float, bottom: float, half: float, ahead: float, behind: float) -> Index | None:
        s = self.f.size
        return self.f.neck_box(top, bottom, (-half * s, half * s), (-behind * s, ahead * s), throat=True)

    def _height(self, index: Index) -> np.ndarray:
        return self.f.heights[index[0]].astype(np.float32)[:, None, None]

    def _airway_keys(self) -> dict[float, tuple[float, float, float, float]]:
        """Half width, half depth, forward shift, and squareness at heights."""
        f, w, o = self.f, self.wide, self.open
        z = lambda h: float(f.from_head((0, 14, h))[2])  # noqa: E731
        return {
            z(34): (6 * w, 7, 3, 2.0),
            z(24): (11 * w, 9.5, 0.5, 2.4),
            z(12): (9 * w, 6 * o, -1.0, 2.2),
            z(2): (7 * w, 3.6 * o, -2.0, 2.0),
            z(-14): (9 * w, 5.5 * o, 0, 2.0),
            self.tip + 4: (12 * w, 6.5 * o, 0, 2.2),
            self.hyoid + 4: (11 * w, 6.0 * o, 0, 2.2),
            self.fold + 3: (7.5 * w, 7.5, 1, 2.0),
            self.cord + 5: (5, 9, 2, 1.8),
            self.cord: (2.3, 9.5, 2, 1.6),
            self.cord - 5: (5, 9, 1, 2.0),
            self.ring: (7.2, 8.4, 0, 2.1),
            self.ring - 16: (8.3, 8.2, 0, 2.2),
            f.level["T3"]: (8.6, 8.0, 0, 2.3),
            f.level["T6"]: (8.8, 8.0, 0, 2.3),
        }

    def _section(self, index: Index, grow: float = 0.0) -> np.ndarray:
        f, s = self.f, self.f.size
        keys = {
            h: (a * s * (self.big if h < self.tip else 1), b * s * (self.big if h < self.tip else 1), c * s, p)
            for h, (a, b, c, p) in self._airway_keys().items()
        }
        a, b, c, power = f.along(keys, index)
        x, y = f.tu[index], f.tv[index] - c
        flat = 1 + 0.18 * np.clip(-y / b, 0, 1)
        q = (np.abs(x / (a + grow)) ** power + np.abs(y * flat / (b + grow)) ** power) ** (1 / power)
        d = (q - 1) * np.minimum(a + grow, b + grow)
        roof = self._height(index) - np.float32(f.from_head((0, 14, 32))[2] + grow)
        return np.maximum(d, roof)

    def _walls(self) -> None:
        """Pharyngeal constrictors, tongue base and larynx: muscle and mucosa around the air."""
        f, s = self.f, self.f.size
        index = self._lateral(float(f.from_head((0, 14, 36))[2]), f.heights[0], 34, 44, 26)
        if index is None:
            return
        grow = 3.6 * s
        d = self._section(index, grow)
        z = self._height(index)
        x, y = f.tu[index], f.tv[index]
        larynx = superellipse(x, y - 8 * s, 20 * s * self.big, 23 * s * self.big, 2.2)
        ends = np.maximum(z - np.float32(self.hyoid), np.float32(self.ring + 6 * s) - z)
        d = smooth_min(d, smooth_max(larynx, ends, 8.0), 5.0)
        hu = MUCOSA_HU + 6 * f.middle[index]
        gap = (
            np.clip(0.35 - np.abs(superellipse(x, y - 12 * s, 12 * s, 12 * s)) / 5, 0, 0.35)
            * (z < self.hyoid - 6)
            * (z > self.cord)
        )
        f.paint(index, d, hu + (f.person.fat_hu - hu) * gap, 2.4)

    def _airway(self) -> None:
        f, s = self.f, self.f.size
        index = self._lateral(float(f.from_head((0, 14, 36))[2]), f.heights[0], 24, 26, 20)
        if index is None:
            return
        d = self._section(index)
        z, x, y = self._height(index), f.tu[index], f.tv[index]
        for side in (-1, 1):
            valley = ellipsoid((x, y, z), (side * 6.5 * s, 9 * s, self.hyoid + 3), (5.2 * s, 3.6 * s, 7 * s))
            d = smooth_min(d, valley, 2.0)
            sinus = ellipsoid(
                (x + side * (z - np.float32(self.fold)) * 0.18 * -1, y, z),
                (side * 13 * s * self.big, -2 * s, self.fold),
                (3.4 * s * self.rng.uniform(0.6, 1.2), 5.5 * s, 12 * s),
            )
            d = smooth_min(d, sinus, 1.5)
        f.paint(index, d + 0.4 * f.fine[index], np.float32(AIR_HU))

    def _epiglottis(self) -> None:
        """A leaf that rises from the larynx behind the tongue base into the air."""
        f, s = self.f, self.f.size
        index = self._lateral(self.tip + 6, self.hyoid - 12, 16, 22, 16)
        if index is None:
            return
        z, x, y = self._height(index), f.tu[index], f.tv[index]
        t = np.clip((z - np.float32(self.hyoid - 8 * s)) / np.float32(self.tip - self.hyoid + 8 * s), 0, 1)
        lean = (9.0 - 8.0 * t) * s
        bent = y - lean + (x / np.float32(9 * s)) ** 2 * np.float32(2.0 * s)
        width = (3.5 + 7.5 * np.sin(np.pi * np.clip(0.15 + 0.7 * t, 0, 1))) * s
        d = np.maximum(np.abs(bent) - np.float32(1.3 * s), np.abs(x) - width)
        d = np.maximum(d, np.maximum(z - np.float32(self.tip), np.float32(self.hyoid - 8 * s) - z))
        f.paint(index, d, np.float32(72.0))

    def _gullet(self) -> None:
        """Oesophagus behind and left of the trachea, collapsed, sometimes with a little air."""
        f, s = self.f, self.f.size
        index = self._lateral(self.ring + 4, f.heights[0], 22, 10, 30)
        if index is None:
            return
        x, y, z = f.tu[index], f.tv[index], self._height(index)
        left = np.float32(-3.0 * s) * np.clip((self.ring - z) / 40, 0, 1.3)
        back = np.float32(-14.0 * s)
        d = np.maximum(
            superellipse(x - left, y - back, np.float32(9.0 * s), np.float32(4.6 * s), 2.2), z - np.float32(self.ring)
        )
        f.paint(index, d + 0.4 * f.fine[index], 44 + 5 * f.middle[index])
        if self.rng.random() < 0.45:
            lumen = superellipse(x - left - 1, y - back, np.float32(3.0 * s), np.float32(1.5 * s))
            patch = f.broad[index] - 0.3
            f.paint(
                index, np.maximum(lumen, np.maximum(-2.0 * patch, z - np.float32(self.ring - 12))), np.float32(-700.0)
            )

    def _thyroid_gland(self) -> None:
        """Two lobes beside the trachea and an isthmus, bright for their iodine; nodules in some."""
        f, s, rng = self.f, self.f.size, self.rng
        index = self._lateral(self.ring + 22 * s, self.ring - 42 * s, 36, 24, 24)
        if index is None:
            return
        x, y, z = f.tu[index], f.tv[index], self._height(index)
        d = None
        for side in (-1, 1):
            big = rng.uniform(0.85, 1.25)
            lean = (x - side * np.float32(2.0 * s) * (self.ring - z) / 22, y + 0.18 * (z - self.ring), z)
            lobe = ellipsoid(
                lean, (side * 15.5 * s, 0.0, self.ring - 9 * s), (8.2 * s * big, 10.5 * s * big, 25 * s * big)
            )
            d = lobe if d is None else np.minimum(d, lobe)
        sweep = np.abs(np.sqrt(x * x + y * y) - np.float32(12.5 * s)) - np.float32(2.4 * s)
        isthmus = np.maximum(np.maximum(sweep, -y + 2), np.abs(z - np.float32(self.ring - 18 * s)) - np.float32(7 * s))
        d = smooth_min(d, isthmus, 3.0) + 0.5 * f.fine[index]
        air = self._section(index) - np.float32(3.0 * s)
        lobes = np.float32(rng.uniform(90, 112)) + 6 * f.middle[index]
        for _ in range(int(rng.poisson(0.4))):
            spot = (rng.choice([-1, 1]) * 16 * s, rng.uniform(-4, 4), self.ring + rng.uniform(-22, 4))
            nodule = ellipsoid((x, y, z), spot, (rng.uniform(2, 6),) * 3)
            lobes = np.where(nodule < 0, 76.0, lobes)
        f.paint(index, np.maximum(d, -air), lobes)

    def _cartilage_hu(self, index: Index, share: float) -> np.ndarray:
        """Cartilage with patches of calcium, more in the old."""
        f = self.f
        patch = np.clip(1.6 * (share - 0.5) + 0.55 * f.broad[index] + 0.45 * f.middle[index], 0, 1)
        return CARTILAGE_HU + (420 - CARTILAGE_HU) * patch

    def _thyroid_cartilage(self) -> None:
        """Two plates that meet in front in a V, with upper and lower horns; mean height 28 mm."""
        f, s = self.f, self.f.size * self.big
        index = self._lateral(self.hyoid, self.ring - 4, 30, 40, 24)
        if index is None:
            return
        x, y, z = np.abs(f.tu[index] * (1 + f.person.uneven)), f.tv[index], self._height(index)
        lean = np.float32(0.12) * (z - np.float32(self.cord))
        front = (26.0 if f.person.male else 22.0) * s
        plate = broken_line(
            x, y - lean, [(0.0, front), (9 * s, front - 14 * s), (17.5 * s, 0.5 * s), (18.5 * s, -9 * s)]
        )
        t = np.clip((y - np.float32(-9 * s)) / np.float32(front + 9 * s), 0, 1)
        upper = np.float32(self.hyoid - 9 * s) - np.float32(9 * s) * t**4 - np.float32(2 * s) * (1 - t)
        lower = np.float32(self.ring + 4 * s) + np.float32(3 * s) * t
        d = np.maximum(plate - np.float32(1.6 * s), np.maximum(z - upper, lower - z))
        horn = np.sqrt((x - np.float32(18.3 * s)) ** 2 + (y - lean + np.float32(9.5 * s)) ** 2) - np.float32(1.7 * s)
        d = np.minimum(d, np.maximum(horn, np.maximum(z - np.float32(self.hyoid - 1), np.float32(self.ring - 2) - z)))
        f.paint(index, d, self._cartilage_hu(index, f.person.calcium))

    def _cricoid(self) -> None:
        """A signet ring, low in front and tall behind, with the arytenoids on it."""
        f, s = self.f, self.f.size * self.big
        index = self._lateral(self.cord + 6, self.ring - 14, 24, 22, 22)
        if index is None:
            return
        x, y, z = f.tu[index], f.tv[index], self._height(index)
        ring = np.abs(superellipse(x, y, np.float32(10.8 * s), np.float32(11.8 * s))) - np.float32(1.9 * s)
        behind = np.clip(0.5 - y / np.float32(20 * s), 0, 1)
        upper = np.float32(self.ring + 3 * s) + np.float32(15 * s) * behind**1.6
        d = np.maximum(ring, np.maximum(z - upper, np.float32(self.ring - 4 * s) - z))
        for side in (-1, 1):
            small = ellipsoid((x, y, z), (side * 5.0 * s, -8.5 * s, self.cord - 1), (2.4 * s, 3.0 * s, 6 * s))
            d = np.minimum(d, small)
        f.paint(index, d, self._cartilage_hu(index, f.person.calcium + 0.12))
        rings = self._lateral(self.ring - 6, f.heights[0], 18, 20, 16)
        if rings is None:
            return
        z = self._height(rings)
        wall = np.abs(self._section(rings) - np.float32(1.6 * s)) - np.float32(1.2 * s)
        gaps = np.sin((z - np.float32(self.ring)) * np.float32(2 * np.pi / (4.2 * s)))
        d = np.maximum(wall, np.maximum(-f.tv[rings] - 4 * s, z - np.float32(self.ring - 6 * s)))
        hard = 75 + 60 * f.person.calcium * np.clip(gaps, 0, 1) * np.clip(f.middle[rings] + 0.6, 0, 1.5)
        f.paint(rings, d, hard)

    def _hyoid(self) -> None:
        """Body, greater horns that rise behind, small lesser horns; grown together or not."""
        f, s, rng = self.f, self.f.size, self.rng
        middle = self._world(0, 0, self.hyoid)
        reach = 46 * s
        index = f.box(np.subtract(middle, (reach, reach, 22 * s)), np.add(middle, (reach, reach, 30 * s)), 0)
        if index is None:
            return
        p = f.crop(f.world, index)
        d = None
        front, wide = rng.uniform(22, 26), rng.uniform(0.92, 1.08)
        rise = rng.uniform(1, 6)
        body = [(-11, front - 3.5, 0, 2.6, 4.6), (0, front, 0.5, 2.8, 5.4), (11, front - 3.5, 0, 2.6, 4.6)]
        parts = [body]
        for side in (-1, 1):
            tilt = rng.normal(0, 1)
            parts.append(
                [
                    (side * 12, front - 4.0, 0.5, 2.2, 3.4),
                    (side * 17 * wide, front - 14, 1 + 0.3 * rise, 1.6, 2.8),
                    (side * 20 * wide, front - 26, 2 + 0.7 * rise + tilt, 1.4, 2.2),
                    (side * 21.5 * wide, front - 36, 3 + rise + tilt, 1.9, 2.3),
                ]
            )
            parts.append([(side * 11.5, front - 3.5, 2, 1.5, 1.5), (side * 12.5, front - 5, 8, 1.0, 1.0)])
        for part in parts:
            nodes = np.array(
                [
                    (*self._world(x * s, y * s, self.hyoid + z * s), a * s * 0.85, b * s * 0.85, 0, 0.45, 1)
                    for x, y, z, a, b in part
                ]
            )
            if len(part) > 2:
                nodes = curve(nodes, 5.0)
            elif part[0][3] == part[0][4]:
                nodes[:, 5:] = (0, 1, 0)
            for a, b in pairwise(nodes):
                piece = ribbon_piece(p, a, b)
                d = piece if d is None else np.minimum(d, piece)
        d = smooth_max(d + 0.25 * f.fine[index], 1.6 - f.bone[index], 0.5)
        marrow = np.clip((-d - 1.2) / 0.8, 0, 1)
        hu = f.person.cortical_hu * 0.72 * (1 - marrow) + 280 * marrow
        f.paint(index, d, hu)

    def _world(self, x: float, y: float, height: float) -> np.ndarray:
        """RAS mm of a point of the throat frame."""
        f = self.f
        r, a, turn = (float(np.interp(height, f.heights, q)) for q in (f.throat[0], f.throat[1], f.turn))
        c, s = np.cos(turn), np.sin(turn)
        return np.array([r + x * c - y * s, a + x * s + y * c, height])
