"""Organic shapes for soft tissue and the bones around the spine: sweeps, outlines, plates, and layers of them.

Distances are in mm, negative inside. Arrays are ``[k, j, i]`` or broadcast to it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

FAR = np.float32(60.0)


def noise_field(rng: np.random.Generator, shape: tuple, period_voxels: float) -> np.ndarray:
    """Smooth random field, float32 ``[k, j, i]``, about -1..1, with features of the given size."""
    small = [max(2, int(np.ceil(n / period_voxels)) + 2) for n in shape]
    coarse = rng.standard_normal(small).astype(np.float32)
    steps = [(m - 1) / max(n - 1, 1) for n, m in zip(shape, small, strict=True)]
    return enlarged(coarse, steps, shape)


def enlarged(field: np.ndarray, steps: list[float], shape: tuple) -> np.ndarray:
    """Linear interpolation of a field (``[k, j, i]``) at multiples of ``steps`` voxels, one axis after another."""
    for axis in (0, 1, 2):
        last = field.shape[axis] - 1
        at = np.minimum(np.arange(shape[axis]) * steps[axis], last)
        low = np.minimum(at.astype(int), max(last - 1, 0))
        share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        field = field.take(low, axis) * (1 - share) + field.take(np.minimum(low + 1, last), axis) * share
    return field


def superellipse(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, power: float = 2.0) -> np.ndarray:
    """Approximate distance to a superellipse of half axes ``a``, ``b``; powers above 2 make it squarer."""
    if power == 2.0:
        q = np.sqrt((x / a) ** 2 + (y / b) ** 2)
    else:
        q = (np.abs(x / a) ** power + np.abs(y / b) ** power) ** np.float32(1 / power)
    return (q - 1) * np.minimum(a, b)


def strip(x: np.ndarray, y: np.ndarray, half: np.ndarray, thick: np.ndarray, angle: np.ndarray, bend: np.ndarray):
    """A bent band in a plane: ``half`` long, ``thick`` half thick, turned by ``angle`` (radians), sagging by ``bend``.

    A positive bend moves the ends to the left of the band's direction by ``bend`` mm at ``half``.
    """
    c, s = np.cos(angle), np.sin(angle)
    along, across = x * c + y * s, y * c - x * s
    t = along / half
    return superellipse(along, across - bend * np.minimum(t * t, 2.0), half, thick, 2.6)


def polygon(x: np.ndarray, y: np.ndarray, corners: list[tuple[float, float]]) -> np.ndarray:
    """Exact distance to a plane polygon."""
    best, odd = None, None
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        ex, ey = np.float32(bx - ax), np.float32(by - ay)
        wx, wy = x - np.float32(ax), y - np.float32(ay)
        t = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        d = (wx - ex * t) ** 2 + (wy - ey * t) ** 2
        best = d if best is None else np.minimum(best, d)
        up, down = (wy >= 0) & (y < np.float32(by)), (wy < 0) & (y >= np.float32(by))
        cross = ex * wy - ey * wx
        flip = (up & (cross > 0)) | (down & (cross < 0))
        odd = flip if odd is None else odd ^ flip
    return np.where(odd, -1, 1) * np.sqrt(best)


def broken_line(x: np.ndarray, y: np.ndarray, nodes: list[tuple[float, float]]) -> np.ndarray:
    """Distance (never negative) to an open line through ``nodes``."""
    best = None
    for (ax, ay), (bx, by) in pairwise(nodes):
        ex, ey = np.float32(bx - ax), np.float32(by - ay)
        wx, wy = x - np.float32(ax), y - np.float32(ay)
        t = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        d = (wx - ex * t) ** 2 + (wy - ey * t) ** 2
        best = d if best is None else np.minimum(best, d)
    return np.sqrt(best)


def curve(nodes: np.ndarray, step_mm: float) -> np.ndarray:
    """Points about ``step_mm`` apart on a smooth curve through ``nodes`` (rows; first three columns are mm)."""
    nodes = np.asarray(nodes, float)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(nodes[:, :3], axis=0), axis=1))])
    count = max(2, int(np.ceil(length[-1] / step_mm)) + 1)
    return PchipInterpolator(length, nodes, axis=0)(np.linspace(0, length[-1], count))


class Outline:
    """A body given by its half width ``|x| < width(y, z)``: good for skins, which no ellipsoid resembles.

    ``widths`` has one row per ``rows`` (z, mm, ascending) and one column per ``columns`` (y, mm, ascending); negative
    widths are outside. The squares of the widths are interpolated, so that the ends are round.
    """

    def __init__(self, rows: list[float], columns: list[float], widths: np.ndarray, step_mm: float = 2.0) -> None:
        self.low = np.array([rows[0], columns[0]], np.float32)
        self.step = np.float32(step_mm)
        z = np.arange(rows[0], rows[-1] + step_mm, step_mm)
        y = np.arange(columns[0], columns[-1] + step_mm, step_mm)
        squares = np.sign(widths) * np.asarray(widths, float) ** 2
        table = PchipInterpolator(columns, squares, axis=1)(np.minimum(y, columns[-1]))
        table = PchipInterpolator(rows, table, axis=0)(np.minimum(z, rows[-1]))
        self._set(ndimage.gaussian_filter(table, 2.0, mode="nearest"))

    def _set(self, table: np.ndarray) -> None:
        slope = np.gradient(table, float(self.step))
        self.table = table.astype(np.float32)
        self.slope = (slope[0] ** 2 + slope[1] ** 2).astype(np.float32)

    def grown(self, margin_mm: np.ndarray) -> Outline:
        """The outline moved outwards in each row by ``margin_mm`` (``[row, column]`` of the fine table)."""
        reach = int(np.ceil(float(np.max(margin_mm)) / float(self.step))) + 1
        width = np.where(self.table > 0, np.sqrt(np.maximum(self.table, 0)), -np.inf)
        best = np.full(width.shape, -np.inf)
        columns = np.arange(width.shape[1])
        for shift in range(-reach, reach + 1):
            rise = margin_mm**2 - (shift * float(self.step)) ** 2
            source = width[:, np.clip(columns + shift, 0, width.shape[1] - 1)]
            best = np.maximum(best, np.where(rise >= 0, source + np.sqrt(np.maximum(rise, 0)), -np.inf))
        other = Outline.__new__(Outline)
        other.low, other.step = self.low, self.step
        table = np.where(np.isfinite(best), np.sign(best) * best**2, np.minimum(self.table, -1.0))
        for row in table:
            _straighten(row, float(self.step))
        other._set(ndimage.gaussian_filter(table, (2.0, 1.2), mode="nearest"))
        return other

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Approximate distance (mm) at points; only its sign is right far from the surface."""
        shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
        index = np.empty((2, *shape), np.float32)
        index[0] = (z - self.low[0]) / self.step
        index[1] = (y - self.low[1]) / self.step
        square = ndimage.map_coordinates(self.table, index, order=1, mode="nearest")
        slope = ndimage.map_coordinates(self.slope, index, order=1, mode="nearest")
        xx = x * x
        return (xx - square) / np.sqrt(4 * xx + slope + np.float32(1))


def _straighten(row: np.ndarray, step: float) -> None:
    """Let squares fall off straight outside the outline, so that distances near its ends are right (in place)."""
    inside = np.nonzero(row > 0)[0]
    if len(inside) == 0:
        return
    first, last = inside[0], inside[-1]
    for edge, ahead, count in ((first, -1, first), (last, 1, len(row) - 1 - last)):
        back = np.clip(edge - 3 * ahead, first, last)
        fall = max((row[back] - row[edge]) / max(abs(int(back) - int(edge)), 1), 10.0 * step)
        steps = np.arange(1, count + 1)
        row[edge + ahead * steps] = row[edge] - fall * steps


def capsule_path(p: tuple, nodes: np.ndarray) -> np.ndarray:
    """Distance to a chain of round rods; ``nodes`` has rows ``(x, y, z, radius)``."""
    best = None
    for a, b in pairwise(nodes):
        d = (b[:3] - a[:3]).astype(np.float32)
        x, y, z = (q - np.float32(c) for q, c in zip(p, a[:3], strict=True))
        t = np.clip((x * d[0] + y * d[1] + z * d[2]) / max(float(d @ d), 1e-6), 0, 1)
        gap = np.sqrt((x - t * d[0]) ** 2 + (y - t * d[1]) ** 2 + (z - t * d[2]) ** 2)
        gap -= np.float32(a[3]) + np.float32(b[3] - a[3]) * t
        best = gap if best is None else np.minimum(best, gap)
    return best


def ribbon_piece(p: tuple, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance to one piece of a flat band; rows are ``(x, y, z, half thick, half tall, up x, up y, up z)``."""
    d = b[:3] - a[:3]
    length = max(float(np.linalg.norm(d)), 1e-3)
    along = d / length
    up = (a[5:8] + b[5:8]) / 2
    up = up - along * (up @ along)
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    side = np.cross(along, up)
    x, y, z = (q - np.float32(c) for q, c in zip(p, a[:3], strict=True))
    t, u, v = (x * np.float32(n[0]) + y * np.float32(n[1]) + z * np.float32(n[2]) for n in (along, side, up))
    share = np.clip(t / np.float32(length), 0, 1)
    over = t - share * np.float32(length)
    thick = np.float32(a[3]) + share * np.float32(b[3] - a[3])
    tall = np.float32(a[4]) + share * np.float32(b[4] - a[4])
    small = np.minimum(thick, tall)
    q = np.sqrt(np.abs(u / thick) ** 2.5 + np.abs(v / tall) ** 2.5) ** np.float32(0.8)
    q = np.sqrt(q * q + (over / small) ** 2)
    return (q - 1) * small
