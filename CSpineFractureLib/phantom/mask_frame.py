"""A vertebra's frame and sizes, read from a mask of a real one, so that fractures can be placed in it."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.truth import LABELS

LEAST_MM3 = 1500.0
MIDLINE_MM = 7.0
DENS_MM = 12.0


def vertebra_from_mask(labels: np.ndarray, ijk_to_ras: np.ndarray, level: str) -> Vertebra:
    """Centre, axes and sizes (mm) of a level in a mask.

    Parameters
    ----------
    labels
        uint8 ``[k, j, i]``, 1-7 = C1-C7, 8 and more = thoracic.
    ijk_to_ras
        4x4 matrix to RAS mm.

    Raises
    ------
    UserError
        When the level is not in the mask, or too little of it.
    """
    points = _points(labels, ijk_to_ras, level)
    volume = len(points) * abs(np.linalg.det(ijk_to_ras[:3, :3]))
    if volume < LEAST_MM3:
        message = (
            f"The mask holds {volume:.0f} mm3 of {level}, too little to break; choose a level that is whole in it."
        )
        raise UserError(message)
    right = _right(points)
    centre = _centre(points, right, level)
    up = _up(labels, ijk_to_ras, level, centre)
    right = right - (right @ up) * up
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(up, right), up])
    local = (points - centre) @ axes.T
    return _sized(level, centre, axes, local)


def _points(labels: np.ndarray, ijk_to_ras: np.ndarray, level: str) -> np.ndarray:
    k, j, i = np.nonzero(labels == LABELS[level])
    return (np.stack([i, j, k, np.ones_like(i)], axis=1) @ ijk_to_ras.T)[:, :3]


def _right(points: np.ndarray) -> np.ndarray:
    """The horizontal direction, within 40 degrees of R, across which the vertebra is its own mirror image."""
    flat = points[:: max(1, len(points) // 6000), :2]
    flat = flat - flat.mean(axis=0)
    best, way = -1.0, np.array([1.0, 0.0])
    for angle in np.radians(np.arange(-40, 41, 2)):
        right = np.array([np.cos(angle), np.sin(angle)])
        x, y = flat @ right, flat @ np.array([-right[1], right[0]])
        x = x - np.percentile(x, [2, 98]).mean()
        seen, _, _ = np.histogram2d(x, y, bins=(32, 32), range=((-48, 48), (-48, 48)))
        alike = np.minimum(seen, seen[::-1]).sum()
        if alike > best:
            best, way = alike, right
    return np.array([*way, 0.0])


def _centre(points: np.ndarray, right: np.ndarray, level: str) -> np.ndarray:
    """Middle of the body (C1: of the anterior arch): what lies near the midline within reach of the front."""
    across = points @ right
    middle = np.percentile(across, [2, 98]).mean()
    near = points[np.abs(across - middle) < MIDLINE_MM]
    if len(near) < 20:
        near = points
    front = np.percentile(near[:, 1], 99)
    depth = 7.0 if level == "C1" else 17.0
    body = near[near[:, 1] > front - depth]
    low, high = np.percentile(body, 2, axis=0), np.percentile(body, 98, axis=0)
    centre = (low + high) / 2
    if level == "C2":
        centre[2] -= DENS_MM / 2
    return centre + (middle - centre @ right) * right


def _up(labels: np.ndarray, ijk_to_ras: np.ndarray, level: str, centre: np.ndarray) -> np.ndarray:
    """From the body below to the body above, as far as they are in the mask; across its ring for the atlas."""
    if level == "C1":
        _, vectors = np.linalg.eigh(np.cov((_points(labels, ijk_to_ras, level) - centre).T))
        return vectors[:, 0] * np.sign(vectors[2, 0])
    ends = []
    for step in (1, -1):
        other = next((name for name, label in LABELS.items() if label == LABELS[level] + step), None)
        points = _points(labels, ijk_to_ras, other) if other and other != "C1" else np.empty((0, 3))
        ends.append(_centre(points, _right(points), other) if len(points) > 200 else centre)
    way = ends[1] - ends[0]
    if np.linalg.norm(way) < 5 or way[2] <= 0.5 * np.linalg.norm(way):
        return np.array([0.0, 0.0, 1.0])
    return way / np.linalg.norm(way)


def _sized(level: str, centre: np.ndarray, axes: np.ndarray, local: np.ndarray) -> Vertebra:
    """Sizes by extents: the body near the midline, the whole for the processes; unseen ones by proportion."""
    line = local[np.abs(local[:, 0]) < 4]
    front = np.percentile(line[:, 1], 99.5)
    ahead = line[line[:, 1] > front - 16]
    height = float(np.ptp(np.percentile(ahead[:, 2], [1, 99])))
    width = float(np.ptp(np.percentile(local[:, 0], [0.5, 99.5])))
    size = float(np.clip(width / (78 if level == "C1" else 64 if level == "C7" else 50), 0.8, 1.25))
    body = float(np.clip(2 * front, 12, 20)) if level != "C1" else 46 * size
    if level == "C2":
        height = max(16.0, height - DENS_MM * size)
    behind = -np.percentile(local[:, 1], 0.5)
    canal = 15.5 * size
    spinous = float(np.clip(behind - body / 2 - canal, 5, 40))
    shape = {"size": size, "facet_tilt": 42.0}
    return Vertebra(level, centre, axes, 20 * size, body, height, 17.5 * size, 23.5 * size, canal, spinous, 25.0, shape)
