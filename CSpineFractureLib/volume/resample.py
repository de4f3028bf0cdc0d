"""Linear resampling: an irregular stack of slices to a regular orthogonal grid, and a volume to another spacing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from CSpineFractureLib.volume.ct_volume import CTVolume

OUTSIDE_HU = -1024


def resample_stack(
    read: Callable[[int], np.ndarray], along: np.ndarray, across: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, tuple[float, float]]:
    """Interpolate slices that lie anywhere along their common normal, possibly shifted within their plane.

    Parameters
    ----------
    read
        Gives slice ``n`` as int16 HU ``[j, i]``; called once per slice, in order.
    along
        (n,) increasing positions in mm along the normal, the first 0.
    across
        (n, 2) shifts in mm along i and j.
    spacing
        Of the new grid: mm along i, j (those of the slices) and k.

    Returns
    -------
    int16 HU ``[k, j, i]``, and the shift in mm along i and j of its first voxel against that of slice 0. Voxels that
    no slice covers are -1024 HU.
    """
    shift = across / np.array(spacing[:2])
    low = np.floor(shift.min(axis=0) + 1e-6)
    first = read(0)
    rows, columns = first.shape
    extra = np.ceil(shift.max(axis=0) - low - 1e-6).astype(int)
    count = int(np.floor(along[-1] / spacing[2] + 1e-3)) + 1
    output = np.empty((count, rows + extra[1], columns + extra[0]), np.int16)

    def placed(index: int) -> np.ndarray:
        source = first if index == 0 else read(index)
        moved = _shifted(source.astype(np.float32), shift[index, 1] - low[1], 0, output.shape[1])
        return _shifted(moved, shift[index, 0] - low[0], 1, output.shape[2])

    below, above, index = placed(0), None, 0
    for k in range(count):
        height = min(k * spacing[2], along[-1])
        while index + 1 < len(along) - 1 and along[index + 1] <= height + 1e-6:
            below, above = (placed(index + 1) if above is None else above), None
            index += 1
        if above is None:
            above = placed(index + 1)
        weight = np.clip((height - along[index]) / (along[index + 1] - along[index]), 0.0, 1.0)
        output[k] = np.rint(below + (above - below) * np.float32(weight))
    return output, (float(low[0] * spacing[0]), float(low[1] * spacing[1]))


def _shifted(plane: np.ndarray, by: float, axis: int, size: int) -> np.ndarray:
    """Move a plane by a non-negative, possibly broken number of pixels into a larger one."""
    shape = list(plane.shape)
    shape[axis] = size
    result = np.full(shape, OUTSIDE_HU, np.float32)
    whole = int(np.floor(by + 1e-6))
    part = max(0.0, by - whole)
    length = plane.shape[axis]
    there = [slice(None), slice(None)]
    there[axis] = slice(whole, whole + length)
    result[tuple(there)] = plane
    if part < 1e-3:
        return result
    behind = np.full(shape, OUTSIDE_HU, np.float32)
    there[axis] = slice(whole + 1, min(size, whole + 1 + length))
    kept = [slice(None), slice(None)]
    kept[axis] = slice(0, min(size, whole + 1 + length) - whole - 1)
    behind[tuple(there)] = plane[tuple(kept)]
    return result * np.float32(1 - part) + behind * np.float32(part)


def resample_to(volume: CTVolume, spacing_mm: tuple[float, float, float], order: int = 1) -> CTVolume:
    """The volume on an orthogonal grid of the given spacing (mm along i, j, k), axes along its own i, j and k.

    ``order`` is the spline order (1 linear, 0 nearest). Voxel centres start at the same corner of the field of view.
    A sheared volume is made orthogonal: its slices stay as they are, k is turned upright on them, and the grid grows
    to cover all of it.
    """
    directions = _orthogonal(volume.ijk_to_ras[:3, :3] / np.array(volume.spacing_mm))
    ends = np.array(volume.shape_kji[::-1]) - 1
    corners = np.array(np.meshgrid(*([0, end] for end in ends), indexing="ij")).reshape(3, -1).T
    places = volume.ras_of(corners) @ directions
    half = (np.array(volume.spacing_mm) - np.array(spacing_mm)) / 2
    low, high = places.min(axis=0) - half, places.max(axis=0) + half
    size = np.maximum(np.floor((high - low) / np.array(spacing_mm) + 1e-3).astype(int) + 1, 1)
    matrix = np.eye(4)
    matrix[:3, :3] = directions * np.array(spacing_mm)
    matrix[:3, 3] = directions @ low
    return resample_like(volume, matrix, tuple(size[::-1]), order)


def resample_like(
    volume: CTVolume, ijk_to_ras: np.ndarray, shape_kji: tuple[int, int, int], order: int = 1
) -> CTVolume:
    """The volume on the given grid; -1024 HU where it has no voxels. ``grid`` becomes ``"resampled"``."""
    step = np.linalg.inv(volume.ijk_to_ras) @ ijk_to_ras
    reverse = np.eye(3)[::-1]
    linear = reverse @ step[:3, :3] @ reverse
    offset = step[:3, 3][::-1]
    hu = ndimage.affine_transform(
        volume.hu.astype(np.float32),
        linear,
        offset=offset,
        output_shape=tuple(int(n) for n in shape_kji),
        order=order,
        mode="grid-constant",
        cval=OUTSIDE_HU,
    )
    return replace(
        volume, hu=np.rint(hu).astype(np.int16), ijk_to_ras=ijk_to_ras, grid="resampled", sop_instance_uids=None
    )


def _orthogonal(directions: np.ndarray) -> np.ndarray:
    """Unit vectors made perpendicular: i stays, j is turned within the slice, k upright on it; handedness kept."""
    i, j, k = (directions[:, axis] / np.linalg.norm(directions[:, axis]) for axis in range(3))
    if max(abs(i @ j), abs(i @ k), abs(j @ k)) < 1e-6:
        return np.stack([i, j, k], axis=1)
    j = j - i * (i @ j)
    j /= np.linalg.norm(j)
    upright = np.cross(i, j)
    return np.stack([i, j, upright * np.sign(upright @ k)], axis=1)
