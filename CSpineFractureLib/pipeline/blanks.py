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
DEPTH, FREED = 4, 0.5
"""Padding is solid: voxels of a face count where so many behind one another have the value, and most voxels of the
value are linked to the rim of their slice. So tissue in coarse steps of grey is none."""
LONGEST_MM = 15.0
"""From one measured slice to the next: what is longer stays blank."""
FEWEST_SLICES = 5
"""Less is a picture, in which black is no padding."""


def without_blanks(volume: CTVolume) -> CTVolume:
    """The volume as it can be analysed, with a notice for each change (``padding-value``, ``blank-slices``).

    Padding at the sides that reads as tissue or metal is -1024 HU, slices of one value between others are linear
    between these, and others of one value are air. A volume without any is given back as it is; the voxels of the
    other are not changed.
    """
    return volume if min(volume.shape_kji) < FEWEST_SLICES else _unpadded(_filled(volume))


def _filled(volume: CTVolume) -> CTVolume:
    view = CanonicalView.of(volume)
    blank = np.array([_is_blank(plane) for plane in view.hu])
    shown = np.flatnonzero(~blank)
    gaps = [(a, b) for a, b in pairwise(shown) if 1 < b - a <= LONGEST_MM / view.spacing_mm[2]]
    is_tissue = [k for k in np.flatnonzero(blank) if view.hu[k, 0, 0] > AIR_HU]
    if not len(shown) or not (gaps or is_tissue):
        return volume
    volume = replace(volume, hu=volume.hu.copy())
    hu = CanonicalView.of(volume).hu
    hu[is_tissue] = PADDING_HU  # those in gaps are filled next
    for low, high in gaps:
        for k in range(low + 1, high):
            share = (k - low) / (high - low)
            hu[k] = np.rint(hu[low] * (1 - share) + hu[high] * share)
    count = sum(high - low - 1 for low, high in gaps)
    done = f"{count} of them, between others, were filled in by linear interpolation" if gaps else "they count as air"
    message = f"{np.count_nonzero(blank)} slices are blank; {done}."
    return volume.with_notices(Notice("blank-slices", message))


def _is_blank(plane: np.ndarray) -> bool:
    """One value everywhere; the middle row tells most others apart."""
    return bool((plane[len(plane) // 2] == plane[0, 0]).all() and (plane == plane[0, 0]).all())


def _unpadded(volume: CTVolume) -> CTVolume:
    stored = CanonicalView.of(volume).hu
    layers = [stored[:, :DEPTH], stored[:, : -DEPTH - 1 : -1]]
    layers += [side.swapaxes(1, 2) for side in (stored[:, :, :DEPTH], stored[:, :, : -DEPTH - 1 : -1])]
    solid = [layer[:, 0][(layer == layer[:, :1]).all(axis=1)] for layer in layers]
    faces = sum(layer[:, 0].size for layer in layers)
    values, counts = np.unique(np.concatenate(solid), return_counts=True)
    values, counts = values[values > AIR_HU], counts[values > AIR_HU]
    if not len(values) or counts.max() < OF_SIDES * faces:
        return volume
    value = int(values[counts.argmax()])
    count = np.count_nonzero(stored == value)
    if count < OF_ALL * stored.size:
        return volume
    cleaned, freed = replace(volume, hu=volume.hu.copy()), 0
    for plane in CanonicalView.of(cleaned).hu:
        parts, _ = ndimage.label(plane == value)
        rim = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        outside = np.isin(parts, rim[rim > 0])
        plane[outside] = PADDING_HU
        freed += np.count_nonzero(outside)
    if freed < FREED * count:
        return volume
    message = f"The volume is padded with {value} HU at its sides, which was taken for air."
    return cleaned.with_notices(Notice("padding-value", message))
