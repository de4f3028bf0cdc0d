"""The readers on real CT."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from CSpineFractureLib.volume import read_volume


def test_head_and_neck_dicom_is_native_and_quick(real_ct, capfd):
    start = time.perf_counter()
    volume = read_volume(real_ct / "head-neck-dicom.zip")
    assert time.perf_counter() - start < 10  # about 1 s on an idle machine
    assert capfd.readouterr() == ("", "")
    assert volume.shape_kji == (90, 511, 511)
    assert volume.spacing_mm == pytest.approx((1, 1, 3))
    assert volume.grid == "native"
    assert len(set(volume.sop_instance_uids)) == 90
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], [-1, 511, -267], atol=1e-6)


def test_head_dicom_with_one_odd_gap_is_resampled(real_ct, capfd):
    volume = read_volume(real_ct / "head-only-dicom.zip")
    assert capfd.readouterr() == ("", "")
    assert volume.grid == "resampled"
    assert [notice.code for notice in volume.notices] == ["unequal-spacing"]
    assert volume.spacing_mm[2] == pytest.approx(1.5)
    assert volume.shape_kji == (107, 512, 512)


def test_uncalibrated_head_is_shifted_with_a_notice(real_ct):
    volume = read_volume(real_ct / "cthead.nii.gz")
    assert [notice.code for notice in volume.notices] == ["values-shifted"]
    assert volume.hu.min() == -1024
    tissue = volume.hu[(volume.hu > -200) & (volume.hu < 200)]
    assert abs(float(np.median(tissue)) - 40) < 40


@pytest.mark.parametrize("number", [10, 100, 155])
def test_radiotherapy_ct_blanked_outside_of_contours_is_taken_as_it_is(real_ct, number):
    volume = read_volume(real_ct / "openkbp" / f"pt_{number}_ct.nii.gz")
    assert volume.shape_kji == (128, 128, 128)
    assert volume.notices == ()
    assert volume.hu.min() == -1024


@pytest.mark.parametrize(("name", "mark"), [("head-neck-dicom", "head-neck-dicom.zip"), ("cthead", "cthead.nii.gz")])
def test_the_marked_vertebrae_lie_on_bone(real_ct, name, mark):
    record = json.loads((real_ct / "levels" / f"{name}.json").read_text())
    volume = read_volume(real_ct / mark)
    levels = {name: mark for name, mark in record.items() if name[0] == "C" and name[1:].isdigit()}
    assert len(levels) >= 4
    on_bone = 0
    for level in levels.values():
        middle = (np.array(level["sup"]) + np.array(level["inf"])) / 2
        i, j, k = np.rint(volume.ijk_of([record["R"], *middle])).astype(int)
        on_bone += volume.hu[k - 1 : k + 2, j - 4 : j + 5, i - 4 : i + 5].max() > 150
    assert on_bone >= len(levels) - 1
