"""The rim of a segment follows the surface of the bone, however bright its cortex is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from CSpineFractureLib.pipeline.segment_rim import at_half_maximum

SHAPE, MIDDLE, RADIUS = (40, 40, 40), 19.5, 11.0


def a_ball(cortex_hu: float, noise_hu: float = 0.0, spacing_mm=(0.6, 0.6, 0.6)) -> tuple[np.ndarray, np.ndarray]:
    """A shell of cortex around marrow, as a scanner blurs it, and the voxels that are more than half bone."""
    fine = 3
    grid = [(np.arange(n * fine) + 0.5) / fine - 0.5 - MIDDLE for n in SHAPE]
    away = np.sqrt(sum(g**2 for g in np.meshgrid(*grid, indexing="ij")))
    hu = np.where(away <= RADIUS, cortex_hu, 40.0)
    hu[away <= RADIUS - 3] = 250.0  # marrow

    def coarse(array: np.ndarray) -> np.ndarray:
        return array.reshape(SHAPE[0], fine, SHAPE[1], fine, SHAPE[2], fine).mean(axis=(1, 3, 5))

    noise = np.random.default_rng(0).normal(0, noise_hu, SHAPE)
    return np.rint(ndimage.gaussian_filter(coarse(hu), 0.4) + noise).astype(np.int16), coarse(away <= RADIUS) > 0.5


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("noise_hu", [0.0, 40.0])
@pytest.mark.parametrize("cortex_hu", [400.0, 700.0, 1200.0])
def test_a_mask_that_is_too_thick_comes_to_the_surface(cortex_hu, noise_hu):
    hu, truth = a_ball(cortex_hu, noise_hu)
    labels = (ndimage.binary_dilation(truth) * 3).astype(np.uint8)
    before = dice(labels == 3, truth)
    at_half_maximum(labels, hu, (0.6, 0.6, 0.6))
    assert before < 0.94
    assert dice(labels == 3, truth) > 0.965
    assert labels[15:25, 15:25, 15:25].all()  # marrow, darker than half of the cortex, stays


def test_crumbs_that_come_off_go_and_other_pieces_stay():
    hu, labels = np.full(SHAPE, 40, np.int16), np.zeros(SHAPE, np.uint8)
    for place, number in ((np.s_[5:20, 5:20, 5:20], 2), (np.s_[25:35, 25:35, 25:35], 2), (np.s_[30:32, 5:7, 5:7], 2)):
        hu[place], labels[place] = 800, number
    at_half_maximum(labels, hu, (0.6, 0.6, 0.6))
    assert (labels == 2).sum() == 15**3 + 10**3


def test_very_coarse_voxels_keep_their_mask():
    hu, truth = a_ball(700.0)
    labels = ndimage.binary_dilation(truth).astype(np.uint8)
    before = labels.copy()
    at_half_maximum(labels, hu, (4.0, 4.0, 4.0))
    assert np.array_equal(labels, before)


@pytest.mark.parametrize("slice_mm", [2.5, 3.0, np.nextafter(np.float32(3), np.float32(4))])
def test_coarse_voxels_have_a_rim_of_one_where_they_are_not_too_large(slice_mm):
    hu, truth = a_ball(700.0)
    labels = ndimage.binary_dilation(truth).astype(np.uint8)
    before = labels.copy()
    at_half_maximum(labels, hu, (4.0, 4.0, float(slice_mm)))
    middle = int(MIDDLE)
    assert np.array_equal(np.flatnonzero(labels[:, middle, middle]), np.flatnonzero(truth[:, middle, middle]))
    assert np.array_equal(labels[middle], before[middle])


@pytest.mark.parametrize("spacing_mm", [(0.4, 0.4, 0.6), (0.9, 0.9, 2.0)])
def test_marrow_as_dark_as_muscle_stays_behind_thin_cortex(spacing_mm):
    labels, hu = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 40, np.int16)
    labels[10:30, 10:30, 10:30] = 5
    hu[10:30, 10:30, 10:30] = 500
    hu[11:29, 11:29, 11:29] = 60
    before = labels.copy()
    labels[9] = labels[10]  # too thick above
    at_half_maximum(labels, hu, spacing_mm)
    assert np.array_equal(labels, before)


def test_an_empty_mask_stays_empty():
    labels = np.zeros(SHAPE, np.uint8)
    at_half_maximum(labels, np.zeros(SHAPE, np.int16), (0.6, 0.6, 0.6))
    assert not labels.any()


def test_bone_beside_metal_keeps_its_rim():
    hu, labels = np.full(SHAPE, 40, np.int16), np.zeros(SHAPE, np.uint8)
    hu[10:30, 10:30, 10:30], labels[10:30, 10:30, 10:30] = 450, 4
    hu[10:30, 5:10, 10:30] = 3000
    at_half_maximum(labels, hu, (0.6, 0.6, 0.6))
    assert (labels == 4).sum() == 20**3


def test_the_rim_is_the_same_in_every_order_in_memory():
    hu, truth = a_ball(700.0, noise_hu=30.0)
    hu[20:22, 12:14, 12:14] = 2600  # metal
    labels = ndimage.binary_dilation(truth).astype(np.uint8)
    stored_hu, stored = (np.ascontiguousarray(array.transpose(2, 0, 1)[::-1]) for array in (hu, labels))
    at_half_maximum(labels, hu, (0.6, 0.5, 0.7))
    found = stored[::-1].transpose(1, 2, 0)
    at_half_maximum(found, stored_hu[::-1].transpose(1, 2, 0), (0.6, 0.5, 0.7))
    assert 0 < labels.sum() < ndimage.binary_dilation(truth).sum()
    assert np.array_equal(found, labels)


def test_the_rim_is_that_of_scipys_filters():
    hu, truth = a_ball(900.0, noise_hu=30.0)
    labels, spacing, reach = ndimage.binary_dilation(truth).astype(np.uint8), (0.6, 0.5, 0.7), (1, 2, 2)
    smooth = ndimage.gaussian_filter(np.minimum(hu, 1300).astype(np.float32), [0.4 / mm for mm in spacing[::-1]])
    highest = ndimage.maximum_filter(smooth, [2 * n + 1 for n in reach])
    rim = ndimage.maximum_filter(labels == 0, [2 * n + 1 for n in reach])
    expected = (labels > 0) & ~(rim & (hu < (highest + 40) / 2))
    at_half_maximum(labels, hu, spacing)
    assert (expected != labels.astype(bool)).sum() <= 1  # by rounding
