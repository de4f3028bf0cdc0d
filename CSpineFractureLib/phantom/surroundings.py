"""Everything around the cervical vertebrae: head, neck, shoulders, airway and the things that lie in the beam."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.phantom.morphometry import Spine
from CSpineFractureLib.phantom.sdf import Canvas, Points, arc_tube, capsule, ellipsoid, rounded_box, smooth_min

BIG = 400.0


def noise_field(rng: np.random.Generator, shape: tuple, period_voxels: float) -> np.ndarray:
    """Smooth random field, float32 ``[k, j, i]``, about -1..1, with features of the given size."""
    small = [max(2, int(np.ceil(n / period_voxels)) + 2) for n in shape]
    coarse = rng.standard_normal(small).astype(np.float32)
    field = ndimage.zoom(coarse, [n / m for n, m in zip(shape, small, strict=True)], order=1)
    return field[tuple(slice(0, n) for n in shape)]


class Surroundings:
    """Paints one person around a spine on a coarse canvas."""

    def __init__(self, spine: Spine, rng: np.random.Generator) -> None:
        self.spine, self.rng = spine, rng
        self.size = spine.size
        atlas = spine["C1"]
        lean = np.degrees(np.arcsin(np.clip(atlas.axes[2][1], -1, 1)))
        angle = np.radians(np.clip(spine.extension_deg + 0.8 * lean, -35, 35))
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        self.head_axes, self.head_origin = turn @ atlas.axes, atlas.centre
        self.bone_hu = float(rng.uniform(700, 1300))

    def paint(self, canvas: Canvas) -> None:
        """Soft tissue first, then air, then bone, on the whole canvas (HU)."""
        self._soft(canvas)
        self._face(canvas)
        self._airway(canvas)
        self._neck_structures(canvas)
        self._thorax(canvas)
        self._head(canvas)
        self._couch(canvas)

    # -- soft tissue -------------------------------------------------------------------------------------------------
    def _outline(self, s: np.ndarray) -> tuple[np.ndarray, ...]:
        """Half width, front and back (A, mm) and midline A of the skin at heights ``s``."""
        c = {v.level: v.centre for v in self.spine.vertebrae}
        z = self.size
        at = np.array(
            [c["T3"][2] - 20, c["T1"][2], c["C7"][2] + 4, c["C5"][2], c["C3"][2], c["C1"][2] - 6, c["C1"][2] + 25]
        )
        mid = np.array([c["T3"][1], c["T1"][1], c["C7"][1], c["C5"][1], c["C3"][1], c["C1"][1] - 12, c["C1"][1] - 15])
        fat = self.fat
        width = np.array([205, 165, 95, 62, 60, 70, 76]) * z + fat * np.array([2, 2, 1.5, 1, 0.8, 0.3, 0])
        front = np.array([85, 60, 56, 56, 72, 98, 104]) * z + fat * np.array([1, 1, 1, 1, 0.8, 0.2, 0])
        back = np.array([100, 92, 82, 68, 66, 74, 92]) * z + fat * np.array([1.5, 1.5, 1.3, 1, 0.8, 0.3, 0])
        order = np.argsort(at)
        pick = lambda v: np.interp(s, at[order], v[order]).astype(np.float32)  # noqa: E731
        return pick(width), pick(front), pick(back), pick(mid)

    def _soft(self, canvas: Canvas) -> None:
        rng = self.rng
        self.fat = float(rng.gamma(2.0, 4.0))
        _, (r, a, s) = canvas.window((-BIG,) * 3, (BIG,) * 3)
        width, front, back, mid = self._outline(s)
        y = a - mid
        depth = np.where(y > 0, front, back)
        q = (np.abs(r / width) ** 2.4 + np.abs(y / depth) ** 2.4) ** (1 / 2.4)
        inner = np.float32(1.0) - (4 + 0.6 * self.fat) / np.minimum(width, depth)
        coarse = noise_field(rng, canvas.hu.shape, 9)
        muscle = 52 + 8 * noise_field(rng, canvas.hu.shape, 4)
        tissue = np.where(coarse > 0.55 - 0.03 * self.fat, -85.0, muscle)
        hu = np.where(q < inner, tissue, -95.0)
        hu = np.where(q > 1 - 2.0 / np.minimum(width, depth), 30.0, hu)
        body = np.clip((1.0 - q) * 30 + 0.5, 0, 1)
        canvas.hu += body * (hu - canvas.hu)

    def _face(self, canvas: Canvas) -> None:
        """Soft tissue of face, chin and scalp, which follow the head and not the neck."""
        rng = self.rng
        cheek, chin = (0, 40, 4), (0, 60, -30)
        fat = 0.3 * self.fat
        for centre, radii in ((cheek, (66 + fat, 72, 62)), (chin, (42 + fat, 42, 30)), ((0, -18, 78), (76, 96, 70))):
            self._paint_head(
                canvas,
                centre,
                110,
                lambda q, c=centre, r=radii: ellipsoid(q, c, r),
                lambda d, p: np.where(d > -2, 30.0, np.where(d > -4 - fat, -95.0, 45.0)),
            )
        cavity = (0, 52, 0 - rng.uniform(0, 6))
        if rng.random() < 0.5:
            self._paint_head(canvas, cavity, 40, lambda q: ellipsoid(q, cavity, (16, 26, rng.uniform(2, 7))), -950.0)

    def _in_front(self, level: str, ahead: float) -> tuple[float, float, float]:
        v = self.spine[level]
        return (float(v.centre[0]), float(v.centre[1] + v.depth / 2 + ahead * self.size), float(v.centre[2]))

    def _airway(self, canvas: Canvas) -> None:
        rng, z = self.rng, self.size
        ahead = rng.uniform(11, 19)
        points = [
            self._in_front(level, ahead + extra)
            for level, extra in (("C3", 2), ("C4", 6), ("C5", 6), ("C6", 3), ("C7", 3), ("T1", 3), ("T3", 6))
        ]
        top = tuple(self.head_origin + np.array([0, 14 * z, 14 * z]))
        radii = [7, rng.uniform(5, 10), rng.uniform(5, 9), rng.uniform(3, 8), 8, 8.5, 8.5, 8.5]
        points = [top, *points]
        for n in range(len(points) - 1):
            low = tuple(np.minimum(points[n], points[n + 1]) - 14)
            high = tuple(np.maximum(points[n], points[n + 1]) + 14)
            canvas.paint(
                low, high, lambda p, n=n: capsule(p, points[n], points[n + 1], radii[n] * z, radii[n + 1] * z), -980
            )

    def _neck_structures(self, canvas: Canvas) -> None:
        """Hyoid, partly calcified thyroid and cricoid cartilage, carotid plaques, vessels with contrast."""
        rng, z = self.rng, self.size
        x, y, s = self._in_front("C4", rng.uniform(14, 22))
        s += rng.uniform(-4, 14)
        box = lambda c, m: (tuple(np.subtract(c, m)), tuple(np.add(c, m)))  # noqa: E731
        canvas.paint(
            *box((x, y, s), 40),
            lambda p: arc_tube(p, (x, y - 4, s), (19 * z, 24 * z), (5, 175), 2.3 * z, 1.3),
            rng.uniform(250, 800),
        )
        calcified = rng.uniform(90, 500)
        t = (x, y + 10 * z, s - 24 * z)
        for side in (-1, 1):
            canvas.paint(
                *box(t, 40),
                lambda p, k=side: capsule(p, t, (x + k * 19 * z, t[1] - 27 * z, t[2] + 2), 1.1 * z, flat=8.0),
                calcified,
            )
        c = self._in_front("C6", 14)
        canvas.paint(
            *box(c, 30), lambda p: arc_tube(p, c, (11 * z, 12 * z), (0, 360), 1.6 * z, 2.5), rng.uniform(90, 450)
        )
        vessel = float(rng.choice([45.0, 55.0, rng.uniform(150, 380)]))
        for side in (-1, 1):
            for out, ahead, radius in ((26, 2, 3.5), (31, -1, 5.0)):
                a, b = (self._in_front(level, ahead) for level in ("C2", "T1"))
                start, end = (a[0] + side * out * z, *a[1:]), (b[0] + side * (out - 8) * z, *b[1:])
                low, high = np.minimum(start, end) - 10, np.maximum(start, end) + 10
                canvas.paint(
                    tuple(low), tuple(high), lambda p, s0=start, e0=end, rr=radius: capsule(p, s0, e0, rr * z), vessel
                )
            if rng.random() < 0.3:
                spot = (x + side * rng.uniform(20, 30) * z, y - rng.uniform(8, 20), s + rng.uniform(-15, 15))
                canvas.paint(*box(spot, 8), lambda p, q=spot: ellipsoid(p, q, (2.2, 2.8, 3.5)), rng.uniform(300, 900))

    # -- bones -------------------------------------------------------------------------------------------------------
    def _shell(self, cortex: float, inside: float):
        """HU by depth: cortex of the given thickness (mm) over a spongy inside."""
        return lambda distance, _p: np.where(distance > -cortex, self.bone_hu, np.float32(inside))

    def _thorax(self, canvas: Canvas) -> None:
        rng, z = self.rng, self.size
        t1, t3 = self.spine["T1"].centre, self.spine["T3"].centre
        for side in (-1, 1):
            lung = (side * 46 * z, t3[1] + 22 * z, t3[2] - 22)
            canvas.paint(
                tuple(np.subtract(lung, 75)),
                tuple(np.add(lung, 75)),
                lambda p, c=lung: ellipsoid(p, c, (36 * z, 50 * z, 50 * z)),
                -820,
            )
        for n, level in enumerate(("T1", "T2", "T3")):
            v = self.spine[level]
            width, length = (44 + 14 * n) * z, (46 + 12 * n) * z
            slope = 0.45 + 0.1 * n
            for side in (-1, 1):

                def rib(p: Points, k=side, v=v, w=width, le=length, sl=slope):
                    q = (
                        (p[0] - v.centre[0]) * k,
                        p[1] - v.centre[1] + 10 * z,
                        p[2] - v.centre[2] + (p[1] - v.centre[1] + 10 * z) * sl,
                    )
                    return arc_tube(q, (14 * z, le * 0.72, 0), (w, le), (-92, 75), 3.2 * z, 1.7)

                canvas.paint(tuple(v.centre - 115), tuple(v.centre + 115), rib, self._shell(1.5, 180))
        for side in (-1, 1):
            start = (side * 14 * z, t1[1] + 42 * z, t3[2] + 8)
            end = (side * 150 * z, t1[1] - 14 * z, t1[2] + rng.uniform(-12, 14))
            low, high = np.minimum(start, end) - 12, np.maximum(start, end) + 12
            canvas.paint(
                tuple(low), tuple(high), lambda p, s0=start, e0=end: capsule(p, s0, e0, 5.8 * z), self._shell(2.0, 150)
            )
            head = (side * 165 * z, t1[1] - 22 * z, t1[2] - rng.uniform(8, 30))
            canvas.paint(
                tuple(np.subtract(head, 30)),
                tuple(np.add(head, 30)),
                lambda p, c=head: ellipsoid(p, c, (23 * z, 23 * z, 23 * z)),
                self._shell(2.0, 160),
            )
            blade = [(side * 140 * z, t1[1] - 45 * z, t1[2] - 5), (side * 85 * z, t1[1] - 80 * z, t3[2] - 5)]
            low, high = np.minimum(*blade) - 25, np.maximum(*blade) + 25
            canvas.paint(
                tuple(low),
                tuple(high),
                lambda p, b=blade: capsule(p, b[0], b[1], 2.4 * z, flat=9.0),
                self._shell(1.2, 250),
            )
        manubrium = (0.0, t3[1] + 62 * z, t3[2] - 18)
        canvas.paint(
            tuple(np.subtract(manubrium, 35)),
            tuple(np.add(manubrium, 35)),
            lambda p: rounded_box(p, manubrium, (24 * z, 6 * z, 24 * z), 5),
            self._shell(1.4, 150),
        )

    def _to_head(self, p: Points) -> Points:
        x, y, z = (q - np.float32(c) for q, c in zip(p, self.head_origin, strict=True))
        m = self.head_axes.astype(np.float32) / np.float32(self.size)
        return tuple(m[n, 0] * x + m[n, 1] * y + m[n, 2] * z for n in range(3))

    def _paint_head(self, canvas: Canvas, centre: tuple, margin: float, body, hu) -> None:
        """Paint a body given in head coordinates (mm of a mean head, origin at the anterior arch of C1)."""
        middle = self.head_origin + np.asarray(centre, float) * self.size @ self.head_axes
        scale = np.float32(self.size)
        canvas.paint(
            tuple(middle - margin * self.size),
            tuple(middle + margin * self.size),
            lambda p: body(self._to_head(p)) * scale,
            hu,
        )

    def _head(self, canvas: Canvas) -> None:
        rng = self.rng
        brain = (0, -18, 78)
        skull = (69, 88, 62)
        wall = rng.uniform(4.5, 8)

        def cranium(q: Points) -> np.ndarray:
            return ellipsoid(q, brain, skull)

        self._paint_head(canvas, brain, 150, lambda q: ellipsoid(q, brain, (75, 95, 69)), 25.0)
        self._paint_head(
            canvas,
            brain,
            150,
            cranium,
            lambda d, p: np.where(
                d > -wall, np.where(d > -1.8, self.bone_hu, np.where(d > -wall + 1.6, 500, self.bone_hu)), 35.0
            ),
        )
        hole = (0, -25, 15)
        self._paint_head(
            canvas, hole, 26, lambda q: np.maximum(ellipsoid(q, hole, (15, 18, 40)), np.abs(q[2] - 15) - 12), 30.0
        )
        for k in (-1, 1):
            self._paint_head(
                canvas,
                (15 * k, -16, 12),
                20,
                lambda q, k=k: ellipsoid(q, (15.5 * k, -16, 12), (6.5, 10.5, 6.5)),
                self._shell(1.4, 420),
            )
            mastoid = (46 * k, -12, 14)

            def cells(d, p, k=k):
                return np.where(
                    np.sin(p[0] * 1.1) * np.sin(p[1] * 1.3) * np.sin(p[2] * 0.9 + k) > 0.1, -700.0, self.bone_hu
                )

            self._paint_head(canvas, mastoid, 30, lambda q, c=mastoid: ellipsoid(q, c, (11, 15, 20)), cells)
            self._paint_head(
                canvas, (30 * k, 0, 28), 40, lambda q, k=k: capsule(q, (46 * k, -8, 26), (14 * k, 12, 30), 9, 5), 1100
            )
            self._paint_head(
                canvas,
                (28 * k, 12, -6),
                30,
                lambda q, k=k: capsule(q, (34 * k, 0, 8), (27 * k, 14, -20), 1.8, 1.2),
                700,
            )
            self._paint_head(
                canvas,
                (12 * k, 32, 14),
                24,
                lambda q, k=k: capsule(q, (11 * k, 34, 26), (14 * k, 28, 4), 1.8, flat=1.5),
                600,
            )
            self._paint_head(
                canvas,
                (48 * k, 20, -4),
                50,
                lambda q, k=k: capsule(q, (45 * k, 30, -30), (50 * k, 14, 20), 5.2, 4.0),
                self._shell(2.0, 300),
            )
            self._paint_head(
                canvas,
                (60 * k, 40, 24),
                45,
                lambda q, k=k: capsule(q, (64 * k, 14, 26), (46 * k, 64, 22), 3.2, flat=1.5),
                self._shell(1.5, 300),
            )
        clivus = lambda q: rounded_box((q[0], q[1] - (q[2] - 15) * 0.75, q[2]), (0, -4, 30), (13, 6, 17), 4)  # noqa: E731
        self._paint_head(canvas, (0, 6, 30), 40, clivus, self._shell(1.6, 350))
        maxilla = (0, 66, 30)
        self._paint_head(
            canvas,
            maxilla,
            45,
            lambda q: rounded_box(q, maxilla, (30, 20, 22), 9),
            lambda d, p: np.where(d > -2.2, 800.0, -850.0),
        )
        self._paint_head(
            canvas, (0, 58, 6), 40, lambda q: rounded_box(q, (0, 60, 6), (22, 28, 2.4), 2), self._shell(1.0, 350)
        )
        self._jaw(canvas)

    def _jaw(self, canvas: Canvas) -> None:
        rng = self.rng
        opening = rng.uniform(0, 10)
        jaw = (0, 36, -26 - opening)
        self._paint_head(
            canvas, (0, 60, jaw[2]), 75, lambda q: arc_tube(q, jaw, (44, 54), (4, 176), 4.6, 2.7), self._shell(2.4, 350)
        )
        metal = rng.random() < 0.25
        for row, top in ((0.0, True), (-15 - opening * 0.8, False)):
            for _n, u in enumerate(np.radians(np.linspace(12, 168, 14))):
                if rng.random() < 0.12:
                    continue
                c = (26 * np.cos(u) * (1.1 if not top else 1), 56 + 30 * np.sin(u), row)
                hu = 3000.0 if metal and rng.random() < 0.3 else rng.uniform(1300, 2200)
                self._paint_head(canvas, c, 14, lambda q, c=c: ellipsoid(q, c, (3.4, 3.6, 8.0)), hu)

    def _couch(self, canvas: Canvas) -> None:
        """Table top and headrest behind the patient."""
        rng = self.rng
        if rng.random() < 0.2:
            return
        behind = min(v.centre[1] for v in self.spine.vertebrae) - rng.uniform(92, 125) * self.size
        curve = rng.uniform(0, 0.0012)
        low, high = (-BIG, behind - 10, -BIG), (BIG, behind + 70, BIG)
        body = lambda p: np.abs(p[1] - behind - curve * p[0] ** 2) - 1.6 + 0 * p[2]  # noqa: E731
        canvas.paint(low, high, body, rng.uniform(-300, 300))
        if rng.random() < 0.6:
            c = (rng.uniform(-8, 8), behind + 34, self.head_origin[2] + 30)
            canvas.paint(
                tuple(np.subtract(c, 90)),
                tuple(np.add(c, 90)),
                lambda p: smooth_min(
                    np.abs(ellipsoid(p, (c[0], c[1] + 62, c[2]), (95, 95, 400))) - 1.5 + 1e3 * (p[1] > c[1]),
                    np.float32(1e3),
                ),
                rng.uniform(-400, 250),
            )
