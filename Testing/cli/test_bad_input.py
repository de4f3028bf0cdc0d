"""Whatever a user may hand over by mistake ends with code 2, one plain sentence, and nothing written."""

from __future__ import annotations

import gzip
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cspine_runner import TESTING, Ended, cspine_here, cspine_outside, make_ct

sys.path.insert(0, str(TESTING / "volume"))

from dicom_maker import axial_matrix, make_ct_phantom, make_dicom_series


def write_image(path: Path, array: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(array, isVector=False)
    sitk.WriteImage(image, str(path))
    return path


def missing_path(folder):
    return folder / "absent.nii.gz"


def empty_folder(folder):
    (folder / "in").mkdir()
    return folder / "in"


def folder_without_ct(folder):
    (folder / "in").mkdir()
    (folder / "in" / "notes.txt").write_text("nothing here")
    (folder / "in" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return folder / "in"


def text_file_renamed_dcm(folder):
    (folder / "report.dcm").write_text("This is a report, not a scan.\n" * 50)
    return folder / "report.dcm"


def folder_with_text_file_renamed_dcm(folder):
    (folder / "in").mkdir()
    (folder / "in" / "report.dcm").write_text("This is a report, not a scan.\n" * 50)
    return folder / "in"


def truncated_dicom(folder):
    make_dicom_series(folder / "in", make_ct_phantom(), axial_matrix())
    for path in (folder / "in").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder / "in"


def truncated_nifti(folder):
    path = make_ct(folder / "ct.nii.gz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def nifti_cut_before_it_was_packed(folder):
    whole = gzip.decompress(make_ct(folder / "ct.nii.gz").read_bytes())
    (folder / "ct.nii.gz").write_bytes(gzip.compress(whole[: len(whole) // 2]))
    return folder / "ct.nii.gz"


def empty_nifti(folder):
    (folder / "ct.nii.gz").write_bytes(b"")
    return folder / "ct.nii.gz"


def two_dimensional_image(folder):
    return write_image(folder / "slice.nii.gz", np.full((64, 64), 40, np.int16))


def picture(folder):
    return write_image(folder / "picture.png", np.full((64, 64), 40, np.uint8))


def four_dimensional_nifti(folder):
    return write_image(folder / "perfusion.nii.gz", np.full((4, 32, 32, 32), 40, np.int16))


def mr_series(folder):
    make_dicom_series(folder / "in", make_ct_phantom(), axial_matrix(), modality="MR")
    return folder / "in"


def two_slices(folder):
    return write_image(
        folder / "ct.nii.gz", sitk.GetArrayFromImage(sitk.ReadImage(str(make_ct(folder / "a.nrrd"))))[:2]
    )


def all_air(folder):
    return write_image(folder / "ct.nii.gz", np.full((48, 64, 64), -1000, np.int16))


def not_a_number(folder):
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(make_ct(folder / "a.nrrd")))).astype(np.float32)
    array[10:20] = np.nan
    return write_image(folder / "ct.nrrd", array)


def not_a_number_in_nifti(folder):
    """ITK reads these as 0, silently, so the reader has to look for itself."""
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(make_ct(folder / "a.nrrd")))).astype(np.float32)
    array[10:20] = np.nan
    return write_image(folder / "ct.nii.gz", array)


def zip_that_climbs_out(folder):
    with zipfile.ZipFile(folder / "ct.zip", "w") as archive:
        archive.writestr("../escaped.dcm", b"outside")
        archive.writestr("inside.dcm", b"inside")
    return folder / "ct.zip"


def broken_zip(folder):
    (folder / "ct.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    return folder / "ct.zip"


BAD_INPUTS = (
    missing_path,
    empty_folder,
    folder_without_ct,
    text_file_renamed_dcm,
    folder_with_text_file_renamed_dcm,
    truncated_dicom,
    truncated_nifti,
    nifti_cut_before_it_was_packed,
    empty_nifti,
    two_dimensional_image,
    picture,
    four_dimensional_nifti,
    mr_series,
    two_slices,
    all_air,
    not_a_number,
    not_a_number_in_nifti,
    zip_that_climbs_out,
    broken_zip,
)


def is_refused_plainly(ended: Ended, progress: bool = True) -> str:
    """Assert code 2, nothing on stdout and one sentence on stderr, after at most the line of the reading stage."""
    lines = [line for line in ended.err.splitlines() if not (progress and line.endswith(" ..."))]
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("Error: ")
    assert "Traceback" not in ended.err
    return lines[0]


@pytest.mark.parametrize("make", BAD_INPUTS, ids=lambda make: make.__name__.replace("_", "-"))
def test_bad_input_is_refused_with_the_name_of_the_file(capfd, tmp_path, make):
    (tmp_path / "data").mkdir()
    source = make(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))

    ended = cspine_here(capfd, "run", source, "-o", tmp_path / "out", "--profile", "fake", "--device", "cpu")

    sentence = is_refused_plainly(ended)
    assert source.name in sentence
    assert re.search(r"[;:] \w+.*\.$", sentence)  # after the cause, what to do
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_input_is_refused_in_a_process_of_its_own(tmp_path):
    """What C++ libraries write past Python would show only here."""
    source = truncated_dicom(tmp_path)
    is_refused_plainly(cspine_outside("run", source, "-o", tmp_path / "out", "--profile", "fake", "--device", "cpu"))
    assert not (tmp_path / "out").exists()


def test_an_output_folder_below_a_file_is_refused(capfd, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ended = cspine_here(capfd, "run", make_ct(tmp_path / "ct.nrrd"), "-o", tmp_path / "file" / "out")
    assert "file" in is_refused_plainly(ended, progress=False)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, which not even root may write to")
def test_a_read_only_output_folder_is_refused(capfd, tmp_path):
    ended = cspine_here(capfd, "run", make_ct(tmp_path / "ct.nrrd"), "-o", "/proc/self/out")
    assert "cannot be written" in is_refused_plainly(ended, progress=False)


def test_an_output_folder_with_other_files_is_refused(capfd, tmp_path):
    ended = cspine_here(capfd, "run", make_ct(tmp_path / "ct.nrrd"), "-o", tmp_path)
    assert "--overwrite" in is_refused_plainly(ended, progress=False)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--profile", "three-stage"), "no profile 'three-stage'"),
        (("--profile", "gcvit-yolo"), "cspine train 004-level-presence"),
        (("--device", "tpu"), "auto, cpu, cuda or mps"),
        (("--events", "xml"), "auto or json"),
        (("--threshold", "fracture"), "NAME=NUMBER"),
        (("--threshold", "fracture=nan"), "NAME=NUMBER"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_read(capfd, tmp_path, words, cause):
    ended = cspine_here(capfd, "run", make_ct(tmp_path / "ct.nrrd"), "-o", tmp_path / "out", *words)
    assert cause in is_refused_plainly(ended, progress=False)
    assert not (tmp_path / "out").exists()


def test_cuda_without_cuda_is_refused(capfd, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this computer has CUDA")
    ended = cspine_here(
        capfd, "run", make_ct(tmp_path / "ct.nrrd"), "-o", tmp_path / "out", "--profile", "fake", "--device", "cuda"
    )
    assert "cuda" in is_refused_plainly(ended, progress=False).lower()
    assert not (tmp_path / "out").exists()
