"""The rim of segments at half maximum: a voxel that the surface of bone cuts is bone where it is more than half bone.

Such a voxel has a value between that of soft tissue and that of the cortex beside it; half way between both it is half
filled. One threshold for a whole neck lies below that, so that it finds thin bone, and makes thick cortex too thick.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from CSpineFractureLib.volume.morphology import Place, filled_block, grown, highest_around, inside, label_places, peel

RIM_MM, SMOOTH_MM = 1.0, 0.4
"""Depth of the rim, and how far the CT is smoothed to find its highest value, which noise would raise."""
SOFT_HU, BRIGHTEST_HU = 40.0, 1300
METAL_HU = 2200
"""Metal is brighter than bone, and no measure for it."""
COARSEST_MM = 3.0
"""An arch is one such voxel thick: a rim would leave holes in it."""
CRUMB_MM3, CRUMB_VOXELS = 30.0, 4
"""A piece that comes off is a crumb where it is smaller than either."""
SLICES = 8
"""Looked at together: so few that they stay in the processor's cache."""


def at_half_maximum(labels: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Take voxels of the rim that are less than half bone out of ``labels``, in place, and crumbs that come off.

    ``labels`` uint8 and ``hu`` int16 are ``[k, j, i]``, ``spacing_mm`` is along i, j, k. The rim is at least one voxel
    deep, but along an axis with voxels of more than ``COARSEST_MM`` there is none. Dark voxels behind bright ones stay,
    for they are marrow.
    """
    across = spacing_mm[::-1]
    reach = tuple(max(int(mm <= COARSEST_MM + 1e-3), round(RIM_MM / mm)) for mm in across)
    block = filled_block(labels)
    if block is None or not any(reach):
        return
    dark = []  # found before any is taken out: the rim is that of the labels as they came
    for first in range(block[0].start, block[0].stop, SLICES):
        part = (slice(first, min(first + SLICES, block[0].stop)), *block[1:])
        filled = filled_block(labels[part])
        if filled is not None:
            place = inside(part, filled)
            start = [p.start for p in place]
            dark.append(np.argwhere(_dark_rim(labels, hu, place, reach, across)) + start)
    if dark:
        peel(labels, np.concatenate(dark), max(reach))
    voxel_mm3 = float(np.prod(spacing_mm))
    for number, place in label_places(labels).items():
        parts, count = ndimage.label(labels[place] == number, np.ones((3, 3, 3)))
        if count > 1:
            is_crumb = np.bincount(parts.ravel()) < max(CRUMB_VOXELS, CRUMB_MM3 / voxel_mm3)
            is_crumb[0] = False
            labels[place][is_crumb[parts]] = 0


def _dark_rim(
    labels: np.ndarray, hu: np.ndarray, place: Place, reach: tuple[int, ...], across: tuple[float, ...]
) -> np.ndarray:
    """Bool: the voxels of ``place`` in the rim of ``labels`` that are less than half bone; ``across`` mm a voxel."""
    kernels = [_gaussian(SMOOTH_MM / mm) for mm in across]
    halo = tuple(r + len(k) // 2 + 1 for r, k in zip(reach, kernels, strict=True))  # 1 for metal beside it
    around = grown(place, halo, labels.shape)
    own = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(place, around, strict=True))
    metal, calm = hu[around] > METAL_HU, np.clip(hu[around], -1024, BRIGHTEST_HU)
    values = calm[own]
    if metal.any():
        calm = np.where(highest_around(metal, (1, 1, 1)), np.int16(SOFT_HU), calm)
    highest, inner = np.empty(calm.shape, np.float32), np.empty(calm.shape, np.uint8)
    box = np.ones((2 * reach[1] + 1, 2 * reach[2] + 1), np.uint8)
    for n, plane in enumerate(calm):
        cv2.sepFilter2D(plane, cv2.CV_32F, kernels[2], kernels[1], highest[n], borderType=cv2.BORDER_REFLECT)
    along_k = np.ones(1, np.float32), kernels[0]
    flat = cv2.sepFilter2D(highest.reshape(len(calm), -1), -1, *along_k, borderType=cv2.BORDER_REFLECT)
    highest = flat.reshape(calm.shape)
    for n, plane in enumerate(labels[around]):
        cv2.dilate(highest[n], box, highest[n])
        cv2.erode((plane > 0).view(np.uint8), box, inner[n])
    highest = highest_around(highest, (reach[0], 0, 0))[own]
    inner = ~highest_around(inner == 0, (reach[0], 0, 0))[own]
    return ~inner & (labels[place] > 0) & (values < (highest + np.float32(SOFT_HU)) / 2)


def _gaussian(sd: float) -> np.ndarray:
    """As in ``scipy.ndimage.gaussian_filter``: weights as far as four standard deviations (in voxels)."""
    return cv2.getGaussianKernel(2 * int(4 * sd + 0.5) + 1, sd, cv2.CV_32F)
