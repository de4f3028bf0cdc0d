"""What the vertebra detector sees of each slice: three slabs, cut once though three slices share them."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.pipeline import axial
from CSpineFractureLib.pipeline.axial import DETECTOR_MM, AxialImages, detector_input, detector_inputs
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.windows import BONE


def images_of(slice_mm: float, every: int, count: int = 60) -> AxialImages:
    hu = np.random.default_rng(0).integers(-1000, 2000, (count, 50, 60)).astype(np.int16)
    view = CanonicalView.of(CTVolume(hu, np.diag([-0.4, -0.4, slice_mm, 1.0])))
    scale = DETECTOR_MM / 0.4
    return AxialImages(view, np.arange(0, count, every), (24, 20), (scale, scale), (0.0, 0.0))


@pytest.mark.parametrize(("slice_mm", "every"), [(0.5, 3), (0.7, 2), (1.25, 1), (3.0, 1)])
def test_pictures_asked_for_in_order_are_those_of_each_slice_alone(slice_mm, every):
    images = images_of(slice_mm, every)
    picture = detector_inputs(images)
    for k in images.slices[::-1]:
        assert np.array_equal(picture(int(k)), detector_input(images, int(k)))


def test_the_channels_are_slabs_of_2_mm_below_at_and_above_the_slice():
    images = images_of(0.5, 3)
    hu = images.view.hu
    for side, channel in zip((-8, 0, 8), detector_input(images, 30), strict=True):
        slab = hu[30 + side - 2 : 30 + side + 3].mean(axis=0, dtype=np.float32)
        assert np.array_equal(channel, BONE.apply(images.cut(slab)))


def test_at_the_ends_of_the_volume_the_last_slab_stands_in():
    images = images_of(1.25, 1)
    top, bottom = detector_input(images, 59), detector_input(images, 0)
    assert np.array_equal(top[1], top[2])
    assert np.array_equal(bottom[0], bottom[1])


def test_a_slab_that_three_slices_share_is_cut_once(monkeypatch):
    images, cuts = images_of(0.7, 2), []
    real = axial.resample_plane
    monkeypatch.setattr(axial, "resample_plane", lambda *arguments: cuts.append(1) or real(*arguments))
    picture = detector_inputs(images)
    for k in images.slices[::-1]:
        picture(int(k))
    assert len(cuts) <= len(images.slices) + 2
