"""Distances between surfaces, against masks made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.training.surface_distance import surface_distances, surface_points

SHAPE = (12, 30, 40)


def box(k: tuple[int, int], j: tuple[int, int], i: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[slice(*k), slice(*j), slice(*i)] = True
    return mask


def test_the_surface_of_a_box_is_its_shell_in_mm():
    points = surface_points(box((2, 7), (3, 9), (10, 20)), (2.0, 0.5, 0.25))
    assert len(points) == 5 * 6 * 10 - 3 * 4 * 8
    assert points.min(axis=0).tolist() == [4.0, 1.5, 2.5]
    assert points.max(axis=0).tolist() == [12.0, 4.0, 4.75]


def test_a_mask_is_no_distance_from_itself():
    one = box((2, 7), (3, 9), (10, 20))
    assert surface_distances(one, one, (1.0, 1.0, 1.0)) == (0.0, 0.0)


def test_two_plates_are_as_far_apart_as_they_are_in_mm():
    one, other = box((3, 4), (5, 25), (5, 35)), box((6, 7), (5, 25), (5, 35))
    assert surface_distances(one, other, (2.5, 0.4, 0.4)) == pytest.approx((7.5, 7.5))


def test_a_shift_by_a_column_is_measured_by_hand():
    # two lines of ten voxels, one shifted by one: nine voxels of each lie on the other, the tenth a column away
    one, other = box((3, 4), (5, 6), (10, 20)), box((3, 4), (5, 6), (11, 21))
    mean, hd95 = surface_distances(one, other, (1.0, 1.0, 0.5))
    assert mean == pytest.approx(2 * 0.5 / 20)
    assert hd95 == pytest.approx(np.percentile([0] * 9 + [0.5], 95))


def test_a_far_speck_counts_whichever_side_it_is_on():
    one = box((3, 4), (5, 15), (5, 15))
    speck = one | box((3, 4), (5, 25), (30, 32))
    assert surface_distances(one, speck, (1.0, 1.0, 1.0)) == pytest.approx(
        surface_distances(speck, one, (1.0, 1.0, 1.0))
    )
    assert surface_distances(one, speck, (1.0, 1.0, 1.0))[1] > 15


def test_nothing_has_no_distance():
    one, none = box((3, 4), (5, 15), (5, 15)), np.zeros(SHAPE, bool)
    assert np.isnan(surface_distances(one, none, (1.0, 1.0, 1.0))).all()
    assert np.isnan(surface_distances(none, one, (1.0, 1.0, 1.0))).all()
