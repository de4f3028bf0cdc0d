"""Axial images for the networks: resampled in the plane, windowed, and stacked with their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from CSpineFractureLib.pipeline.body import body_box
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.windows import BONE

DETECTOR_MM = 1.0
DETECTOR_LIMIT = 320
NEIGHBOUR_MM = 4.0
SLAB_MM = 2.0
STEP_MM = 1.5
KEPT_PLANES = 32
"""More than the slabs that are cut between a slab's first and last use."""


@dataclass(frozen=True)
class AxialImages:
    """Where a set of network images lies in the canonical view.

    Image pixel (column u, row v, edges at whole numbers) of slice ``slices[n]`` maps to canonical index
    ``i = u * scale[0] + offset[0] - 0.5`` and likewise j.
    """

    view: CanonicalView
    slices: np.ndarray
    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def ras_of(self, u: float, v: float, k: float) -> np.ndarray:
        """RAS mm of pixel edges ``(u, v)`` on canonical slice ``k``."""
        ijk = (u * self.scale[0] + self.offset[0] - 0.5, v * self.scale[1] + self.offset[1] - 0.5, k)
        return self.view.ras_of(np.array(ijk))

    def pixels_of(self, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Broken) pixels u, v, with middles at whole numbers, of canonical indices."""
        return tuple((x + 0.5 - o) / s - 0.5 for x, o, s in zip((i, j), self.offset, self.scale, strict=True))

    def cut(self, plane: np.ndarray) -> np.ndarray:
        """Resample one plane ``[j, i]`` (HU) to these images' pixels, float32; padding is -1024 HU."""
        return resample_plane(plane, self.size, self.scale, self.offset)


def resample_plane(
    plane: np.ndarray, size: tuple[int, int], scale: tuple[float, float], offset: tuple[float, float]
) -> np.ndarray:
    """float32 ``[size[1], size[0]]`` of a plane ``[j, i]``: area-averaged when shrinking, linear when enlarging."""
    plane = plane.astype(np.float32)
    shrink = [max(1.0, s) for s in scale]
    if max(shrink) > 1.25:
        plane = cv2.GaussianBlur(
            plane, (0, 0), sigmaX=max(1e-3, 0.42 * (shrink[0] - 0.5)), sigmaY=max(1e-3, 0.42 * (shrink[1] - 0.5))
        )
    matrix = np.array(
        [[scale[0], 0, 0.5 * scale[0] + offset[0] - 0.5], [0, scale[1], 0.5 * scale[1] + offset[1] - 0.5]], np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=-1024)


def detector_images(view: CanonicalView) -> AxialImages | None:
    """Image geometry for the vertebra detector: 1 mm pixels over the body, a slice every 1.5 mm or coarser.

    ``None`` when the volume holds only air.
    """
    box = body_box(view)
    if box is None:
        return None
    low, high = box
    spacing = view.spacing_mm
    size, offset = [], []
    for axis in (0, 1):
        extent = (high[axis] - low[axis] + 1) * spacing[axis] / DETECTOR_MM
        pixels = int(min(DETECTOR_LIMIT, max(96, np.ceil(extent / 32) * 32)))
        size.append(pixels)
        offset.append((low[axis] + high[axis] + 1) / 2 - pixels / 2 * DETECTOR_MM / spacing[axis])
    step = max(1, round(STEP_MM / spacing[2]))
    slices = np.arange(low[2], high[2] + 1, step)
    return AxialImages(view, slices, tuple(size), (DETECTOR_MM / spacing[0], DETECTOR_MM / spacing[1]), tuple(offset))


def detector_input(images: AxialImages, k: int) -> np.ndarray:
    """float32 ``[3, h, w]`` 0..1: bone-windowed slabs of about 2 mm at -4, 0 and +4 mm around slice ``k``."""
    return detector_inputs(images)(k)


def detector_inputs(images: AxialImages) -> Callable[[int], np.ndarray]:
    """As ``detector_input``, for slices asked for in order: slabs that neighbouring slices share are cut once."""
    count, spacing = len(images.view.hu), images.view.spacing_mm[2]
    slab = lru_cache(KEPT_PLANES)(lambda centre: BONE.apply(images.cut(_slab_mean(images.view, centre))))

    def picture(k: int) -> np.ndarray:
        sides = (round(k + side * NEIGHBOUR_MM / spacing) for side in (-1, 0, 1))
        return np.stack([slab(int(np.clip(centre, 0, count - 1))) for centre in sides])

    return picture


def _slab_mean(view: CanonicalView, centre: int) -> np.ndarray:
    """The mean ``[j, i]`` of about 2 mm of slices around one, float32 (or that slice itself)."""
    half = int(max(0, round((SLAB_MM / view.spacing_mm[2] - 1) / 2)))
    slab = view.hu[max(0, centre - half) : centre + half + 1]
    if len(slab) == 1:
        return slab[0]
    total = slab[0].astype(np.float32)
    for plane in slab[1:]:
        total += plane  # whole numbers: exact
    return total / np.float32(len(slab))


CROP_MM, CROP_PIXELS = 128.0, 224


def column_crop(view: CanonicalView, k: int, centre_ij: tuple[float, float]) -> tuple[np.ndarray, AxialImages]:
    """float32 ``[1, 224, 224]`` 0..1 of slice ``k``: 128 mm around the column at ``(i, j)``, bone window."""
    spacing = view.spacing_mm
    pixel = CROP_MM / CROP_PIXELS
    scale = (pixel / spacing[0], pixel / spacing[1])
    offset = tuple(centre_ij[axis] + 0.5 - CROP_PIXELS / 2 * scale[axis] for axis in (0, 1))
    images = AxialImages(view, np.array([k]), (CROP_PIXELS, CROP_PIXELS), scale, offset)
    return BONE.apply(images.cut(view.hu[k]))[None], images
