"""The frames in which the surroundings are drawn: the neck along the posed spine, the throat, and the head.

Neck frame: ``u`` right and ``v`` in front of the line through the middles of the vertebral bodies, in each axial slice,
turned with the vertebrae; heights are given by level names. Throat frame: the same around the middle of the airway.
Head frame: right, anterior, superior of the anterior arch of C1, in mm of a head of mean size. All are bent by one
smooth field, so that nothing is straight or mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from CSpineFractureLib.phantom.bone import to_local
from CSpineFractureLib.phantom.morphometry import LEVELS, Spine
from CSpineFractureLib.phantom.person import Person
from CSpineFractureLib.phantom.sdf import Canvas, Points
from CSpineFractureLib.phantom.shapes import noise_field
from CSpineFractureLib.phantom.vertebrae import reach, vertebra_distance
from CSpineFractureLib.phantom.vertebral_arch import canal_centre

Index = tuple[slice, slice, slice]
NAMES = ("C0", *LEVELS, "T6", "T8")
STRAIGHT = ("disc", "cord", "csf", "fat")
WARP_MM, FAR_FROM_BONE = 2.6, 30.0


def head_pose(spine: Spine, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Axes (rows right, anterior, superior) and origin (RAS mm) of the head on C1.

    The head nods about the middle of the occipital condyles' curve, so that it stays seated on C1; the nod partly
    undoes C1's lean, as people look straight ahead (range after Panjabi et al., Spine 1988;13:726-730).
    """
    atlas = spine["C1"]
    lean = np.degrees(np.arcsin(np.clip(atlas.axes[2][1], -1, 1)))
    nod = np.radians(np.clip(0.25 * spine.extension_deg - 0.45 * lean + rng.normal(0, 3), -13, 13))
    turn = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    axes = turn @ atlas.axes
    pivot = np.array([0, -13.0, 19.0]) * spine.size
    return axes, atlas.centre + pivot @ atlas.axes - pivot @ axes


class Frames:
    """Frames and noise of one person on one canvas. Arrays are float32 ``[k, j, i]`` of the canvas."""

    def __init__(self, canvas: Canvas, spine: Spine, person: Person, head: tuple, rng: np.random.Generator) -> None:
        self.canvas, self.spine, self.person = canvas, spine, person
        self.size = spine.size
        self.marks: dict[str, list[list[float]]] = {}
        self.head_axes, self.head_origin = head
        shape = canvas.hu.shape
        _, axes = canvas.window((-1e3,) * 3, (1e3,) * 3)
        self.heights = axes[2].ravel()
        self._line()
        step = canvas.spacing[0]
        self.skin = np.full(shape, -FAR_FROM_BONE, np.float32)
        self.fine, self.middle, self.broad = (noise_field(rng, shape, mm / step) for mm in (3.4, 9.0, 28.0))
        self.bone = self._bone_distance(axes)
        self.world = self._warped(axes, rng)
        self.u, self.v = self._around(self.world, self.axis_r, self.axis_a)
        self.throat = self._throat()
        self.tu, self.tv = self._around(self.world, self.throat[0], self.throat[1])
        m = self.head_axes.astype(np.float32) / np.float32(self.size)
        p = [q - np.float32(c) for q, c in zip(self.world, self.head_origin, strict=True)]
        self.head = tuple(m[n, 0] * p[0] + m[n, 1] * p[1] + m[n, 2] * p[2] for n in range(3))

    # -- heights along the spine
    def _line(self) -> None:
        """Middles of the bodies, of the canal, and the turn, as functions of the height S."""
        up, s = self.head_axes[2], self.size
        points, canal, wide, turn = [], [], [], []
        for v in self.spine.vertebrae:
            back = 11.5 * s if v.level == "C1" else 0.0
            points.append(v.centre - v.axes[1] * back)
            depth = canal_centre(v) if v.level != "C1" else -25.5 * s
            canal.append(v.centre + v.axes[1] * depth)
            wide.append((15.0 * s, 11.0 * s) if v.level == "C1" else (v.canal_width / 2, v.canal_depth / 2))
            turn.append(np.arctan2(v.axes[0][1], v.axes[0][0]))
        opening = self.from_head((0, -26.0, 9.0))
        points.insert(0, points[0] + up * 22 * s)
        canal.insert(0, opening)
        canal.insert(0, opening + up * 22 * s)
        wide[:0] = [(14.5 * s, 16 * s)] * 2
        turn.insert(0, np.arctan2(self.head_axes[0][1], self.head_axes[0][0]))
        fall = points[-1] - points[-2]
        fall = fall / -fall[2] * 20 * s
        points += [points[-1] + fall, points[-1] + 3.2 * fall]
        turn += [turn[-1]] * 2
        canal.append(canal[-1] + 3.2 * fall)
        wide.append(wide[-1])
        self.level = dict(zip(NAMES, (float(p[2]) for p in points), strict=True))
        points, canal = np.array(points), np.array(canal)
        at = lambda rows, values: _smooth(rows[:, 2], np.asarray(values), self.heights)  # noqa: E731
        self.axis_r, self.axis_a = at(points, points[:, 0]), at(points, points[:, 1])
        self.turn = at(points, turn)
        self.canal_r, self.canal_a = at(canal, canal[:, 0]), at(canal, canal[:, 1])
        half = at(canal, wide)
        self.canal_half = half[:, 0], half[:, 1]
        fronts = [np.array(self.from_head((0, 5.0, 14.0)))]
        for v in self.spine.vertebrae:
            fronts.append(v.centre + v.axes[1] * (4.0 * s if v.level == "C1" else v.depth / 2))
        fronts.append(fronts[-1] + fall)
        fronts = np.array(fronts)
        self.front = at(fronts, fronts[:, 1])

    def from_head(self, point: Sequence[float]) -> np.ndarray:
        """RAS mm of a point of the head frame."""
        return self.head_origin + np.asarray(point, float) * self.size @ self.head_axes

    def from_vertebra(self, level: str, point: Sequence[float]) -> np.ndarray:
        """RAS mm of a point in a vertebra's own frame (mm)."""
        v = self.spine[level]
        return v.centre + np.asarray(point, float) @ v.axes

    def from_neck(self, level: str | float, u: float, v: float) -> np.ndarray:
        """RAS mm of a point of the neck frame at a level (or at a height S)."""
        height = self.level[level] if isinstance(level, str) else level
        r, a, turn = (float(np.interp(height, self.heights, q)) for q in (self.axis_r, self.axis_a, self.turn))
        if not self.heights[0] <= height <= self.heights[-1]:
            known = np.array([w.centre for w in self.spine.vertebrae])[::-1]
            r, a = (float(np.interp(height, known[:, 2], known[:, n])) for n in (0, 1))
        c, s = np.cos(turn), np.sin(turn)
        return np.array([r + u * c - v * s, a + u * s + v * c, height])

    # -- fields
    def _bone_distance(self, axes: Points) -> np.ndarray:
        """Distance (mm) to the nearest vertebra, at most 30 mm."""
        field = np.full(self.canvas.hu.shape, FAR_FROM_BONE, np.float32)
        for v in self.spine.vertebrae:
            half, ahead, behind, tall = reach(v)
            low = np.subtract(v.centre, (half + 6, behind + 6, tall + 4))
            high = np.add(v.centre, (half + 6, ahead + 8, tall + 4))
            found = self.canvas.window(tuple(low), tuple(high))
            if found is None:
                continue
            index, points = found
            np.minimum(field[index], vertebra_distance(v, to_local(v, points)), out=field[index])
        return field

    def _warped(self, axes: Points, rng: np.random.Generator) -> Points:
        """Points bent by a smooth field of about 2.6 mm that vanishes near the spine."""
        shape, step = self.canvas.hu.shape, self.canvas.spacing[0]
        r, a, _ = axes
        away = np.sqrt((r - self.axis_r[:, None, None]) ** 2 + (a - self.axis_a[:, None, None] + 8) ** 2)
        share = np.clip((away - 20) / 35, 0, 1).astype(np.float32) * np.float32(WARP_MM)
        return tuple(q + share * ndimage.uniform_filter(noise_field(rng, shape, 36 / step), 5) for q in axes)

    def _around(self, world: Points, r: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c, s = (f(self.turn).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
        x = world[0] - r.astype(np.float32)[:, None, None]
        y = world[1] - a.astype(np.float32)[:, None, None]
        return x * c + y * s, y * c - x * s

    def _throat(self) -> np.ndarray:
        """Right and anterior coordinate (rows) of the middle of the airway at each height."""
        s = self.size
        gap = {"C2": 10, "C3": 10, "C4": 12, "C5": 19, "C6": 23, "C7": 24, "T1": 25, "T2": 27, "T3": 30, "T4": 32}
        points = [self.from_head((0, 15, 40)), self.from_head((0, 15, 24)), self.from_head((0, 13.5, 4))]
        heights = [self.level[k] for k in gap]
        front = np.interp(heights, self.heights, self.front)
        for (level, ahead), height, at in zip(gap.items(), heights, front, strict=True):
            if not self.heights[0] <= height <= self.heights[-1]:
                v = self.spine[level]
                at = v.centre[1] + v.depth / 2
            r = self.from_neck(level, 0, 0)[0]
            points.append(np.array([r, at + ahead * s, height]))
        points = np.array(points)
        return _smooth(points[:, 2], points[:, :2], self.heights).T

    # -- windows
    def box(self, low: Sequence[float], high: Sequence[float], margin: float = 6.0) -> Index | None:
        """Index of the voxels in a RAS box, widened by the warp; ``None`` outside the canvas."""
        found = self.canvas.window(tuple(np.subtract(low, margin)), tuple(np.add(high, margin)))
        return None if found is None else found[0]

    def head_box(self, low: Sequence[float], high: Sequence[float], margin: float = 5.0) -> Index | None:
        """Index of the voxels around a box of the head frame."""
        corners = [self.from_head(c) for c in np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T]
        return self.box(np.min(corners, axis=0), np.max(corners, axis=0), margin)

    def neck_box(self, top: float, bottom: float, u: tuple, v: tuple, throat: bool = False) -> Index | None:
        """Index of the voxels between two heights and around a rectangle of the neck (or throat) frame."""
        inside = (self.heights >= bottom) & (self.heights <= top)
        if not inside.any():
            return None
        r, a = (self.throat[0], self.throat[1]) if throat else (self.axis_r, self.axis_a)
        rim = 8 + 0.15 * max(abs(u[0]), abs(u[1]), abs(v[0]), abs(v[1]))
        low = (r[inside].min() + u[0] - rim, a[inside].min() + v[0] - rim, bottom)
        high = (r[inside].max() + u[1] + rim, a[inside].max() + v[1] + rim, top)
        return self.box(low, high, 0.0)

    def along(self, keys: dict[str | float, Sequence[float]], index: Index) -> list[np.ndarray]:
        """Numbers given at levels (or heights S), interpolated to the slices of ``index``: ``[k, 1, 1]`` each."""
        heights = np.array([self.level[k] if isinstance(k, str) else k for k in keys])
        rows = np.array([np.atleast_1d(v) for v in keys.values()], float)
        values = _smooth(heights, rows, self.heights[index[0]])
        return [values[:, n].astype(np.float32)[:, None, None] for n in range(rows.shape[1])]

    # -- marks
    def mark(self, tissue: str, point: Sequence[float]) -> None:
        """Note a place (RAS mm) deep inside a tissue, if it is on the canvas and 4 mm from bone."""
        at = np.array(point, float)
        here = self._voxel(at)
        if here is None or (tissue not in STRAIGHT and self.bone[here] < 4):
            return
        if tissue not in STRAIGHT:
            k, j, i = here
            at -= np.array([w[here] for w in self.world]) - (self.canvas.ijk_to_ras @ [i, j, k, 1])[:3]
        if self._voxel(at) is not None:
            self.marks.setdefault(tissue, []).append([float(c) for c in at])

    def _voxel(self, point: np.ndarray) -> tuple[int, int, int] | None:
        """Index ``(k, j, i)`` of the voxel at a point (RAS mm); ``None`` off the canvas."""
        i, j, k = np.rint((np.linalg.inv(self.canvas.ijk_to_ras) @ [*point, 1])[:3]).astype(int)
        shape = self.canvas.hu.shape
        if 0 <= k < shape[0] and 0 <= j < shape[1] and 0 <= i < shape[2]:
            return int(k), int(j), int(i)
        return None

    # -- painting
    def paint(
        self,
        index: Index | None,
        distance: np.ndarray,
        hu: float | np.ndarray,
        soft_mm: float = 0.0,
        under_skin_mm: float | None = 1.5,
    ) -> None:
        """Blend a body into the canvas with partial volume at its edge; nothing but what may comes out of the skin."""
        if index is None:
            return
        if under_skin_mm is not None:
            distance = np.maximum(distance, self.skin[index] + np.float32(under_skin_mm))
        width = np.float32(max(self.canvas.spacing[0], soft_mm))
        cover = np.clip(0.5 - distance / width, 0.0, 1.0)
        region = self.canvas.hu[index]
        region += cover * (hu - region)

    def tucked(self, point: np.ndarray, depth_mm: float) -> np.ndarray:
        """A point (RAS mm) moved backwards until it lies ``depth_mm`` under the skin; unchanged off the canvas."""
        at = np.array(point, float)
        for _ in range(12):
            here = self._voxel(at)
            if here is None or self.skin[here] < -depth_mm:
                break
            at[1] -= 2.0
        return at

    def crop(self, fields: Sequence[np.ndarray], index: Index) -> tuple[np.ndarray, ...]:
        """Views of full fields in a window."""
        return tuple(f[index] for f in fields)


def _smooth(heights: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Monotone cubic interpolation along S; straight ends."""
    order = np.argsort(heights)
    x, y = np.asarray(heights, float)[order], np.asarray(values, float)[order]
    apart = np.concatenate([[True], np.diff(x) > 0.5])
    x, y = x[apart], y[apart]
    return PchipInterpolator(x, y, axis=0)(np.clip(at, x[0], x[-1]))
