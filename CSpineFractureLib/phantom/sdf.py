"""Signed distance functions and the canvas they are painted on.

Distances are in mm, negative inside. Points are given as three broadcastable float32 arrays ``(r, a, s)``.
Smooth unions follow the polynomial minimum of Inigo Quilez (``smooth minimum``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def smooth_min(first: np.ndarray, second: np.ndarray, radius: float = 1.5) -> np.ndarray:
    """Union of two bodies with a fillet of about ``radius`` mm."""
    blend = np.maximum(radius - np.abs(first - second), 0.0) / radius
    return np.minimum(first, second) - blend * blend * (radius / 4)


def smooth_max(first: np.ndarray, second: np.ndarray, radius: float = 1.0) -> np.ndarray:
    """Intersection of two bodies with a rounded edge of about ``radius`` mm."""
    return -smooth_min(-first, -second, radius)


def ellipsoid(p: Points, centre: tuple, radii: tuple) -> np.ndarray:
    """Approximate distance to an axis-aligned ellipsoid."""
    x, y, z = (q - c for q, c in zip(p, centre, strict=True))
    k0 = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
    return (k0 - 1.0) * np.float32(min(radii))


def capsule(p: Points, start: tuple, end: tuple, r0: float, r1: float | None = None, flat: float = 1.0) -> np.ndarray:
    """Distance to a tapered capsule; ``flat`` > 1 stretches its section along S (a slab standing on edge)."""
    r1 = r0 if r1 is None else r1
    d = np.asarray(end, np.float32) - np.asarray(start, np.float32)
    x, y, z = (q - np.float32(c) for q, c in zip(p, start, strict=True))
    t = np.clip((x * d[0] + y * d[1] + z * d[2]) / max(float(d @ d), 1e-6), 0.0, 1.0)
    dx, dy, dz = x - t * d[0], y - t * d[1], (z - t * d[2]) / np.float32(flat)
    return np.sqrt(dx * dx + dy * dy + dz * dz) - (r0 + (r1 - r0) * t)


def horn(
    p: Points,
    start: tuple,
    end: tuple,
    section0: tuple[float, float],
    section1: tuple[float, float] | None = None,
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> np.ndarray:
    """Approximate distance to a tapered rod of elliptic section with round ends.

    Sections are half sizes (across, along ``up``) in mm at both ends: a plate standing on edge has a small first and a
    large second number.
    """
    section1 = section0 if section1 is None else section1
    d = np.asarray(end, float) - np.asarray(start, float)
    length = float(np.linalg.norm(d))
    along = d / length
    side = np.cross(along, up)
    side /= np.linalg.norm(side)
    tall = np.cross(side, along)
    x, y, z = (q - np.float32(c) for q, c in zip(p, start, strict=True))
    dot = lambda v: x * np.float32(v[0]) + y * np.float32(v[1]) + z * np.float32(v[2])  # noqa: E731
    t = dot(along)
    share = np.clip(t / np.float32(length), 0.0, 1.0)
    over = t - share * np.float32(length)
    a = np.float32(section0[0]) + share * np.float32(section1[0] - section0[0])
    b = np.float32(section0[1]) + share * np.float32(section1[1] - section0[1])
    small = np.minimum(a, b)
    q = (dot(side) / a) ** 2 + (dot(tall) / b) ** 2 + (over / small) ** 2
    return (np.sqrt(q) - 1.0) * small


def rounded_box(p: Points, centre: tuple, half: tuple, radius: float) -> np.ndarray:
    """Distance to a box with rounded edges; ``half`` are outer half sizes."""
    q = [np.abs(v - np.float32(c)) - np.float32(h - radius) for v, c, h in zip(p, centre, half, strict=True)]
    outside = np.sqrt(sum(np.maximum(v, 0.0) ** 2 for v in q))
    inside = np.minimum(np.maximum(np.maximum(q[0], q[1]), q[2]), 0.0)
    return outside + inside - np.float32(radius)


def arc_tube(p: Points, centre: tuple, radii: tuple, angles: tuple, tube: float, flat: float = 1.0) -> np.ndarray:
    """Tube along an elliptic arc in the axial plane.

    ``angles`` (degrees, from, to) are measured from +R towards +A; ``flat`` stretches the tube along S.
    """
    t = np.linspace(*np.radians(angles), 13)
    nodes = [(centre[0] + radii[0] * np.cos(u), centre[1] + radii[1] * np.sin(u), centre[2]) for u in t]
    result = None
    for start, end in itertools.pairwise(nodes):
        piece = capsule(p, start, end, tube, flat=flat)
        result = piece if result is None else np.minimum(result, piece)
    return result


def vertical_cylinder(p: Points, centre: tuple, radii: tuple) -> np.ndarray:
    """Distance to an endless elliptic cylinder along S."""
    x, y = p[0] - np.float32(centre[0]), p[1] - np.float32(centre[1])
    return (np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2) - 1.0) * np.float32(min(radii))


@dataclass
class Canvas:
    """A voxel grid on which tissues are painted in order.

    ``hu`` is float32 ``[k, j, i]``; ``i`` runs to the patient's left, ``j`` to posterior, ``k`` to superior.
    ``origin_ras`` is the centre of voxel (0, 0, 0); ``spacing`` is along i, j, k in mm.
    """

    hu: np.ndarray
    origin_ras: tuple[float, float, float]
    spacing: tuple[float, float, float]

    @classmethod
    def covering(cls, low: tuple, high: tuple, spacing: tuple, fill: float = -1000.0) -> Canvas:
        """A canvas that covers the RAS box ``low``..``high``."""
        n = [max(1, round((h - lo) / s)) for lo, h, s in zip(low, high, spacing, strict=True)]
        return cls(np.full(n[::-1], fill, np.float32), (high[0], high[1], low[2]), tuple(spacing))

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """4x4 matrix from ``(i, j, k, 1)`` to RAS mm."""
        matrix = np.diag([-self.spacing[0], -self.spacing[1], self.spacing[2], 1.0])
        matrix[:3, 3] = self.origin_ras
        return matrix

    def window(self, low: tuple, high: tuple) -> tuple[tuple[slice, slice, slice], Points] | None:
        """Index slices ``[k, j, i]`` and point arrays of the voxels inside a RAS box; ``None`` if empty."""
        axes, slices = [], []
        for axis, sign in ((0, -1), (1, -1), (2, 1)):
            n = self.hu.shape[2 - axis]
            ends = [(b - self.origin_ras[axis]) / (sign * self.spacing[axis]) for b in (low[axis], high[axis])]
            first, last = max(0, int(np.floor(min(ends)))), min(n, int(np.ceil(max(ends))) + 1)
            if first >= last:
                return None
            slices.append(slice(first, last))
            axes.append((self.origin_ras[axis] + sign * self.spacing[axis] * np.arange(first, last)).astype(np.float32))
        points = (axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None])
        return (slices[2], slices[1], slices[0]), points

    def paint(self, low: tuple, high: tuple, body: Callable[[Points], np.ndarray], hu: float | Callable) -> None:
        """Paint a body with anti-aliased edges; ``hu`` is a number or a function of (distance, points)."""
        found = self.window(low, high)
        if found is None:
            return
        index, points = found
        distance = body(points)
        cover = np.clip(0.5 - distance / np.float32(min(self.spacing)), 0.0, 1.0)
        value = hu(distance, points) if callable(hu) else np.float32(hu)
        region = self.hu[index]
        region += cover * (value - region)
