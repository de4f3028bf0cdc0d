"""The rim of segments at half maximum: a voxel that the surface of bone cuts is bone where it is more than half bone.

Such a voxel has a value between that of soft tissue and that of the cortex beside it; half way between both it is half
filled. One threshold for a whole neck lies below that, so that it finds thin bone, and makes thick cortex too thick.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.volume.morphology import filled_block, grown, highest_around, label_places

RIM_MM, SMOOTH_MM = 1.0, 0.4
"""Depth of the rim, and how far the CT is smoothed to find its highest value, which noise would raise."""
SOFT_HU, BRIGHTEST_HU = 40.0, 1300.0
METAL_HU = 2200
"""Metal is brighter than bone, and no measure for it."""
CRUMB_MM3 = 30.0


def at_half_maximum(labels: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Take voxels of the rim that are less than half bone out of ``labels``, in place, and crumbs that come off.

    ``labels`` uint8 and ``hu`` int16 are ``[k, j, i]``, ``spacing_mm`` is along i, j, k. Along an axis with voxels of
    2 mm and more there is no rim, for they are as large as what it would take away.
    """
    across = spacing_mm[::-1]
    reach = tuple(round(RIM_MM / mm) for mm in across)
    block = filled_block(labels)
    if block is None or not any(reach):
        return
    block = grown(block, reach, labels.shape)
    labels, stored = labels[block], hu[block]
    hu = np.clip(stored, -1024, BRIGHTEST_HU).astype(np.float32)
    inner = ~highest_around(labels == 0, reach)
    metal = stored > METAL_HU
    calm = np.where(highest_around(metal, (1, 1, 1)), np.float32(SOFT_HU), hu) if metal.any() else hu
    highest = highest_around(ndimage.gaussian_filter(calm, [SMOOTH_MM / mm for mm in across]), reach)
    labels[~inner & (hu < (highest + SOFT_HU) / 2)] = 0
    for number, place in label_places(labels).items():
        parts, count = ndimage.label(labels[place] == number, np.ones((3, 3, 3)))
        if count > 1:
            is_crumb = np.bincount(parts.ravel()) * float(np.prod(spacing_mm)) < CRUMB_MM3
            is_crumb[0] = False
            labels[place][is_crumb[parts]] = 0
