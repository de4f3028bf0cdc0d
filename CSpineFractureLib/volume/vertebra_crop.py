"""The pictures of one vertebra: cut out by its largest extent, a fixed number of slices from top to bottom.

Document 002, sections III-B and III-D: one box per vertebra over all of its slices, so that nothing is stretched and
bones that slipped stay in view, and about 30 slices through each. Arrays are canonical: ``[k, j, i]`` with k towards
superior, j towards posterior and i towards the patient's left. Everything here is linear, and needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.volume.windows import THREE_BONE_WINDOWS

SLICES = 30
"""Slices per vertebra; document 002, section III-B."""
MARGIN_MM = 5.0
"""What is kept around a vertebra in the plane, for fragments that the mask leaves out (this project's choice)."""
AIR_HU = -1024


@dataclass(frozen=True)
class VertebraPlace:
    """Where a vertebra lies: slices ``k0`` to ``k1`` (both belong to it), rows ``j0`` and columns ``i0`` up to, but
    without, ``j1`` and ``i1``; voxels of the canonical array."""

    k0: int
    k1: int
    j0: int
    j1: int
    i0: int
    i1: int

    @classmethod
    def whole(cls, shape_kji: tuple[int, int, int], k0: int, k1: int) -> VertebraPlace:
        """Whole slices ``k0`` to ``k1``: no crop in the plane."""
        return cls(k0, k1, 0, shape_kji[1], 0, shape_kji[2])

    @property
    def square(self) -> tuple[int, int, int]:
        """First row, first column and edge, in pixels, of the square around it; it may reach out of the array."""
        height, width = self.j1 - self.j0, self.i1 - self.i0
        side = max(height, width)
        return self.j0 - (side - height) // 2, self.i0 - (side - width) // 2, side

    def heights(self, slices: int = SLICES) -> np.ndarray:
        """float ``[slices]``: the (broken) slice numbers of its pictures, evenly from top to bottom."""
        return np.linspace(self.k1, self.k0, slices) if slices > 1 else np.array([(self.k0 + self.k1) / 2])


def place_of(
    labels: np.ndarray, level_number: int, spacing_mm: tuple[float, float, float], margin_mm: float = MARGIN_MM
) -> VertebraPlace | None:
    """The largest extent of a vertebra over all slices, ``margin_mm`` wider in the plane but inside the array.

    ``labels`` is uint8 ``[k, j, i]`` (1-7 = C1-C7), ``spacing_mm`` along i, j, k. ``None`` where the vertebra has no
    voxel. Document 002, section III-D.
    """
    slices = np.flatnonzero((labels == level_number).any(axis=(1, 2)))
    if not len(slices):
        return None
    k0, k1 = int(slices[0]), int(slices[-1])
    shown = (labels[k0 : k1 + 1] == level_number).any(axis=0)
    bounds = []
    for axis, spacing in ((1, spacing_mm[1]), (0, spacing_mm[0])):
        found = np.flatnonzero(shown.any(axis=axis))
        margin = round(margin_mm / spacing)
        bounds += [max(0, int(found[0]) - margin), min(shown.shape[1 - axis], int(found[-1]) + 1 + margin)]
    return VertebraPlace(k0, k1, *bounds)


def crop_vertebra(
    hu: np.ndarray,
    place: VertebraPlace,
    size: int,
    slices: int = SLICES,
    labels: np.ndarray | None = None,
    level_number: int | None = None,
) -> np.ndarray:
    """uint8 ``[slices, 3, size, size]`` of a vertebra in the three bone windows; with ``labels`` a fourth channel.

    Slices run from top to bottom, rows from front to back, columns from the patient's right to left. ``hu`` is int16
    ``[k, j, i]``, ``labels`` uint8 on its grid; the fourth channel is 255 where the vertebra ``level_number`` is. The
    place is widened to a square; what lies outside the array is air. Values are linear between slices and when
    enlarging, averaged by area when shrinking, and windowed last.
    """
    rows, columns = _inside(hu.shape, place)
    box = (slice(place.k0, place.k1 + 1), rows, columns)
    values = _resampled(hu[box], place, rows.start, columns.start, size, slices, AIR_HU)
    channels = [window.apply(values) for window in THREE_BONE_WINDOWS]
    if labels is not None:
        channels.append(_resampled(labels[box] == level_number, place, rows.start, columns.start, size, slices, 0))
    result = np.empty((slices, len(channels), size, size), np.uint8)
    for number, channel in enumerate(channels):
        result[:, number] = np.rint(channel * 255)
    return result


def crop_mask(mask: np.ndarray, place: VertebraPlace, size: int, slices: int = SLICES) -> np.ndarray:
    """float32 ``[slices, size, size]`` 0..1: the share of each pixel of ``crop_vertebra`` where ``mask`` is true.

    ``mask`` is bool ``[k, j, i]`` on the grid of the CT.
    """
    rows, columns = _inside(mask.shape, place)
    block = mask[place.k0 : place.k1 + 1, rows, columns]
    return _resampled(block, place, rows.start, columns.start, size, slices, 0)


def _resampled(
    block: np.ndarray, place: VertebraPlace, row: int, column: int, size: int, slices: int, outside: float
) -> np.ndarray:
    """float32 ``[slices, size, size]`` of the part ``[k, j, i]`` of the place that begins at ``row`` and ``column``."""
    j0, i0, side = place.square
    across = _weights(side, size)
    down = across[:, row - j0 :][:, : block.shape[1]]
    over = across[:, column - i0 :][:, : block.shape[2]].T.copy()
    result = np.empty((slices, size, size), np.float32)
    for number, height in enumerate(place.heights(slices) - place.k0):
        low = max(0, min(int(height), len(block) - 2))
        high, part = min(low + 1, len(block) - 1), np.float32(height - low)
        below, above = block[low].astype(np.float32) - outside, block[high].astype(np.float32) - outside
        result[number] = down @ (below + (above - below) * part) @ over
    return result + np.float32(outside)


def _inside(shape_kji: tuple[int, ...], place: VertebraPlace) -> tuple[slice, slice]:
    """The rows and columns of a place's square that the array has."""
    j0, i0, side = place.square
    return slice(max(0, j0), min(shape_kji[1], j0 + side)), slice(max(0, i0), min(shape_kji[2], i0 + side))


def _weights(side: int, size: int) -> np.ndarray:
    """float32 ``[size, side]``: what each pixel gives to each new one; rows sum to 1."""
    scale = side / size
    if scale > 1:  # the share of the new pixel that each old one covers
        edges = np.arange(size + 1) * scale
        old = np.arange(side)
        covered = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
        return (np.clip(covered, 0, None) / scale).astype(np.float32)
    centres = np.clip((np.arange(size) + 0.5) * scale - 0.5, 0, side - 1)
    return np.clip(1 - np.abs(centres[:, None] - np.arange(side)), 0, None).astype(np.float32)
