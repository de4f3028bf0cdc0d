"""Fast neighbourhood operations against scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from CSpineFractureLib.volume.morphology import (
    dilated,
    eroded,
    filled_block,
    grown,
    highest_around,
    inside,
    label_places,
    peel,
)


def blobs(seed: int, shape=(17, 20, 23)) -> np.ndarray:
    """Smooth random blobs, some of which touch the faces."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return ndimage.gaussian_filter(noise, 1.5) > 0


@pytest.mark.parametrize("times", [1, 2, 3])
def test_erosion_and_dilation_are_those_of_scipy_also_at_the_faces(times):
    for seed in range(3):
        mask = blobs(seed)
        before = mask.copy()
        assert np.array_equal(eroded(mask, times), ndimage.binary_erosion(mask, iterations=times))
        assert np.array_equal(dilated(mask, times), ndimage.binary_dilation(mask, iterations=times))
        assert np.array_equal(mask, before)


@pytest.mark.parametrize("reach", [(0, 1, 1), (2, 0, 3), (1, 1, 1)])
def test_the_highest_label_around_is_that_of_scipy(reach):
    labels = np.random.default_rng(0).integers(0, 8, (9, 12, 11)).astype(np.uint8) * blobs(1, (9, 12, 11))
    wanted = ndimage.grey_dilation(labels, size=tuple(2 * n + 1 for n in reach))
    assert np.array_equal(highest_around(labels, reach), wanted)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_what_the_outside_reaches_through_loose_voxels_is_peeled_off(steps):
    for seed in range(3):
        labels, loose = blobs(seed), blobs(seed + 9) & blobs(seed)
        wanted = labels & ~(ndimage.binary_dilation(~labels, mask=loose, iterations=steps) & loose)
        peel(labels, np.argwhere(loose), steps)
        assert np.array_equal(labels, wanted)


def test_loose_voxels_between_two_labels_are_peeled_off():
    labels = np.ones((1, 1, 9), np.uint8)
    labels[..., 5:] = 2
    peel(labels, np.argwhere((labels > 0) & (np.arange(9) >= 4) & (np.arange(9) < 7)), 1)
    assert labels.ravel().tolist() == [1, 1, 1, 1, 0, 0, 2, 2, 2]


def test_labels_are_found_in_a_large_volume_that_is_mostly_empty():
    labels = np.zeros((40, 50, 60), np.uint8)
    labels[5:9, 7:20, 30:31] = 2
    labels[8:15, 18:40, 0:12] = 7
    labels[39, 49, 59] = 3
    wanted = {n: place for n, place in enumerate(ndimage.find_objects(labels), start=1) if place}
    assert label_places(labels) == wanted
    assert label_places(labels[:, ::-1, ::-1])[3] == (slice(39, 40), slice(0, 1), slice(0, 1))
    assert filled_block(labels) == (slice(5, 40), slice(7, 50), slice(0, 60))


def test_nothing_is_found_in_an_empty_volume():
    assert filled_block(np.zeros((4, 4, 4), np.uint8)) is None
    assert label_places(np.zeros((4, 4, 4), np.uint8)) == {}


def test_a_place_grows_up_to_the_faces_and_goes_back_to_the_whole_array():
    place = grown((slice(1, 3), slice(4, 6), slice(8, 10)), (2, 1, 1), (20, 20, 10))
    assert place == (slice(0, 5), slice(3, 7), slice(7, 10))
    assert inside((slice(10, 20), slice(1, 9), slice(5, 30)), place) == (slice(10, 15), slice(4, 8), slice(12, 15))
