"""The Grad-CAM slices as one volume around the column, and as single pictures."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from CSpineFractureLib.findings.study_output import CamSlice
from CSpineFractureLib.pipeline.suspicion import SliceSuspicion
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.morphology import filled_block

CAM_MM = 1.0
FADE_MM = (6.0, 14.0)
MOST_PICTURES = 48


def cam_volume(
    view: CanonicalView, suspicions: list[SliceSuspicion], labels: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """uint8 ``[k, j, i]`` Grad-CAM (already scaled by slice probability) and its 4x4 matrix to RAS mm.

    The grid has the CT's slices and about 1 mm pixels, cropped to the column; slices without a CAM are 0. It fades out
    between 6 and 14 mm from the vertebrae of ``labels`` (canonical grid): what the classifier saw in teeth or mastoid
    cells says nothing about them. Where no vertebra was found, the pictures are shown whole. Both are ``None`` when no
    slice was explained.
    """
    shown = [s for s in suspicions if s.cam is not None]
    if not shown:
        return None, None
    filled = filled_block(labels)
    low, high = _extent(view, shown, filled)
    spacing = view.spacing_mm
    size = [max(1, round((high[axis] - low[axis]) * spacing[axis] / CAM_MM)) for axis in (0, 1)]
    pixel = [(high[axis] - low[axis]) / size[axis] for axis in (0, 1)]
    first, last = min(s.k for s in shown), max(s.k for s in shown)
    cam = np.zeros((last - first + 1, size[1], size[0]), np.uint8)
    i, j = (low[axis] + (np.arange(size[axis]) + 0.5) * pixel[axis] for axis in (0, 1))
    for s in shown:
        (u, further_u), (v, further_v) = s.place.pixels_of(i[0] + [0, pixel[0]], j[0] + [0, pixel[1]])
        way = np.array([[further_u - u, 0, u], [0, further_v - v, v]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cam[s.k - first] = np.rint(255 * np.clip(cv2.warpAffine(s.cam, way, tuple(size), flags=flags), 0, 1))
    matrix = view.ijk_to_ras.copy()
    matrix[:3, 0] *= pixel[0]
    matrix[:3, 1] *= pixel[1]
    matrix[:3, 3] = view.ras_of(np.array([i[0], j[0], first]))
    if filled is None:
        return cam, matrix
    rows, columns = (
        np.clip(np.rint(axis).astype(int), 0, n - 1) for axis, n in zip((j, i), labels.shape[1:], strict=True)
    )
    bone = labels[first : last + 1][:, rows[:, None], columns[None, :]] > 0
    return _faded(cam, bone, (spacing[2], pixel[1] * spacing[1], pixel[0] * spacing[0])), matrix


def _extent(
    view: CanonicalView, shown: list[SliceSuspicion], filled: tuple[slice, ...] | None
) -> tuple[list[float], list[float]]:
    """Lowest and highest index (i, j; voxel edges) of the pictures, in the volume and as far as the CAM can reach from
    the block of vertebrae."""
    low, high = [], []
    for axis in (0, 1):
        ends = [-0.5, view.hu.shape[2 - axis] - 0.5]
        if filled:
            block, reach = filled[2 - axis], FADE_MM[1] / view.spacing_mm[axis]
            ends = [max(ends[0], block.start - reach), min(ends[1], block.stop - 1 + reach)]
        start = min(s.place.offset[axis] for s in shown) - 0.5
        end = max(s.place.offset[axis] + s.place.size[axis] * s.place.scale[axis] for s in shown) - 0.5
        low.append(max(ends[0], start))
        high.append(min(ends[1], end))
    return low, high


def _faded(cam: np.ndarray, bone: np.ndarray, spacing_kji: tuple[float, float, float]) -> np.ndarray:
    if not bone.any():
        return np.zeros_like(cam)
    distance = ndimage.distance_transform_edt(~bone, sampling=spacing_kji)
    near, far = FADE_MM
    return np.rint(cam * np.clip((far - distance) / (far - near), 0, 1)).astype(np.uint8)


def cam_slices(view: CanonicalView, suspicions: list[SliceSuspicion]) -> list[CamSlice]:
    """The slices with a CAM, the most suspicious first, at most 48.

    They carry the number of the stored slice; where the volume is not stored along the body axis, that of the axial
    slice counted from inferior.
    """
    shown = sorted((s for s in suspicions if s.cam is not None), key=lambda s: (-s.probability, s.k))[:MOST_PICTURES]
    number = view.stored_slice if view.stored_slice_axis() == 0 else int
    return [CamSlice(number(s.k), s.probability, s.picture, s.cam) for s in shown]
