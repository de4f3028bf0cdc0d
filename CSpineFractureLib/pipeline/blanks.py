"""Voxels that no scanner measured, made as harmless as air: padding of any other value, and blank slices.

Resampling and registration pad with 0 HU unless told otherwise, which reads as soft tissue: the body then seems to
reach far to one side. A blank slice between others parts the body, and what lies beyond it would not be looked at.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

PADDING_HU, AIR_HU = -1024, -900
"""What padding becomes; up to ``AIR_HU`` it does no harm as it is."""
OF_SIDES, OF_ALL = 0.1, 0.03
"""Shares of the right, left, front and back faces and of all voxels that have the one value of padding. No value does
in the 170 volumes of OpenKBP and the three other real CT at hand."""
LONGEST_MM = 15.0
"""From one measured slice to the next: what is longer stays blank."""
FEWEST_SLICES = 5
"""Less is a picture, in which black is no padding."""


def without_blanks(volume: CTVolume) -> CTVolume:
    """The volume as it can be analysed, with a notice for each change (``padding-value``, ``blank-slices``).

    Padding at the sides that reads as tissue or metal is -1024 HU, and slices of one value between others are linear
    between these. A volume without either is given back as it is; the voxels of the other are not changed.
    """
    return volume if min(volume.shape_kji) < FEWEST_SLICES else _filled(_unpadded(volume))


def _unpadded(volume: CTVolume) -> CTVolume:
    stored = CanonicalView.of(volume).hu
    sides = (stored[:, 0], stored[:, -1], stored[:, :, 0], stored[:, :, -1])
    faces = np.concatenate([side.ravel() for side in sides])
    values, counts = np.unique(faces[faces > AIR_HU], return_counts=True)
    if not len(values) or counts.max() < OF_SIDES * len(faces):
        return volume
    value = int(values[counts.argmax()])
    if np.count_nonzero(stored == value) < OF_ALL * stored.size:
        return volume
    volume = replace(volume, hu=volume.hu.copy())
    for plane in CanonicalView.of(volume).hu:
        parts, _ = ndimage.label(plane == value)
        rim = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        plane[np.isin(parts, rim[rim > 0])] = PADDING_HU
    message = f"The volume is padded with {value} HU at its sides, which was taken for air."
    return volume.with_notices(Notice("padding-value", message))


def _filled(volume: CTVolume) -> CTVolume:
    stored = CanonicalView.of(volume).hu
    shown = np.flatnonzero([not _is_blank(plane) for plane in stored])
    step = CanonicalView.of(volume).spacing_mm[2]
    gaps = [(a, b) for a, b in pairwise(shown) if 1 < b - a <= LONGEST_MM / step]
    if not gaps:
        return volume
    volume = replace(volume, hu=volume.hu.copy())
    hu = CanonicalView.of(volume).hu
    for low, high in gaps:
        for k in range(low + 1, high):
            share = (k - low) / (high - low)
            hu[k] = np.rint(hu[low] * (1 - share) + hu[high] * share)
    count = sum(high - low - 1 for low, high in gaps)
    message = f"{count} slices between others are blank; they were filled in by linear interpolation."
    return volume.with_notices(Notice("blank-slices", message))


def _is_blank(plane: np.ndarray) -> bool:
    """One value everywhere; the middle row tells most others apart."""
    return bool((plane[len(plane) // 2] == plane[0, 0]).all() and (plane == plane[0, 0]).all())
