"""The Grad-CAM slices as one volume around the column."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.axial import CROP_MM
from CSpineFractureLib.pipeline.canonical import CanonicalView
from CSpineFractureLib.pipeline.suspicion import SliceSuspicion

CAM_MM = 1.0
FADE_MM = (6.0, 14.0)


def cam_volume(
    view: CanonicalView, suspicions: list[SliceSuspicion], labels: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """uint8 ``[k, j, i]`` Grad-CAM (already scaled by slice probability) and its 4x4 matrix to RAS mm.

    The grid has the CT's slices and about 1 mm pixels, cropped to the column; slices without a CAM are 0. It fades out
    between 6 and 14 mm from the vertebrae of ``labels`` (canonical grid): what the classifier saw in teeth or mastoid
    cells says nothing about them. Both are ``None`` when no slice was explained.
    """
    shown = [s for s in suspicions if s.cam is not None]
    if not shown:
        return None, None
    spacing = view.spacing_mm
    half = [CROP_MM / 2 / spacing[axis] for axis in (0, 1)]
    centres = np.array([s.centre_ij for s in shown])
    low = [centres[:, axis].min() - half[axis] for axis in (0, 1)]
    high = [centres[:, axis].max() + half[axis] for axis in (0, 1)]
    low = [max(-0.5, v) for v in low]
    high = [min(view.hu.shape[2 - axis] - 0.5, high[axis]) for axis in (0, 1)]
    size = [max(1, round((high[axis] - low[axis]) * spacing[axis] / CAM_MM)) for axis in (0, 1)]
    pixel = [(high[axis] - low[axis]) / size[axis] for axis in (0, 1)]
    first, last = min(s.k for s in shown), max(s.k for s in shown)
    cam = np.zeros((last - first + 1, size[1], size[0]), np.uint8)
    i = low[0] + (np.arange(size[0]) + 0.5) * pixel[0]
    j = low[1] + (np.arange(size[1]) + 0.5) * pixel[1]
    for s in shown:
        scale = [s.cam.shape[1 - axis] / (2 * half[axis]) for axis in (0, 1)]
        u = (i - s.centre_ij[0]) * scale[0] + (s.cam.shape[1] - 1) / 2
        v = (j - s.centre_ij[1]) * scale[1] + (s.cam.shape[0] - 1) / 2
        grid = np.meshgrid(v, u, indexing="ij")
        cam[s.k - first] = np.rint(255 * np.clip(ndimage.map_coordinates(s.cam, grid, order=1, cval=0.0), 0, 1))
    matrix = view.ijk_to_ras.copy()
    matrix[:3, 0] *= pixel[0]
    matrix[:3, 1] *= pixel[1]
    matrix[:3, 3] = view.ras_of(np.array([i[0], j[0], first]))
    rows, columns = (
        np.clip(np.rint(axis).astype(int), 0, n - 1) for axis, n in zip((j, i), labels.shape[1:], strict=True)
    )
    bone = labels[first : last + 1][:, rows[:, None], columns[None, :]] > 0
    return _faded(cam, bone, (spacing[2], pixel[1] * spacing[1], pixel[0] * spacing[0])), matrix


def _faded(cam: np.ndarray, bone: np.ndarray, spacing_kji: tuple[float, float, float]) -> np.ndarray:
    if not bone.any():
        return np.zeros_like(cam)
    distance = ndimage.distance_transform_edt(~bone, sampling=spacing_kji)
    near, far = FADE_MM
    return np.rint(cam * np.clip((far - distance) / (far - near), 0, 1)).astype(np.uint8)
