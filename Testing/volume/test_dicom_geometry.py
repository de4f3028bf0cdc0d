"""Voxels keep their place in the patient, also where the series is irregular."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import axial_matrix, make_ct_phantom, make_dicom_series, tilted_acquisition
from pydicom import dcmread
from scipy import ndimage

from CSpineFractureLib.volume import read_volume


@pytest.fixture
def hu():
    return make_ct_phantom()


def codes(volume):
    return [notice.code for notice in volume.notices]


def bone_centre_ras(volume, threshold=950):
    found = np.argwhere(ndimage.uniform_filter(volume.hu.astype(np.float32), 3) > threshold)
    return volume.ras_of(found.mean(axis=0)[::-1])


def test_a_regular_series_is_native_with_its_matrix_and_identifiers(tmp_path, hu):
    matrix = axial_matrix((0.7, 0.7, 1.25), (11, -7, 300))
    uid = make_dicom_series(tmp_path, hu, matrix)
    volume = read_volume(tmp_path)
    assert volume.grid == "native"
    assert volume.notices == ()
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-6)
    assert volume.spacing_mm == pytest.approx((0.7, 0.7, 1.25))
    assert volume.series_uid == uid
    files = {dcmread(path).SOPInstanceUID: dcmread(path) for path in tmp_path.iterdir()}
    assert volume.frame_of_reference_uid == next(iter(files.values())).FrameOfReferenceUID
    heights = [float(files[uid].ImagePositionPatient[2]) for uid in volume.sop_instance_uids]
    np.testing.assert_allclose(heights, volume.ijk_to_ras[2, 3] + np.arange(len(hu)) * 1.25, atol=1e-6)


def test_rows_and_columns_of_unequal_pixels_are_not_confused(tmp_path):
    hu = make_ct_phantom((8, 51, 37))
    matrix = axial_matrix((0.5, 0.9, 2.0))
    make_dicom_series(tmp_path, hu, matrix)
    volume = read_volume(tmp_path)
    assert volume.shape_kji == (8, 51, 37)
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-6)


def test_positions_rounded_in_the_headers_stay_native(tmp_path, hu):
    shifts = {k: round(k * 0.625, 1) - k * 0.625 for k in range(len(hu))}
    make_dicom_series(tmp_path, hu, axial_matrix((1, 1, 0.625)), shift_mm=shifts)
    volume = read_volume(tmp_path)
    assert volume.grid == "native"
    assert volume.spacing_mm[2] == pytest.approx(0.625, abs=0.003)


def test_missing_slices_are_filled_in_and_reported(tmp_path, hu):
    matrix = axial_matrix()
    make_dicom_series(tmp_path, hu, matrix, missing=[7, 8, 15])
    volume = read_volume(tmp_path)
    assert volume.grid == "resampled"
    assert volume.sop_instance_uids is None
    assert codes(volume) == ["missing-slices"]
    assert "3 of 24 slices" in volume.notices[0].message
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-6)
    kept = [k for k in range(24) if k not in (7, 8, 15)]
    np.testing.assert_array_equal(volume.hu[kept], hu[kept])
    expected = (2 * hu[6].astype(float) + hu[9]) / 3
    assert np.abs(volume.hu[7] - expected).max() <= 0.51


def test_unequal_spacing_is_resampled_at_the_finest_regular_spacing(tmp_path, hu):
    shifts = {k: -0.4 * (k - 15) for k in range(16, 24)}
    make_dicom_series(tmp_path, hu, axial_matrix(), shift_mm=shifts)
    volume = read_volume(tmp_path)
    assert codes(volume) == ["unequal-spacing"]
    assert "1.60 to 2.00 mm" in volume.notices[0].message
    assert volume.spacing_mm[2] == pytest.approx(1.6)
    first_height = volume.ijk_to_ras[2, 3]
    assert first_height == pytest.approx(-100)
    heights = first_height + np.arange(volume.shape_kji[0]) * 1.6
    assert heights[-1] <= -100 + 15 * 2 + 8 * 1.6 + 1e-6
    np.testing.assert_array_equal(volume.hu[5], hu[4])


def test_one_odd_gap_does_not_set_the_spacing(tmp_path, hu):
    make_dicom_series(tmp_path, hu, axial_matrix(), shift_mm={23: -0.7})
    volume = read_volume(tmp_path)
    assert codes(volume) == ["unequal-spacing"]
    assert volume.spacing_mm[2] == pytest.approx(2.0)
    np.testing.assert_array_equal(volume.hu[:22], hu[:22])


def test_a_long_hole_is_not_bridged(tmp_path, hu):
    make_dicom_series(tmp_path, hu, axial_matrix(), missing=range(5, 15))
    volume = read_volume(tmp_path)
    assert codes(volume) == ["missing-slices"]
    np.testing.assert_array_equal(volume.hu, hu[15:])


@pytest.mark.parametrize("degrees", [12.0, -20.0])
def test_gantry_tilt_is_straightened_in_place(tmp_path, degrees):
    hu = make_ct_phantom((30, 96, 80))
    straight = axial_matrix((1.0, 1.0, 2.0))
    tilted, matrix = tilted_acquisition(hu, straight, degrees)
    make_dicom_series(tmp_path / "straight", hu, straight)
    make_dicom_series(tmp_path / "tilted", tilted, matrix)
    reference, volume = read_volume(tmp_path / "straight"), read_volume(tmp_path / "tilted")
    assert volume.grid == "resampled"
    assert codes(volume) == ["gantry-tilt"]
    assert f"{abs(degrees):.1f} degrees" in volume.notices[0].message
    axes = volume.ijk_to_ras[:3, :3] / np.array(volume.spacing_mm)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert volume.spacing_mm[2] == pytest.approx(2.0 * np.cos(np.radians(degrees)))
    inner = np.array(np.meshgrid(np.arange(25, 55, 3), np.arange(30, 66, 3), np.arange(8, 22, 2))).reshape(3, -1).T
    there = volume.ijk_of(reference.ras_of(inner))
    smooth = ndimage.uniform_filter(reference.hu.astype(np.float32), 3)
    seen = ndimage.map_coordinates(ndimage.uniform_filter(volume.hu.astype(np.float32), 3), there[:, ::-1].T, order=1)
    expected = smooth[inner[:, 2], inner[:, 1], inner[:, 0]]
    assert np.corrcoef(seen, expected)[0, 1] > 0.97


def test_a_tilted_series_with_missing_slices_keeps_its_place(tmp_path):
    hu = make_ct_phantom((30, 96, 80))
    tilted, matrix = tilted_acquisition(hu, axial_matrix((1.0, 1.0, 2.0)), 15)
    make_dicom_series(tmp_path / "whole", tilted, matrix)
    make_dicom_series(tmp_path / "holes", tilted, matrix, missing=[9, 20])
    whole, holes = read_volume(tmp_path / "whole"), read_volume(tmp_path / "holes")
    assert sorted(codes(holes)) == ["gantry-tilt", "missing-slices"]
    assert np.linalg.norm(bone_centre_ras(whole) - bone_centre_ras(holes)) < 1.0


@pytest.mark.parametrize(("axes", "kind"), [((1, 2, 0), "sagittal"), ((0, 2, 1), "coronal")])
def test_a_regular_series_that_is_not_axial_stays_native(tmp_path, hu, axes, kind):
    matrix = np.eye(4)
    matrix[:3, :3] = (np.diag([-1.0, -1.0, -1.0]) * np.array([1.0, 1.0, 1.0]))[:, list(axes)]
    matrix[:3, 2] *= np.sign(np.linalg.det(matrix[:3, :3]))
    make_dicom_series(tmp_path, hu, matrix)
    volume = read_volume(tmp_path)
    assert volume.grid == "native"
    assert codes(volume) == ["non-axial"]
    assert kind in volume.notices[0].message
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-6)
    np.testing.assert_array_equal(volume.hu, hu)


def test_copies_of_a_slice_are_dropped(tmp_path, hu):
    make_dicom_series(tmp_path, hu, axial_matrix(), duplicate=[3, 4])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert codes(volume) == ["duplicate-slices"]
    assert volume.notices[0].message.startswith("2 slices")
    assert volume.grid == "native"


def test_different_slices_at_one_place_are_told_apart(tmp_path, hu):
    make_dicom_series(tmp_path, hu, axial_matrix(), duplicate=[3], duplicates_differ=True)
    volume = read_volume(tmp_path)
    assert volume.shape_kji == hu.shape
    assert codes(volume) == ["duplicate-slices"]
    assert "other pixels" in volume.notices[0].message


def test_scouts_in_the_series_are_left_out(tmp_path, hu):
    uid = make_dicom_series(tmp_path, hu, axial_matrix())
    scout = np.zeros((1, 60, 70), np.int16)
    sagittal = np.array([[0, 0, -1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    make_dicom_series(tmp_path, scout, sagittal, tags={"SeriesInstanceUID": uid}, name="SCOUT")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert codes(volume) == ["odd-slices"]
