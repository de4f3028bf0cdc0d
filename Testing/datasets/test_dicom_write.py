"""A volume written as DICOM slices comes back as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from block_study import make_block_study
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGLosslessSV1
from scipy import ndimage

from CSpineFractureLib.datasets.dicom_write import tilted, write_dicom_series
from CSpineFractureLib.datasets.rsna_write import make_dicom_studies, write_dicom_study
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.volume import read_volume

TINY = StudyPlan(spacing_mm=(4, 4, 4), width_mm=80, depth_mm=80, above_mm=0, below_mm=0, fractures=())


@pytest.fixture(scope="module")
def study():
    return make_block_study(7)


def write(folder, study, **options):
    return write_dicom_series(folder / "s", study.hu, study.ijk_to_ras, "a study", patient="Synthetic^7", **options)


def heights(folder):
    paths = sorted((folder / "s").iterdir(), key=lambda path: int(path.stem))
    return [float(dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]) for path in paths]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("jpeg_files", [(), range(1, 31, 2)])
def test_every_voxel_comes_back_whatever_the_order_and_compression(tmp_path, study, descending, jpeg_files):
    numbers = write(tmp_path, study, descending=descending, jpeg_files=jpeg_files)
    volume = read_volume(tmp_path / "s")
    assert volume.grid == "native"
    assert volume.notices == ()
    np.testing.assert_array_equal(volume.hu, study.hu)
    np.testing.assert_allclose(volume.ijk_to_ras, study.ijk_to_ras, atol=1e-9)
    assert numbers == (list(range(30, 0, -1)) if descending else list(range(1, 31)))
    assert (np.diff(heights(tmp_path)) < 0).all() == descending
    first = dcmread(tmp_path / "s" / f"{numbers[0]}.dcm")
    assert volume.sop_instance_uids[0] == first.SOPInstanceUID
    assert first.InstanceNumber == numbers[0]


def test_only_the_named_files_are_compressed(tmp_path, study):
    write(tmp_path, study, jpeg_files=(3, 30))
    syntaxes = {int(path.stem): dcmread(path).file_meta.TransferSyntaxUID for path in (tmp_path / "s").iterdir()}
    assert {number for number, syntax in syntaxes.items() if syntax == JPEGLosslessSV1} == {3, 30}
    assert {syntax for number, syntax in syntaxes.items() if number not in (3, 30)} == {ExplicitVRLittleEndian}


def test_a_volume_stored_from_top_to_bottom_is_numbered_by_its_heights(tmp_path, study):
    flipped = np.array(study.ijk_to_ras)
    flipped[:3, 3] += flipped[:3, 2] * (len(study.hu) - 1)
    flipped[:3, 2] *= -1
    numbers = write_dicom_series(tmp_path / "s", study.hu[::-1], flipped, "a study")
    assert numbers == list(range(30, 0, -1))
    np.testing.assert_array_equal(read_volume(tmp_path / "s").hu, study.hu)


def test_the_same_study_gives_the_same_bytes_and_another_name_other_identifiers(tmp_path, study):
    for part in ("a", "b"):
        write(tmp_path / part, study, jpeg_files=(2,))
    for path in (tmp_path / "a" / "s").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "s" / path.name).read_bytes()
    write_dicom_series(tmp_path / "c", study.hu, study.ijk_to_ras, "another study")
    one, other = dcmread(tmp_path / "a" / "s" / "1.dcm"), dcmread(tmp_path / "c" / "1.dcm")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert one[keyword].value != other[keyword].value


def test_the_header_tells_scale_spacing_and_a_synthetic_patient(tmp_path, study):
    write(tmp_path, study)
    header = dcmread(tmp_path / "s" / "1.dcm")
    assert header.PatientName == "Synthetic^7"
    assert list(header.PixelSpacing) == [2.0, 1.5]
    assert header.SliceThickness == 3.0
    stored = header.pixel_array.astype(int) * int(header.RescaleSlope) + int(header.RescaleIntercept)
    np.testing.assert_array_equal(stored, study.hu[0])


def test_values_below_minus_1024_keep_their_place(tmp_path):
    study = make_block_study(1)
    study.hu[:, :3, :3] = -2000
    write(tmp_path, study)
    header = dcmread(tmp_path / "s" / "1.dcm")
    assert int(header.pixel_array[0, 0]) + int(header.RescaleIntercept) == -2000


@pytest.mark.parametrize("degrees", [12.0, -18.0])
def test_a_tilted_series_is_read_back_as_tilted_with_everything_in_its_place(tmp_path, degrees):
    study = make_block_study(3, levels=())
    write(tmp_path, study, gantry_tilt_deg=degrees)
    volume = read_volume(tmp_path / "s")
    (notice,) = volume.notices
    assert notice.code == "gantry-tilt"
    assert f"{abs(degrees):.1f} degrees" in notice.message
    header = dcmread(tmp_path / "s" / "1.dcm")
    np.testing.assert_allclose(np.diff(heights(tmp_path)), 3.0)
    turned = np.degrees(np.arcsin(abs(float(header.ImageOrientationPatient[5]))))
    assert turned == pytest.approx(abs(degrees), abs=1e-6)
    for n in (3, 5):  # the middle of a bone block, found by its brightness
        want = np.array(study.centres_ras[f"C{n}"])
        k, j, i = np.meshgrid(*(np.arange(size) for size in volume.shape_kji), indexing="ij")
        ras = volume.ras_of(np.stack([i, j, k], axis=-1))
        near = (np.abs(ras - want) < (14, 14, 5.5)).all(axis=-1) & (volume.hu > 250)
        np.testing.assert_allclose(ras[near].mean(axis=0), want, atol=1.2)


def test_a_tilt_moves_rows_along_the_table_and_leaves_the_middle_row(study):
    scanned, matrix = tilted(study.hu, study.ijk_to_ras, 45.0)
    middle, row_mm, slice_mm = 17.5, 2.0, 3.0
    j = 20
    by = (j - middle) * row_mm / slice_mm
    expected = ndimage.map_coordinates(study.hu[:, j].astype(float), [[10 + by] * 40, range(40)], order=1)
    assert np.abs(scanned[10, j] - expected).max() <= 0.51
    there = matrix @ [5, middle, 10, 1]
    np.testing.assert_allclose(there, study.ijk_to_ras @ [5, middle, 10, 1])
    np.testing.assert_allclose(np.linalg.norm(matrix[:3, 1]), row_mm * np.sqrt(2))


def test_a_tilt_no_gantry_has_is_refused_and_nothing_is_left(tmp_path, study):
    with pytest.raises(UserError, match="too steep"):
        write(tmp_path, study, gantry_tilt_deg=31)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path, study):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_dicom_series(tmp_path / "file" / "s", study.hu, study.ijk_to_ras, "a study")


def test_a_dicom_study_has_slices_masks_and_truth_in_one_space(tmp_path, study):
    write_dicom_study(tmp_path / "phantom", study, TINY, tilt_deg=10)
    folder = tmp_path / "phantom"
    names = {path.name for path in folder.iterdir()}
    assert names == {"dicom", "vertebrae.nii.gz", "fractures.nii.gz", "truth.json"}
    assert json.loads((folder / "truth.json").read_text())["gantry_tilt_deg"] == 10
    volume = read_volume(folder / "dicom")
    mask = sitk.ReadImage(str(folder / "vertebrae.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), study.labels)
    i, j, k = np.rint(volume.ijk_of(np.array(study.centres_ras["C4"]))).astype(int)
    assert volume.hu[k, j, i] > 400


def test_dicom_studies_are_made_once_and_again_when_the_tilt_changes(tmp_path):
    (folder,) = make_dicom_studies(tmp_path, [4], lambda seed: TINY)
    made = (folder / "dicom" / "1.dcm").stat().st_mtime_ns
    make_dicom_studies(tmp_path, [4], lambda seed: TINY)
    assert (folder / "dicom" / "1.dcm").stat().st_mtime_ns == made
    make_dicom_studies(tmp_path, [4], lambda seed: TINY, tilt_of=lambda seed: 5.0)
    assert float(dcmread(folder / "dicom" / "1.dcm").GantryDetectorTilt) == 5.0
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
