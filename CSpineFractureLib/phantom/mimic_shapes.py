"""Bone that only looks broken: smooth corticated clefts, channels, pits, bridges, plates of ossified ligament.

Each changes a vertebra in its own frame (points in mm): ``shape`` its signed distance, ``density`` its HU. They are cut
before the cortex is laid, so their edges are corticated; the gaps of ``fractures`` are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from CSpineFractureLib.phantom.sdf import Points, ellipsoid, horn, smooth_max, smooth_min

Vector = tuple[float, float, float]


class Mimic(Protocol):
    """One mimic: the level it lies in and its kind."""

    level: str
    kind: str

    def sunk(self, p: Points) -> Points:
        """Where the bone at ``p`` was before the mimic deformed it."""

    def shape(self, p: Points, distance: np.ndarray) -> np.ndarray:
        """The vertebra's signed distance (mm) with the mimic."""

    def density(self, p: Points, distance: np.ndarray, hu: np.ndarray) -> np.ndarray:
        """The vertebra's HU with the mimic."""


@dataclass(frozen=True)
class Plain:
    """A mimic without a shape of its own; the base of the others."""

    level: str
    kind: str

    def sunk(self, p: Points) -> Points:
        return p

    def shape(self, p: Points, distance: np.ndarray) -> np.ndarray:
        return distance

    def density(self, p: Points, distance: np.ndarray, hu: np.ndarray) -> np.ndarray:
        return hu


@dataclass(frozen=True)
class Cleft(Plain):
    """A smooth slit with rounded, corticated lips: an apophysis or arch that never fused."""

    point: Vector
    normal: Vector
    width_mm: float
    radius: float

    def shape(self, p: Points, distance: np.ndarray) -> np.ndarray:
        x, y, z = (q - np.float32(c) for q, c in zip(p, self.point, strict=True))
        offset = x * np.float32(self.normal[0]) + y * np.float32(self.normal[1]) + z * np.float32(self.normal[2])
        along = x * x + y * y + z * z - offset * offset
        bowed = offset + along * np.float32(0.018)
        slit = np.maximum(np.abs(bowed) - np.float32(self.width_mm / 2), np.sqrt(along) - np.float32(self.radius))
        return smooth_max(distance, -slit, 1.4)


@dataclass(frozen=True)
class Channel(Plain):
    """A vessel channel (nutrient foramen): a thin bent tube with a bony wall."""

    nodes: tuple[Vector, ...]
    radius: float

    def shape(self, p: Points, distance: np.ndarray) -> np.ndarray:
        tube = None
        for start, end in zip(self.nodes[:-1], self.nodes[1:], strict=True):
            piece = horn(p, start, end, (self.radius, self.radius), up=(0.3, 0.2, 1.0))
            tube = piece if tube is None else np.minimum(tube, piece)
        return smooth_max(distance, -tube, 0.4)


@dataclass(frozen=True)
class Pit(Plain):
    """A Schmorl node: a pit in an end-plate with a dense rim."""

    centre: Vector
    radii: Vector

    def shape(self, p: Points, distance: np.ndarray) -> np.ndarray:
        return smooth_max(distance, -ellipsoid(p, self.centre, self.radii), 0.8)

    def density(self, p: Points, distance: np.ndarray, hu: np.ndarray) -> np.ndarray:
        rim = np.exp(-((ellipsoid(p, self.centre, self.radii) / np.float32(1.6)) ** 2))
        return hu + np.float32(260) * rim


@dataclass(frozen=True)
class Bridge(Plain):
    """Bone between a body and the one below: a block vertebra or a bridging osteophyte."""

    centre: Vector
    radii: Vector

    def shape(self, p: Points, distance: np.ndarray) -> np.ndarray:
        return smooth_min(distance, ellipsoid(p, self.centre, self.radii), 2.5)


@dataclass(frozen=True)
class Plate(Plain):
    """An ossified ligament: a smooth plate beside the bone (anterior or posterior longitudinal, nuchal)."""

    start: Vector
    end: Vector
    half_thick: float
    half_wide: float
    hu: float

    def _distance(self, p: Points) -> np.ndarray:
        return horn(p, self.start, self.end, (self.half_wide, self.half_thick), up=(0, 1, 0))

    def shape(self, p: Points, distance: np.ndarray) -> np.ndarray:
        return np.minimum(distance, self._distance(p))

    def density(self, p: Points, distance: np.ndarray, hu: np.ndarray) -> np.ndarray:
        return np.where(self._distance(p) < np.minimum(distance + 0.3, 0.6), np.float32(self.hu), hu)


@dataclass(frozen=True)
class HealedWedge(Plain):
    """An old compression: lost height in front, a dense band, a rounded step; no gap."""

    loss_mm: float
    half_depth: float
    half_height: float

    def sunk(self, p: Points) -> Points:
        """Points of the body before it lost height."""
        front = np.clip((p[1] + np.float32(self.half_depth)) / np.float32(1.8 * self.half_depth), 0, 1)
        up = np.clip(p[2] / np.float32(self.half_height), 0, 1)
        return p[0], p[1], p[2] + np.float32(self.loss_mm) * front * up

    def density(self, p: Points, distance: np.ndarray, hu: np.ndarray) -> np.ndarray:
        _, y, z = p
        band = np.exp(-(((z - np.float32(0.30 * self.half_height)) / np.float32(1.4)) ** 2))
        inside = np.clip((y + np.float32(0.4 * self.half_depth)) / 3, 0, 1) * (distance < -0.8)
        return hu + np.float32(240) * band * inside
