"""Squares around the column: the same size in mm for every CT, and the way back to the slice's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CSpineFractureLib.models.column_square import SquareOnSlice


def disc(shape, pixel_mm, centre, radius_mm):
    j, i = np.indices(shape)
    return np.hypot((j - centre[0]) * pixel_mm[0], (i - centre[1]) * pixel_mm[1]) <= radius_mm


@pytest.mark.parametrize("pixel_mm", [(0.4, 0.4), (1.0, 1.0), (0.7, 0.5), (3.9, 3.9)])
def test_a_disc_has_the_same_size_whatever_the_pixels_are(pixel_mm):
    shape = tuple(round(200 / mm) for mm in pixel_mm)
    centre = shape[0] * 0.4, shape[1] * 0.55
    square = SquareOnSlice(shape, pixel_mm, centre, 128, 1.0)
    whole = disc(shape, pixel_mm, centre, 30)
    cut = square.cut(np.where(whole, np.uint8(200), np.uint8(0)))
    named = square.cut_labels(np.where(whole, np.uint8(5), np.uint8(0)))
    j, i = np.nonzero(cut > 100)
    assert np.hypot(j.mean() - 63.5, i.mean() - 63.5) < 0.8
    assert len(j) == pytest.approx(np.pi * 30**2, rel=0.06)
    assert set(np.unique(named)) == {0, 5}
    assert np.mean((named == 5) == (cut > 100)) > 0.99


def test_values_come_back_to_the_pixels_they_were_cut_from():
    shape, pixel_mm, centre = (160, 200), (0.6, 0.5), (70.3, 90.8)
    square = SquareOnSlice(shape, pixel_mm, centre, 64, 1.0)
    image = np.where(disc(shape, pixel_mm, (66, 100), 15), np.uint8(240), np.uint8(10))
    values = square.on_slice(torch.from_numpy(square.cut(image)).float()[None])[0].numpy()
    part = square.window()
    assert values.shape == image[part].shape
    wrong = (values > 125) != (image[part] > 125)
    assert wrong.mean() < 0.01


def test_a_square_that_reaches_over_the_slice_is_black_there_and_has_a_smaller_window():
    square = SquareOnSlice((50, 60), (1.0, 1.0), (10.0, 30.0), 64, 1.0)
    cut = square.cut(np.full((50, 60, 3), 99, np.uint8))
    assert cut.shape == (64, 64, 3)
    assert (cut[:20] == 0).all()
    assert (cut[30:50, 10:50] == 99).all()
    rows, columns = square.window()
    assert (rows.start, rows.stop, columns.start, columns.stop) == (0, 42, 0, 60)
    assert square.on_slice(torch.zeros(9, 64, 64)).shape == (9, 42, 60)


def test_enlarged_names_have_smooth_borders_and_no_names_between():
    labels = np.zeros((20, 20), np.uint8)
    labels[6:14, 5:10], labels[6:14, 10:15] = 2, 7
    named = SquareOnSlice((20, 20), (4.0, 4.0), (9.5, 9.5), 64, 1.0).cut_labels(labels)
    assert set(np.unique(named)) == {0, 2, 7}
    assert np.count_nonzero(named == 2) == pytest.approx(8 * 5 * 16, rel=0.1)
    assert (named[24:40, 16:30] == 2).all()
