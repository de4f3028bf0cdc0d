"""Where the patient lies in the volume: the largest connected body, without table and air."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.volume.canonical import CanonicalView

SKIN_HU = -350
COARSE_MM = 4.0


def body_box(view: CanonicalView) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest and highest canonical index ``(i, j, k)`` of the patient; ``None`` when there is only air.

    Works on a copy at about 4 mm: tissue above -350 HU is opened by one voxel, which cuts off table tops and
    sheets, and the largest connected part is kept.
    """
    steps = [max(1, round(COARSE_MM / s)) for s in view.spacing_mm[::-1]]
    coarse = view.hu[:: steps[0], :: steps[1], :: steps[2]]
    tissue = coarse > SKIN_HU
    opened = ndimage.binary_opening(tissue, iterations=1) if min(tissue.shape) > 4 else tissue
    parts, count = ndimage.label(opened if opened.any() else tissue)
    if count == 0:
        return None
    largest = int(np.argmax(np.bincount(parts.ravel())[1:])) + 1
    (place,) = ndimage.find_objects((parts == largest).astype(np.uint8))
    low = np.array([place[2 - axis].start * steps[2 - axis] for axis in range(3)])
    high = np.array([place[2 - axis].stop * steps[2 - axis] for axis in range(3)])
    size = np.array(view.hu.shape[::-1])
    margin = np.array([round(6 / s) for s in view.spacing_mm])
    margin[2] = 0
    return np.maximum(low - margin, 0), np.minimum(high + margin, size) - 1
