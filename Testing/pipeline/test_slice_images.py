"""Whole axial slices as network images: geometry, windows, channels."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.pipeline.slice_images import ColumnCrops, WholeSlices, slice_input, whole_slices
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


def entry(architecture="slice-cnn", arguments=None, **wanted):
    wanted = {"spacing_mm": [None, None], "windows": [], "size": [64, 64], **wanted}
    return ModelEntry("net", "1", "task", ["two-stage"], architecture, "free", "nothing", wanted, arguments or {})


def view_of(rows, columns):
    hu = np.full((5, rows, columns), -1000, np.int16)
    matrix = np.array([[-0.7, 0, 0, 40], [0, -0.9, 0, 30], [0, 0, 2, -10], [0, 0, 0, 1.0]])
    return CanonicalView.of(CTVolume(hu, matrix)), hu


@pytest.mark.parametrize(("rows", "columns"), [(96, 96), (64, 64), (120, 80), (80, 121), (40, 52)])
def test_what_is_seen_in_the_picture_lies_there_in_the_patient(rows, columns):
    view, hu = view_of(rows, columns)
    hu[2, 20:32, 8:28] = 1500
    picture, place = WholeSlices("500/2000", 64).picture(view, 2)
    assert picture.shape == (1, 64, 64)
    bright = picture[0] * (picture[0] > 0.02)
    weights = bright / bright.sum()
    v, u = ((np.indices(bright.shape)[axis] + 0.5) * weights for axis in (0, 1))
    middle = place.ras_of(u.sum(), v.sum(), 2)
    np.testing.assert_allclose(middle, view.ras_of(np.array([17.5, 25.5, 2])), atol=0.35)


def test_a_square_slice_of_the_networks_size_is_the_training_picture_itself():
    view, hu = view_of(64, 64)
    hu[:] = np.random.default_rng(1).integers(-1000, 2000, hu.shape)
    picture, place = WholeSlices("500/2000", 64, channels=3).picture(view, 1)
    wanted = np.rint(np.clip((hu[1].astype(np.float32) + 500) / 2000, 0, 1) * 255) / 255
    for channel in picture:
        np.testing.assert_array_equal(channel, wanted.astype(np.float32))
    np.testing.assert_allclose(place.ras_of(10.5, 20.5, 1), view.ras_of(np.array([10, 20, 1])))


def test_minmax_stretches_each_slice_by_itself():
    view, hu = view_of(64, 64)
    hu[3, 10:20, 10:20] = 90
    hu[4, 10:20, 10:20] = 1900
    for k in (3, 4):
        picture, _ = WholeSlices("minmax", 64).picture(view, k)
        assert (picture.min(), picture.max()) == (0, 1)


def test_three_windows_are_three_channels():
    view, hu = view_of(64, 64)
    hu[0] = 500
    picture, _ = slice_input(entry("yolov5l", image="slice", window="three")).picture(view, 0)
    np.testing.assert_allclose(picture[:, 5, 5], [0.4643, 0.45, 0.5556], atol=0.003)


def test_the_manifest_entry_says_what_a_network_sees():
    assert slice_input(entry()) == ColumnCrops(1)
    assert slice_input(entry("yolov8n", {"channels": 1}, image="column-crop")) == ColumnCrops(1)
    assert slice_input(entry("yolov8n", image="slice", windows=[[500, 2000]])) == WholeSlices("500/2000", 64, 3)
    assert slice_input(entry(image="slice", window="minmax")) == WholeSlices("minmax", 64, 1)


@pytest.mark.parametrize(
    "one",
    [
        entry(image="slice", size=[64, 32]),
        entry(image="volume"),
        entry(image="slice", window="three"),
        entry(image="slice", window="bone"),
    ],
)
def test_images_that_cannot_be_made_are_refused_in_one_sentence(one):
    with pytest.raises(UserError) as fault:
        slice_input(one)
    assert str(fault.value).count(". ") == 0


def test_a_network_of_crops_is_refused_where_whole_slices_are_needed():
    with pytest.raises(UserError, match=r"'net' takes crops.*cspine models list"):
        whole_slices(entry())
