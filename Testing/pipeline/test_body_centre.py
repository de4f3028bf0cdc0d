"""The middle of a body whose marrow is darker than its shell, in front of an open canal."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.body_centre import MARROW_HU, _solid, body_centre
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

WHOLE = (slice(0, 24), slice(0, 60), slice(0, 50))
MARROW, CANAL = (slice(4, 20), slice(12, 26), slice(15, 35)), (slice(4, 20), slice(28, 40), slice(18, 32))


def vertebra() -> tuple[np.ndarray, np.ndarray]:
    """Bone ``[k, j, i]`` of a hollow body with a closed ring behind it, and HU: marrow 150 and cord 30."""
    hu = np.full((24, 60, 50), 40, np.int16)
    bone = np.zeros(hu.shape, bool)
    bone[4:20, 10:42, 13:37] = True
    bone[MARROW], bone[CANAL] = False, False
    hu[bone], hu[MARROW], hu[CANAL] = 600, 150, 30
    return bone, hu


def test_marrow_is_part_of_the_bone_and_the_closed_canal_is_not():
    bone, hu = vertebra()
    solid = _solid(bone, hu)
    assert solid[MARROW].all()
    assert not solid[CANAL].any()
    outside = ~bone
    outside[MARROW] = outside[CANAL] = False
    assert not solid[outside].any()


def test_holes_are_filled_slice_by_slice_as_scipy_finds_them():
    rng = np.random.default_rng(0)
    bone = ndimage.gaussian_filter(rng.standard_normal((20, 40, 40)), (0, 1, 1)) > -0.1
    hu = rng.integers(0, 160, bone.shape).astype(np.int16)
    wanted = bone.copy()
    for k, plane in enumerate(bone):
        holes, count = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
        means = ndimage.mean(hu[k], holes, np.arange(1, count + 1))
        wanted[k] |= np.isin(holes, np.flatnonzero(means > MARROW_HU) + 1)
    assert wanted.sum() > bone.sum()
    assert np.array_equal(_solid(bone, hu), wanted)


def test_the_middle_of_a_hollow_body_is_found_from_a_guess_beside_it():
    bone, hu = vertebra()
    view = CanonicalView.of(CTVolume(hu, np.diag([-1.0, -1.0, 1.0, 1.0])))
    middle = np.array([-24.5, -18.0, 11.5])
    found = body_centre(bone, WHOLE, view, middle + np.array([2.0, 4.0, -3.0]), first=False)
    assert np.linalg.norm(found - middle) < 2.0
