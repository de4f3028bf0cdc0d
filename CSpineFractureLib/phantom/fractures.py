"""Fractures: rough planes through a vertebra, gaps along them, and fragments that move as rigid pieces.

A hairline fracture is a gap below one voxel with nothing displaced. Gaps hold blood and have no cortex of their own,
unlike the smooth corticated clefts of ``mimics``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from CSpineFractureLib.phantom.sdf import Points

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Plane:
    """A fracture plane in the vertebra's frame: a point on it, its unit normal, and how far it reaches (all mm)."""

    point: Vector
    normal: Vector
    radius: float


@dataclass(frozen=True)
class Fragment:
    """A loose piece: where the signed planes are positive, inside a ball; ``move`` is its direction of displacement."""

    sides: tuple[tuple[int, float], ...]
    centre: Vector
    radius: float
    move: Vector


@dataclass
class Broken:
    """Bone at points: signed distance with its pieces moved, depth below the old surface, gaps, and where it was.

    ``distance`` and ``depth`` (mm, negative inside) differ at torn faces, which have no cortex; ``gap`` is negative
    inside a gap, ``None`` in whole bone; ``source`` are the points of the intact vertebra that the bone comes from.
    """

    distance: np.ndarray
    depth: np.ndarray
    gap: np.ndarray | None
    source: Points

    @classmethod
    def intact(cls, distance: Callable[[Points], np.ndarray], p: Points) -> Broken:
        """Whole bone."""
        depth = distance(p)
        return cls(depth, depth, None, p)


@dataclass
class Fracture:
    """One fractured vertebra: its planes, loose pieces, gap width, displacement and loss of height (mm)."""

    level: str
    type: str
    gap_mm: float
    shift_mm: float
    planes: list[Plane] = field(default_factory=list)
    fragments: list[Fragment] = field(default_factory=list)
    height_loss_mm: float = 0.0
    body: tuple[float, float] = (8.0, 7.0)
    phase: float = 0.0
    hairline: bool = False

    def apply(self, distance: Callable[[Points], np.ndarray], p: Points) -> Broken:
        """Break a vertebra with the given signed distance at flat points ``p`` (local mm)."""
        q = self._sunk(p)
        depth = distance(q)
        source = [v.copy() for v in np.broadcast_arrays(*q)]
        gap = self._gap(q)
        if self.shift_mm <= 0:
            return Broken(depth, depth, gap, tuple(source))
        half = np.float32(self.gap_mm / 2)
        bone = depth
        for piece in self.fragments:
            bone = np.maximum(bone, -self._inside(piece, q, -half))
        for piece in self.fragments:
            was = tuple(v - np.float32(m * self.shift_mm) for v, m in zip(q, piece.move, strict=True))
            near = np.flatnonzero(_ball(was, piece.centre, piece.radius) < 1.0)
            if not near.size:
                continue
            here = tuple(np.broadcast_to(v, bone.shape)[near] for v in was)
            whole = distance(here)
            moved = np.maximum(whole, self._inside(piece, here, half))
            wins = moved < bone[near]
            bone[near[wins]], depth[near[wins]] = moved[wins], whole[wins]
            for axis in range(3):
                source[axis][near[wins]] = here[axis][wins]
        return Broken(bone, depth, np.minimum(gap, self._gap(tuple(source))), tuple(source))

    def _sunk(self, p: Points) -> Points:
        """Points of the body before it lost height in front: the upper end-plate sinks most at the anterior wall."""
        if self.height_loss_mm <= 0:
            return p
        half_depth, half_height = self.body
        front = np.clip((p[1] + np.float32(half_depth)) / np.float32(1.7 * half_depth), 0, 1)
        up = np.clip(p[2] / np.float32(half_height), 0, 1)
        return p[0], p[1], p[2] + np.float32(self.height_loss_mm) * front * up

    def _gap(self, p: Points) -> np.ndarray:
        result = None
        for n, plane in enumerate(self.planes):
            this = np.maximum(np.abs(self._offset(n, p)) - self.gap_mm / 2, _ball(p, plane.point, plane.radius))
            result = this if result is None else np.minimum(result, this)
        return result

    def _inside(self, piece: Fragment, p: Points, margin: float) -> np.ndarray:
        """Signed distance of a fragment's region, pulled back by ``margin`` from its planes."""
        result = _ball(p, piece.centre, piece.radius) - (0.5 if margin > 0 else 0.0)
        for n, sign in piece.sides:
            result = np.maximum(result, margin - np.float32(sign) * self._offset(n, p))
        return result

    def _offset(self, n: int, p: Points) -> np.ndarray:
        """Signed distance to plane ``n``, rough at two scales."""
        plane, phase = self.planes[n], self.phase + 1.7 * n
        x, y, z = (q - np.float32(c) for q, c in zip(p, plane.point, strict=True))
        flat = x * np.float32(plane.normal[0]) + y * np.float32(plane.normal[1]) + z * np.float32(plane.normal[2])
        coarse = np.sin(0.55 * x + phase) * np.cos(0.5 * z + 0.35 * y + phase) + np.sin(0.6 * y - 0.4 * z + 2 * phase)
        fine = np.sin(1.9 * x - 1.1 * z + phase) * np.sin(1.6 * y + 1.3 * z + 3 * phase)
        return flat + np.float32(0.45) * coarse + np.float32(0.28) * fine


def _ball(p: Points, centre: Vector, radius: float) -> np.ndarray:
    x, y, z = (q - np.float32(c) for q, c in zip(p, centre, strict=True))
    return np.sqrt(x * x + y * y + z * z) - np.float32(radius)
