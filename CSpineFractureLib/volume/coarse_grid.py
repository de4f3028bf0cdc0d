"""A canonical volume on a coarse regular grid, for networks that look at a whole neck at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import sparse

GRID_MM = (2.0, 2.0, 3.0)
"""Voxel size of the coarse grid along k, j and i."""
LOWEST_HU, HIGHEST_HU = -1024, 2000
SLICES = 32
"""Of one step on the way to the coarse grid."""


def coarse_hu(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    each: Callable[[Callable[[int], None], range], Iterable[Any]] = map,
    grid_mm: tuple[float, float, float] = GRID_MM,
) -> np.ndarray:
    """int16 HU ``[k, j, i]`` on the coarse grid: linear when enlarging, weighted means when shrinking.

    ``hu`` is ``[k, j, i]``, ``spacing_mm`` its voxel size along i, j, k. The outer faces of both grids coincide at
    index 0; see ``to_coarse`` and ``from_coarse``. ``each`` calls a function for each item, as ``map`` does, perhaps
    for several at once. ``grid_mm``: other voxel sizes along k, j and i.
    """
    shape = coarse_shape(hu.shape, spacing_mm, grid_mm)
    along_k, along_j, along_i = (
        _weights(hu.shape[axis], shape[axis], grid_mm[axis] / spacing_mm[2 - axis]) for axis in range(3)
    )
    along_j = sparse.csr_array(along_j)
    planes = np.empty((hu.shape[0], *shape[1:]), np.float32)

    def shrink(first: int) -> None:  # slice by slice, so that memory stays bounded
        for k in range(first, min(first + SLICES, len(hu))):
            planes[k] = (along_j @ np.clip(hu[k], LOWEST_HU, HIGHEST_HU).astype(np.float32)) @ along_i.T

    list(each(shrink, range(0, len(hu), SLICES)))
    return np.rint(np.tensordot(along_k, planes, axes=1)).astype(np.int16)


def coarse_labels(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Labels ``[k, j, i]`` on the coarse grid, the nearest ones."""
    places = [
        np.minimum(size - 1, ((np.arange(count) + 0.5) * GRID_MM[axis] / spacing_mm[2 - axis]).astype(int))
        for axis, (size, count) in enumerate(zip(labels.shape, coarse_shape(labels.shape, spacing_mm), strict=True))
    ]
    return labels[np.ix_(*places)]


def fine_labels(labels: np.ndarray, shape_kji: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Labels of the coarse grid on that of a volume of this shape and voxel size (mm along i, j, k), the nearest."""
    places = [
        np.clip(np.rint((np.arange(count) + 0.5) * spacing_mm[2 - axis] / GRID_MM[axis] - 0.5), 0, size - 1).astype(int)
        for axis, (size, count) in enumerate(zip(labels.shape, shape_kji, strict=True))
    ]
    return labels[np.ix_(*places)]


def coarse_shape(
    shape_kji: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    grid_mm: tuple[float, float, float] = GRID_MM,
) -> tuple[int, int, int]:
    """Shape of the coarse grid of a volume."""
    return tuple(max(1, round(n * spacing_mm[2 - axis] / grid_mm[axis])) for axis, n in enumerate(shape_kji))


def to_coarse(kji: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Continuous indices ``(..., 3)`` in the order k, j, i of a volume as those of its coarse grid."""
    return (np.asarray(kji, float) + 0.5) * np.array(spacing_mm[::-1]) / GRID_MM - 0.5


def from_coarse(
    kji: np.ndarray, spacing_mm: tuple[float, float, float], grid_mm: tuple[float, float, float] = GRID_MM
) -> np.ndarray:
    """The way back of ``to_coarse``."""
    return (np.asarray(kji, float) + 0.5) * grid_mm / np.array(spacing_mm[::-1]) - 0.5


def _weights(size: int, count: int, step: float) -> np.ndarray:
    """float32 ``[count, size]``: by how much each old voxel counts in each new one; rows sum to 1."""
    width = max(step, 1.0)
    centres = (np.arange(count) + 0.5) * step - 0.5
    weights = np.clip(1 - np.abs(np.arange(size) - centres[:, None]) / width, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
