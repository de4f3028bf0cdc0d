"""Hounsfield units come out of DICOM as they went in, however they were stored."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_maker import (
    COMPRESSED_SYNTAXES,
    NATIVE_SYNTAXES,
    axial_matrix,
    make_ct_phantom,
    make_dicom_series,
)

from CSpineFractureLib.volume import read_volume

SYNTAXES = (*NATIVE_SYNTAXES, *COMPRESSED_SYNTAXES)


@pytest.fixture
def hu():
    return make_ct_phantom((12, 33, 31))


@pytest.mark.parametrize("multiframe", [False, True], ids=["slices", "multi-frame"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_gives_the_same_values(tmp_path, hu, syntax, multiframe):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), syntax=syntax, multiframe=multiframe)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").hu, hu)


@pytest.mark.parametrize("syntax", ["explicit", "rle", "big-endian"])
def test_monochrome1_does_not_change_hounsfield_units(tmp_path, hu, syntax):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), photometric="MONOCHROME1", syntax=syntax)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").hu, hu)


def test_monochrome1_with_inverted_stored_values_is_turned_back(tmp_path, hu):
    stored_inverted = (65535 - (hu.astype(int) + 1024)).astype(np.int64)
    make_dicom_series(
        tmp_path / "ct",
        (stored_inverted - 1024).astype(np.int64),
        axial_matrix(),
        photometric="MONOCHROME1",
    )
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.hu, hu)
    assert "values-inverted" in [notice.code for notice in volume.notices]


@pytest.mark.parametrize("multiframe", [False, True], ids=["slices", "multi-frame"])
def test_each_slice_keeps_its_own_rescale_slope(tmp_path, hu, multiframe):
    slopes = 0.5 + np.arange(len(hu)) * 0.125
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), slope=slopes, multiframe=multiframe)
    assert np.abs(read_volume(tmp_path / "ct").hu.astype(int) - hu).max() <= 1


def test_slices_that_overlap_are_known_by_their_thickness(tmp_path, hu):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix())
    thin = read_volume(tmp_path / "ct")
    assert thin.slice_thickness_mm == pytest.approx(thin.spacing_mm[2], abs=1e-3)
    for file in (tmp_path / "ct").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SliceThickness = "5"
        dataset.save_as(file)
    assert read_volume(tmp_path / "ct").slice_thickness_mm == 5.0


def test_padding_becomes_air(tmp_path, hu):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), padding=63536)
    volume = read_volume(tmp_path / "ct")
    assert (volume.hu[:, :4, :4] == -1024).all()
    np.testing.assert_array_equal(volume.hu[:, 4:, 4:], hu[:, 4:, 4:])


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian", "rle"])
def test_signed_values_without_intercept_and_their_padding(tmp_path, hu, syntax):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), signed=True, intercept=0, padding=-2000, syntax=syntax)
    volume = read_volume(tmp_path / "ct")
    assert (volume.hu[:, :4, :4] == -1024).all()
    np.testing.assert_array_equal(volume.hu[:, 4:, 4:], hu[:, 4:, 4:])


def test_padding_that_reads_as_tissue_is_air_only_where_it_reaches_the_border(tmp_path, hu):
    stored_of_40 = 40 + 1024
    hu[:, 16, 15] = 40
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), padding=stored_of_40)
    volume = read_volume(tmp_path / "ct")
    assert (volume.hu[:, :4, :4] == -1024).all()
    assert (volume.hu[:, 16, 15] == 40).all()


@pytest.mark.parametrize(
    "keyword", ["PatientPosition", "KVP", "WindowCenter", "WindowWidth", "ConvolutionKernel", "SliceThickness"]
)
def test_empty_tags_do_no_harm(tmp_path, hu, keyword):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), blank=[keyword])
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").hu, hu)


@pytest.mark.parametrize(
    "keyword", ["Modality", "InstanceNumber", "ImageType", "FrameOfReferenceUID", "PhotometricInterpretation"]
)
def test_missing_tags_do_no_harm(tmp_path, hu, keyword):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), omit=[keyword])
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").hu, hu)


def test_missing_rescale_tags_are_made_up_for_with_a_notice(tmp_path, hu):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), omit=["RescaleSlope", "RescaleIntercept"])
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.hu, hu)
    assert [notice.code for notice in volume.notices] == ["values-shifted"]


def test_files_without_extension_in_subfolders_are_found(tmp_path, hu):
    make_dicom_series(tmp_path / "study" / "deep" / "ct", hu, axial_matrix(), suffix="")
    (tmp_path / "study" / "readme.txt").write_text("not an image")
    np.testing.assert_array_equal(read_volume(tmp_path / "study").hu, hu)


def test_a_slice_brings_its_series_along(tmp_path, hu):
    uid = make_dicom_series(tmp_path / "ct", hu, axial_matrix(), name="A")
    make_dicom_series(tmp_path / "ct", hu[:, ::-1], axial_matrix(), name="B")
    volume = read_volume(tmp_path / "ct" / "A0003.dcm")
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.series_uid == uid
    assert "series-of-file" in [notice.code for notice in volume.notices]


def test_a_multi_frame_file_is_read_alone(tmp_path, hu):
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), multiframe=True, name="A")
    make_dicom_series(tmp_path / "ct", hu[:, ::-1], axial_matrix(), multiframe=True, name="B")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct" / "A.dcm").hu, hu)
