"""A canonical volume on a coarse regular grid, for networks that look at a whole neck at once."""

from __future__ import annotations

import numpy as np

GRID_MM = (2.0, 2.0, 3.0)
"""Voxel size of the coarse grid along k, j and i."""
LOWEST_HU, HIGHEST_HU = -1024, 2000


def coarse_hu(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """int16 HU ``[k, j, i]`` on the coarse grid: linear when enlarging, weighted means when shrinking.

    ``hu`` is ``[k, j, i]``, ``spacing_mm`` its voxel size along i, j, k. The outer faces of both grids coincide at
    index 0; see ``to_coarse`` and ``from_coarse``.
    """
    values = np.clip(hu, LOWEST_HU, HIGHEST_HU)
    # The axis that shrinks most goes first, for speed; each is a product with a sparse band of weights.
    sizes = coarse_shape(hu.shape, spacing_mm)
    order = sorted(range(3), key=lambda axis: sizes[axis] / hu.shape[axis])
    for axis in order:
        weights = _band(hu.shape[axis], sizes[axis], GRID_MM[axis] / spacing_mm[2 - axis])
        values = np.moveaxis(_product(weights, np.moveaxis(values, axis, 0)), 0, axis)
    return np.rint(values).astype(np.int16)


def coarse_labels(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Labels ``[k, j, i]`` on the coarse grid, the nearest ones."""
    places = [
        np.minimum(size - 1, ((np.arange(count) + 0.5) * GRID_MM[axis] / spacing_mm[2 - axis]).astype(int))
        for axis, (size, count) in enumerate(zip(labels.shape, coarse_shape(labels.shape, spacing_mm), strict=True))
    ]
    return labels[np.ix_(*places)]


def coarse_shape(shape_kji: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Shape of the coarse grid of a volume."""
    return tuple(max(1, round(n * spacing_mm[2 - axis] / GRID_MM[axis])) for axis, n in enumerate(shape_kji))


def to_coarse(kji: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Continuous indices ``(..., 3)`` in the order k, j, i of a volume as those of its coarse grid."""
    return (np.asarray(kji, float) + 0.5) * np.array(spacing_mm[::-1]) / GRID_MM - 0.5


def from_coarse(kji: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The way back of ``to_coarse``."""
    return (np.asarray(kji, float) + 0.5) * GRID_MM / np.array(spacing_mm[::-1]) - 0.5


def _band(size: int, count: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Which old voxels make each new one, ``[count, taps]``, and their weights, which sum to 1."""
    width = max(step, 1.0)
    centres = (np.arange(count) + 0.5) * step - 0.5
    first = np.ceil(centres - width).astype(int)
    taps = first[:, None] + np.arange(int(np.floor(2 * width)) + 1)
    weights = np.clip(1 - np.abs(taps - centres[:, None]) / width, 0, None)
    weights[(taps < 0) | (taps >= size)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(taps, 0, size - 1), weights.astype(np.float32)


def _product(band: tuple[np.ndarray, np.ndarray], values: np.ndarray) -> np.ndarray:
    """``[count, ...]`` from ``[size, ...]``; slice by slice, so that memory stays bounded."""
    taps, weights = band
    result = np.empty((len(taps), *values.shape[1:]), np.float32)
    for row, (places, shares) in enumerate(zip(taps, weights, strict=True)):
        used = shares > 0
        np.einsum("t...,t->...", values[places[used]].astype(np.float32), shares[used], out=result[row])
    return result
