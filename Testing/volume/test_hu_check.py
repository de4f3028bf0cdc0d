"""Values that are not Hounsfield units are put right with a notice, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import make_ct_phantom

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.hu_check import check_hu


@pytest.fixture
def hu():
    return make_ct_phantom()


def test_hounsfield_units_pass_untouched(hu):
    checked, notices = check_hu(hu, "ct")
    np.testing.assert_array_equal(checked, hu)
    assert notices == ()
    assert not np.shares_memory(checked, hu)  # the reader's memory is not kept


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
def test_values_stored_1024_too_high_are_shifted_with_a_notice(hu, dtype):
    checked, notices = check_hu((hu.astype(np.int32) + 1024).astype(dtype), "Doe_John.nii.gz")
    np.testing.assert_array_equal(checked, hu)
    assert [notice.code for notice in notices] == ["values-shifted"]
    assert "Doe" not in notices[0].message  # a file's name may be the patient's, and notices go into the report


def test_padding_far_below_air_is_clipped(hu):
    values = hu.copy()
    values[:, :4] = -3024
    checked, notices = check_hu(values, "ct")
    assert (checked[:, :4] == -1024).all()
    assert notices == ()


@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
def test_padding_does_not_hide_values_stored_1024_too_high(hu, padding):
    values = hu.astype(np.int32) + 1024
    values[:, :6] = padding
    checked, notices = check_hu(values, "ct")
    np.testing.assert_array_equal(checked[:, 6:], hu[:, 6:])
    assert (checked[:, :6] == -1024).all()
    assert [notice.code for notice in notices] == ["values-shifted"]


def test_noise_below_zero_does_not_hide_values_stored_1024_too_high(hu):
    noise = np.random.default_rng(2).normal(0, 30, hu.shape)
    values = np.rint(np.where(hu < -900, -1000, hu) + 1024 + noise).astype(np.int16)
    assert values.min() < -30
    checked, notices = check_hu(values, "ct")
    assert abs(float(np.median(checked[hu < -900])) + 1000) < 5
    assert [notice.code for notice in notices] == ["values-shifted"]


def test_tissue_outside_of_which_all_is_minus_1024_passes(hu):
    values = np.full((60, 60, 60), -1024, np.int16)
    values[20:44, 5:53, 10:50] = np.where(hu > -200, hu, -1024)
    checked, notices = check_hu(values, "ct")
    np.testing.assert_array_equal(checked, values)
    assert notices == ()


def test_a_crop_without_air_passes_with_a_notice():
    rng = np.random.default_rng(3)
    values = rng.normal(40, 20, (20, 30, 30))
    values[:, 10:20, 10:20] = 600
    values[:, :5] = -100
    checked, notices = check_hu(np.round(values).astype(np.int16), "ct")
    assert checked.min() >= -160
    assert [notice.code for notice in notices] == ["no-air"]


def mr_like(hu):
    rng = np.random.default_rng(5)
    return np.where(hu > -200, rng.gamma(6, 60, hu.shape), rng.gamma(2, 5, hu.shape)).astype(np.int16)


def windowed(hu):
    return np.clip((hu + 500) / 2000 * 255, 0, 255).astype(np.uint8)


def normalised(hu):
    return (np.clip((hu + 500) / 2000, 0, 1)).astype(np.float32)


def labels(hu):
    return (hu > 300).astype(np.uint8) * 3


@pytest.mark.parametrize("spoil", [mr_like, windowed, normalised, labels])
def test_what_cannot_be_ct_is_refused(hu, spoil):
    with pytest.raises(UserError, match="does not hold Hounsfield units"):
        check_hu(spoil(hu), "ct")


def test_air_alone_is_refused(hu):
    noise = np.random.default_rng(0).normal(-1000, 10, hu.shape).astype(np.int16)
    with pytest.raises(UserError, match="nothing but air"):
        check_hu(noise, "ct")


def test_a_constant_volume_is_refused():
    with pytest.raises(UserError, match="same value"):
        check_hu(np.full((10, 10, 10), -1024, np.int16), "ct")


def test_the_same_values_of_a_fat_patient_are_shifted_too(hu):
    fat = hu.copy()
    tissue = np.flatnonzero((fat.ravel() > -150) & (fat.ravel() < 150))
    fat.ravel()[tissue[::3]], fat.ravel()[tissue[1::3]] = -135, -135
    checked, notices = check_hu(fat.astype(np.int32) + 1024, "ct")
    np.testing.assert_array_equal(checked, fat)
    assert [notice.code for notice in notices] == ["values-shifted"]
