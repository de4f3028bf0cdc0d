from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from CSpineFractureLib.explain.cam_pictures import EDGE, GAP, TITLE, side_by_side, titled, write_cam_pictures
from CSpineFractureLib.findings.study_output import CamSlice


@pytest.fixture
def image():
    return np.tile(np.linspace(0, 1, 96, dtype=np.float32), (96, 1))


@pytest.fixture
def cam():
    v, u = np.indices((96, 96))
    return np.exp(-((v - 30) ** 2 + (u - 60) ** 2) / 150).astype(np.float32)


def red_over_blue(picture):
    return picture[..., 0].astype(int) - picture[..., 2].astype(int)


def test_the_left_half_is_the_slice_itself(image, cam):
    picture = side_by_side(image, cam)
    assert picture.shape == (96, 192, 3)
    assert picture.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(picture[:, :96, channel], np.rint(image * 255))


def test_the_right_half_is_red_where_the_cam_is_high_and_blue_elsewhere(image, cam):
    colour = red_over_blue(side_by_side(image, cam)[:, 96:])
    row, column = np.argwhere(colour > 60).mean(axis=0)
    assert np.hypot(row - 30, column - 60) < 4
    assert colour[80, 20] < 0


def test_a_slice_of_low_probability_does_not_glow(image, cam):
    assert red_over_blue(side_by_side(image, 0.1 * cam)[:, 96:]).max() < 0


def test_another_colour_map_can_be_chosen(image, cam):
    assert (side_by_side(image, cam) != side_by_side(image, cam, cv2.COLORMAP_INFERNO)).any()


def test_shapes_that_do_not_fit_are_refused(image, cam):
    with pytest.raises(ValueError, match=r"\(96, 96\).*\(48, 96\)"):
        side_by_side(image, cam[::2])


def test_a_title_stands_above_two_halves_of_known_size(image, cam):
    page = titled(side_by_side(image, cam), "Slice 7")
    assert page.shape == (EDGE + TITLE, 2 * EDGE + GAP, 3)
    assert (page[:TITLE, :200] < 100).any()
    assert (page[TITLE:, EDGE : EDGE + GAP] == 255).all()


def test_the_sides_of_the_patient_stand_at_the_edges(cam):
    page = titled(side_by_side(np.zeros_like(cam), np.zeros_like(cam)), "Slice 7")
    for left in (0, EDGE + GAP):
        for edge in (slice(left, left + 24), slice(left + EDGE - 24, left + EDGE)):
            assert (page[TITLE + EDGE // 2 - 12 : TITLE + EDGE // 2 + 12, edge].min(axis=2) > 200).any()


def test_every_slice_is_a_file_named_after_it(image, cam, tmp_path):
    slices = [CamSlice(104, 0.93, image, cam), CamSlice(7, 0.61, image, cam)]
    paths = write_cam_pictures(slices, tmp_path / "gradcam")
    assert [path.name for path in paths] == ["104.png", "007.png"]
    for path in paths:
        with Image.open(path) as picture:
            assert picture.mode == "RGB"
            assert picture.size == (2 * EDGE + GAP, EDGE + TITLE)


def test_no_slices_leave_no_folder(tmp_path):
    assert write_cam_pictures([], tmp_path / "gradcam") == []
    assert list(tmp_path.iterdir()) == []
