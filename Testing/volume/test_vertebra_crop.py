"""The crop of a vertebra, against volumes made by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from CSpineFractureLib.volume import CTVolume
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.vertebra_crop import AIR_HU, VertebraPlace, crop_vertebra, place_of
from CSpineFractureLib.volume.windows import THREE_BONE_WINDOWS

SHAPE = (12, 40, 48)
MATRIX = np.array([[-0.5, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 1.0, -50], [0, 0, 0, 1]])
"""Canonical: i to the left, j to the back, k upwards."""


@pytest.fixture
def study() -> tuple[np.ndarray, np.ndarray]:
    """HU that tell where they come from (k, j and i), and C3 with a far process in one slice."""
    k, j, i = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 10:20, 15:27] = 3
    labels[5, 20:30, 20:22] = 3
    labels[8:11, 5:9, 5:9] = 2
    return (k * 100 + j * 7 + i * 3).astype(np.int16), labels


def test_the_place_is_the_largest_extent_over_all_slices(study) -> None:
    _, labels = study
    assert place_of(labels, 3, (0.5, 0.5, 1.0), 0.0) == VertebraPlace(3, 8, 10, 30, 15, 27)
    assert place_of(labels, 3, (0.5, 0.25, 1.0), 1.0) == VertebraPlace(3, 8, 6, 34, 13, 29)
    assert place_of(labels, 2, (0.5, 0.5, 1.0), 5.0) == VertebraPlace(8, 10, 0, 19, 0, 19), "kept inside the array"
    assert place_of(labels, 5, (0.5, 0.5, 1.0)) is None


def test_a_crop_at_full_size_holds_the_windowed_voxels_from_top_to_bottom(study) -> None:
    hu, labels = study
    place = VertebraPlace(3, 8, 10, 30, 15, 35)
    crop = crop_vertebra(hu, place, 20, 6, labels, 3)
    assert crop.shape == (6, 4, 20, 20)
    assert crop.dtype == np.uint8
    for number, k in enumerate(range(8, 2, -1)):
        for channel, window in enumerate(THREE_BONE_WINDOWS):
            wanted = np.rint(window.apply(hu[k, 10:30, 15:35]) * 255)
            assert np.array_equal(crop[number, channel], wanted)
        assert np.array_equal(crop[number, 3] == 255, labels[k, 10:30, 15:35] == 3)


def test_slices_between_those_of_the_ct_are_linear(study) -> None:
    hu, _ = study
    place = VertebraPlace(3, 8, 10, 30, 15, 35)
    crop = crop_vertebra(hu, place, 20, 11)
    middle = (hu[8].astype(float) + hu[7]) / 2
    assert np.array_equal(crop[1, 0], np.rint(THREE_BONE_WINDOWS[0].apply(middle[10:30, 15:35]) * 255))
    assert np.array_equal(crop[-1], crop_vertebra(hu, place, 20, 6)[-1])


def test_a_flat_place_is_widened_and_what_lies_outside_is_air(study) -> None:
    _, labels = study
    crop = crop_vertebra(np.full(SHAPE, 1000, np.int16), VertebraPlace(3, 3, 0, 10, 0, 48), 48, 3, labels, 3)
    air = [round(float(window.apply(np.array(AIR_HU))) * 255) for window in THREE_BONE_WINDOWS]
    assert (crop[:, :3, :19] == np.array(air)[:, None, None]).all()
    assert (crop[:, :3, 19:] > 100).all(), "the CT itself fills the square where it reaches that far"
    assert np.array_equal(crop[0], crop[2]), "a vertebra of one slice is repeated"
    assert (crop[:, 3, 29:39, 15:27] == 255).all()


@pytest.mark.parametrize("size", [7, 16, 33, 80])
def test_sizes_change_as_opencv_changes_them(study, size: int) -> None:
    hu = np.random.default_rng(0).normal(500, 300, SHAPE).astype(np.int16)
    crop = crop_vertebra(hu, VertebraPlace(3, 3, 2, 38, 4, 40), size, 1)
    how = cv2.INTER_AREA if size < 36 else cv2.INTER_LINEAR
    wanted = cv2.resize(hu[3, 2:38, 4:40].astype(np.float32), (size, size), interpolation=how)
    assert np.abs(crop[0, 0].astype(int) - np.rint(THREE_BONE_WINDOWS[0].apply(wanted) * 255)).max() <= 1


def test_every_stored_orientation_gives_the_same_crop(study) -> None:
    hu, labels = study
    place = place_of(labels, 3, (0.5, 0.5, 1.0))
    wanted = crop_vertebra(hu, place, 24, 9, labels, 3)
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)):
        for flips in np.ndindex(2, 2, 2):
            matrix = np.eye(4)
            origin = MATRIX[:3, 3].copy()
            for axis in range(3):
                source = 2 - order[2 - axis]
                step = -1 if flips[2 - axis] else 1
                matrix[:3, axis] = MATRIX[:3, source] * step
                origin += MATRIX[:3, source] * (SHAPE[2 - source] - 1) * (step < 0)
            matrix[:3, 3] = origin
            turned = [
                np.transpose(a, order)[tuple(slice(None, None, -1 if f else 1) for f in flips)] for a in (hu, labels)
            ]
            views = [CanonicalView.of(CTVolume(np.ascontiguousarray(a).astype(np.int16), matrix)) for a in turned]
            own = place_of(views[1].hu, 3, views[0].spacing_mm)
            assert own == place
            assert np.array_equal(crop_vertebra(views[0].hu, own, 24, 9, views[1].hu, 3), wanted)


def test_whole_slices_are_a_place_too(study) -> None:
    hu, _ = study
    place = VertebraPlace.whole(hu.shape, 3, 8)
    assert place.square == (-4, 0, 48)
    assert crop_vertebra(hu, place, 24, 1).shape == (1, 3, 24, 24)
    assert place.heights(1).tolist() == [5.5]
