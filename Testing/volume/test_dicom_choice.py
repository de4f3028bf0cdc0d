"""Of several series the one that suits best is read, and the user is told which and why."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import axial_matrix, make_ct_phantom, make_dicom_series

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import read_volume


@pytest.fixture
def hu():
    return make_ct_phantom((24, 48, 40))


def chosen(folder, series=None):
    volume = read_volume(folder, series)
    notices = [notice for notice in volume.notices if notice.code == "series-chosen"]
    return volume.series_uid, notices[0].message if notices else ""


def test_axial_slices_win_over_a_sagittal_reformat(tmp_path, hu):
    axial = make_dicom_series(tmp_path / "a", hu, axial_matrix((1, 1, 3)))
    sagittal = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    make_dicom_series(tmp_path / "b", hu, sagittal)
    uid, message = chosen(tmp_path)
    assert uid == axial
    assert "axial" in message


def test_the_series_that_covers_the_neck_wins_over_thinner_slices_of_the_head(tmp_path):
    n = 40
    j, i = np.meshgrid(np.arange(96), np.arange(96), indexing="ij")
    radius = np.hypot(j - 48, i - 48)
    head = np.where(radius < 40, np.where(radius > 35, 1000, 40), -1000)
    neck = np.where(radius < 27, np.where(radius < 7, 400, 40), -1000)
    plain = {"SeriesDescription": "Recon"}
    head_volume = np.repeat(head[None], n, axis=0).astype(np.int16)
    neck_volume = np.repeat(neck[None], n, axis=0).astype(np.int16)
    make_dicom_series(tmp_path / "head", head_volume, axial_matrix((2, 2, 1)), tags=plain)
    wanted = make_dicom_series(tmp_path / "neck", neck_volume, axial_matrix((2, 2, 3)), tags=plain)
    uid, message = chosen(tmp_path)
    assert uid == wanted
    assert "covers the neck best" in message


def test_thin_slices_win_over_thick_ones_of_the_same_neck(tmp_path, hu):
    make_dicom_series(tmp_path / "thick", hu[::3], axial_matrix((1, 1, 3)), tags={"ConvolutionKernel": "H60s"})
    thin = make_dicom_series(tmp_path / "thin", hu, axial_matrix((1, 1, 1)), tags={"ConvolutionKernel": "B30s"})
    uid, message = chosen(tmp_path)
    assert uid == thin
    assert "thinnest" in message


@pytest.mark.parametrize(("sharp", "soft"), [("B60s", "B30f"), ("Br58h\\3", "Br38f\\3"), ("BONEPLUS", "STANDARD")])
def test_a_bone_kernel_wins_between_equal_series(tmp_path, hu, sharp, soft):
    make_dicom_series(tmp_path / "1", hu, axial_matrix(), tags={"ConvolutionKernel": soft.split("\\")})
    bone = make_dicom_series(tmp_path / "2", hu, axial_matrix(), tags={"ConvolutionKernel": sharp.split("\\")})
    make_dicom_series(tmp_path / "3", hu, axial_matrix(), tags={"ConvolutionKernel": soft.split("\\")})
    uid, message = chosen(tmp_path)
    assert uid == bone
    assert "bone kernel" in message
    assert bone in message


def test_a_series_can_be_asked_for(tmp_path, hu):
    make_dicom_series(tmp_path / "thin", hu, axial_matrix((1, 1, 1)))
    thick = make_dicom_series(tmp_path / "thick", hu[::3], axial_matrix((1, 1, 3)))
    uid, message = chosen(tmp_path, thick)
    assert uid == thick
    assert message == ""


def test_an_unknown_series_is_refused_with_the_ones_there_are(tmp_path, hu):
    uid = make_dicom_series(tmp_path, hu, axial_matrix())
    with pytest.raises(UserError, match=uid):
        read_volume(tmp_path, "1.2.3.4")


def test_two_kernels_under_one_series_uid_are_told_apart(tmp_path, hu):
    uid = make_dicom_series(tmp_path, hu, axial_matrix(), tags={"ConvolutionKernel": "B60s"}, name="A")
    soft = np.roll(hu, 2, axis=2)
    make_dicom_series(
        tmp_path, soft, axial_matrix(), tags={"ConvolutionKernel": "B20s", "SeriesInstanceUID": uid}, name="B"
    )
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)


def test_other_modalities_beside_the_ct_are_passed_over(tmp_path, hu):
    make_dicom_series(tmp_path / "mr", hu[::-1], axial_matrix(), modality="MR")
    uid = make_dicom_series(tmp_path / "ct", hu, axial_matrix())
    assert chosen(tmp_path) == (uid, "")
