"""Padding that reads as tissue, and blank slices between others."""

from __future__ import annotations

import fake_profile  # registers the profile "fake"
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from CSpineFractureLib.pipeline.blanks import PADDING_HU, without_blanks
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.volume.ct_volume import CTVolume

MATRICES = {
    "axial": np.diag([-1.0, -1.0, 2.0, 1.0]),
    "sagittal, feet first": np.array([[0, 0, 2.0, 0], [0, 1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 0, 1]]),
}


def body(shape=(30, 60, 50)):
    """Noisy tissue in air, air cells in it."""
    hu = np.full(shape, -1000, np.int16)
    inner = tuple(slice(n // 6, -n // 6) for n in shape[1:])
    hu[(slice(None), *inner)] = 40 + np.random.default_rng(0).integers(-30, 30, hu[(slice(None), *inner)].shape)
    hu[:, shape[1] // 2, shape[2] // 2] = 0
    return hu


def stored(hu, name):
    """The canonical array as another storage order has it."""
    return hu if name == "axial" else np.ascontiguousarray(hu.transpose(2, 1, 0)[:, :, ::-1])


def codes(volume):
    return [notice.code for notice in volume.notices]


@pytest.mark.parametrize("value", [0, 3071, -500])
@pytest.mark.parametrize("name", MATRICES)
def test_padding_at_the_sides_is_taken_for_air(value, name):
    hu = np.pad(body(), ((0, 0), (0, 0), (0, 40)), constant_values=value)
    volume = CTVolume(stored(hu, name), MATRICES[name])
    before = volume.hu.copy()
    clean = without_blanks(volume)
    wanted = hu.copy()
    wanted[:, :, 50:] = PADDING_HU
    np.testing.assert_array_equal(clean.hu, stored(wanted, name))
    np.testing.assert_array_equal(volume.hu, before)
    assert codes(clean) == ["padding-value"]
    assert f"{value} HU" in clean.notices[0].message


def test_a_round_field_of_view_is_freed_and_the_same_value_inside_stays():
    hu = body()
    j, i = np.indices(hu.shape[1:])
    outside = np.hypot((j - 29.5) / 30, (i - 24.5) / 25) > 1
    hu[:, outside] = 0
    clean = without_blanks(CTVolume(hu, MATRICES["axial"])).hu
    assert (clean[:, outside] == PADDING_HU).all()
    np.testing.assert_array_equal(clean[:, ~outside], hu[:, ~outside])
    assert (clean[:, 30, 25] == 0).all()


@pytest.mark.parametrize("name", MATRICES)
def test_blank_slices_between_others_are_filled(name):
    hu = body()
    whole = hu.copy()
    hu[10] = -1024
    hu[20:22] = 0
    hu[:3], hu[-2:] = -1024, 0  # beyond the scan: nothing to go by
    clean = without_blanks(CTVolume(stored(hu, name), MATRICES[name]))
    wanted = hu.copy()
    wanted[-2:] = PADDING_HU
    wanted[10] = np.rint((whole[9] + whole[11].astype(float)) / 2)
    wanted[20] = np.rint(whole[19] * (2 / 3) + whole[22] * (1 / 3))
    wanted[21] = np.rint(whole[19] * (1 / 3) + whole[22] * (2 / 3))
    np.testing.assert_allclose(clean.hu, stored(wanted, name), atol=1)
    assert codes(clean) == ["blank-slices"]
    assert clean.notices[0].message.startswith("8 slices are blank; 3 of them")


def test_blank_slices_at_an_end_that_read_as_tissue_are_air():
    hu = body()
    hu[-4:] = 0
    clean = without_blanks(CTVolume(hu, MATRICES["axial"]))
    assert (clean.hu[-4:] == PADDING_HU).all()
    np.testing.assert_array_equal(clean.hu[:-4], hu[:-4])
    assert [notice.message for notice in clean.notices] == ["4 slices are blank; they count as air."]


def test_every_eighth_slice_blank_is_no_padding():
    hu = body((40, 60, 50))
    hu[3::8] = 0
    assert codes(without_blanks(CTVolume(hu, MATRICES["axial"]))) == ["blank-slices"]


@pytest.mark.parametrize("step", [8, 10, 16])
def test_tissue_in_coarse_steps_of_grey_is_no_padding(step):
    rng = np.random.default_rng(0)
    tissue = 55 + 12 * rng.standard_normal((30, 60, 60))
    tissue[:, 20:40, 20:40] = 500 + 100 * rng.standard_normal((30, 20, 20))
    volume = CTVolume((np.rint(tissue / step) * step).astype(np.int16), MATRICES["axial"])
    assert without_blanks(volume) is volume


def test_smooth_tissue_is_no_padding():
    smooth = 20 * gaussian_filter(np.random.default_rng(0).standard_normal((30, 60, 60)), 1.5)
    volume = CTVolume(np.rint(50 + smooth).astype(np.int16), MATRICES["axial"])
    assert without_blanks(volume) is volume


def test_a_long_gap_stays_blank():
    hu = body()
    hu[10:18] = -1024
    volume = CTVolume(hu, MATRICES["axial"])
    assert without_blanks(volume) is volume


@pytest.mark.parametrize("value", [-1024, -1000, -3024])
def test_an_ordinary_scan_is_given_back_as_it_is(value):
    hu = body()
    hu[hu == -1000] = value
    volume = CTVolume(hu, MATRICES["axial"])
    assert without_blanks(volume) is volume


def test_black_in_a_picture_is_no_padding():
    volume = CTVolume(np.zeros((1, 60, 50), np.int16), MATRICES["axial"])
    assert without_blanks(volume) is volume


def test_the_engine_tells_of_it_and_gives_the_ct_back_as_it_was():
    hu = np.pad(body(), ((0, 0), (0, 0), (0, 40)))
    volume, output = Engine(device="cpu").run_study(CTVolume(hu, MATRICES["axial"]), fake_profile.NAME)
    np.testing.assert_array_equal(volume.hu, hu)
    assert "padding-value" in [notice.code for notice in output.result.warnings]
