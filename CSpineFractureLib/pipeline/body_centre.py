"""The middle of the vertebral body, from the vertebra's own mask.

Boxes in slices give a first guess, but it depends on how the slices cut the vertebra. The body is the thickest part of
the mask: the middle of what lies deep inside it does not change when the gantry tilts.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.morphology import dilated, eroded

WORK_MM = 1.0
REACH_MM = 10.0
LONGEST_WAY_MM = 14.0, 22.0
"""From the guess, for C1 and the others; farther away lies another bone."""
DEEP_SHARE = 0.6
ARCH_HALF_WIDTH_MM, ARCH_DEPTH_MM = 7.0, 8.0
LEAST_VOXELS = 20
ROUNDS = 6
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)
"""Neighbours of a voxel within its slice."""
MARROW_HU = 80.0
"""Above the cord and its fluid (0 to 50 HU), below nearly all marrow of the cervical bodies."""


def body_centre(
    own: np.ndarray, place: tuple[slice, slice, slice], view: CanonicalView, guess: np.ndarray, first: bool
) -> np.ndarray:
    """RAS mm of the middle of the body (``first``: of the anterior arch of C1); the guess where the mask shows none.

    Parameters
    ----------
    own, place
        Bool ``[k, j, i]``, the vertebra, in the block ``place`` of the canonical grid, which holds it.
    guess
        RAS mm; where to begin: the middle of what lies deep within 10 mm is the next guess.
    """
    step = tuple(max(1, round(WORK_MM / s)) for s in view.spacing_mm[::-1])
    part = np.pad(own[:: step[0], :: step[1], :: step[2]], 2)
    spacing = np.array([s * t for s, t in zip(view.spacing_mm[::-1], step, strict=True)])
    hu = np.pad(view.hu[place][:: step[0], :: step[1], :: step[2]], 2, constant_values=-1000)
    filled = _solid(eroded(dilated(part)), hu)
    index = np.argwhere(filled)
    ijk = (index[:, ::-1] - 2) * step[::-1] + [p.start for p in place[::-1]]
    ras = view.ras_of(ijk)
    depth = ndimage.distance_transform_edt(filled, sampling=spacing)[tuple(index.T)]
    guess = np.asarray(guess, float)
    centre = guess.copy()
    if not first:
        centre[0] = np.percentile(ras[:, 0], [2, 98]).mean()
    for _ in range(ROUNDS):
        near = np.linalg.norm(ras - centre, axis=1) <= REACH_MM
        if first and near.any():
            front = near & (ras[:, 1] >= np.percentile(ras[near, 1], 99) - ARCH_DEPTH_MM / 2)
            near &= np.abs(ras[:, 0] - ras[front, 0].mean()) <= ARCH_HALF_WIDTH_MM
            near &= ras[:, 1] >= np.percentile(ras[near, 1], 99) - ARCH_DEPTH_MM
        elif near.any():
            near &= depth >= DEEP_SHARE * depth[near].max()
        if near.sum() < LEAST_VOXELS:
            return guess
        centre = ras[near].mean(axis=0)
    return centre if np.linalg.norm(centre - guess) <= LONGEST_WAY_MM[0 if first else 1] else guess


def _solid(bone: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """The bone ``[k, j, i]`` with its marrow, whose HU may be low; the canal, closed by the arch, stays open."""
    holes, count = ndimage.label(~bone, IN_PLANE)
    if not count:
        return bone
    voxels = np.bincount(holes.ravel(), minlength=count + 1)
    marrow = np.bincount(holes.ravel(), weights=hu.ravel(), minlength=count + 1) > MARROW_HU * voxels
    marrow[0] = False
    for side in (holes[:, 0], holes[:, -1], holes[:, :, 0], holes[:, :, -1]):
        marrow[side] = False  # open to the outside
    return bone | marrow[holes]
