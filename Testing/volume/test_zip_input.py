"""A .zip of DICOM is read through a private folder that does not outlive the reading."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_maker import axial_matrix, make_ct_phantom, make_dicom_series

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import read_volume


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def zipped_ct(tmp_path):
    hu = make_ct_phantom((12, 33, 31))
    make_dicom_series(tmp_path / "ct", hu, axial_matrix(), suffix="")
    path = tmp_path / "ct.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (tmp_path / "ct").iterdir():
            archive.write(file, f"study/series 1/{file.name}")
        archive.writestr("__MACOSX/study/._IMG", b"junk")
    return path, hu


def test_a_zip_reads_like_its_folder_and_leaves_nothing_behind(zipped_ct, scratch):
    path, hu = zipped_ct
    np.testing.assert_array_equal(read_volume(path).hu, hu)
    assert list(scratch.iterdir()) == []


def test_nothing_is_left_behind_after_a_refusal(tmp_path, scratch):
    path = tmp_path / "text.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(UserError, match=r"text\.zip"):
        read_volume(path)
    assert list(scratch.iterdir()) == []


@pytest.fixture
def images(tmp_path):
    """One CT in three formats, written beside each other."""
    hu = make_ct_phantom((12, 33, 31))
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("ct.nii.gz", "ct.nrrd", "ct.mhd"):
        sitk.WriteImage(sitk.GetImageFromArray(hu), str(folder / name))
    return folder, hu


def zip_of(path, files, extra=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"case 1/{file.name}")
        for name, content in extra:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("names", [["ct.nii.gz"], ["ct.nrrd"], ["ct.mhd", "ct.raw"]])
def test_a_zip_of_one_image_file_is_read(tmp_path, images, scratch, names):
    folder, hu = images
    path = zip_of(tmp_path / "a.zip", [folder / name for name in names], [("README.txt", "text")])
    np.testing.assert_array_equal(read_volume(path).hu, hu)
    assert list(scratch.iterdir()) == []


def test_a_zip_of_several_image_files_is_refused(tmp_path, images):
    folder, _ = images
    path = zip_of(tmp_path / "a.zip", [folder / "ct.nii.gz", folder / "ct.nrrd"])
    with pytest.raises(UserError, match=r"'a\.zip' holds 2 image files"):
        read_volume(path)


@pytest.mark.parametrize(("content", "cause"), [(b"", "is empty"), (b"text" * 50, "is cut off or damaged")])
def test_a_bad_image_in_a_zip_is_refused_with_both_names(tmp_path, scratch, content, cause):
    path = zip_of(tmp_path / "a.zip", [], [("ct.nii.gz", content)])
    with pytest.raises(UserError, match=rf"In 'a\.zip', 'ct\.nii\.gz' {cause}"):
        read_volume(path)
    assert list(scratch.iterdir()) == []


def test_dicom_wins_over_an_image_in_the_same_zip(tmp_path, zipped_ct):
    path, hu = zipped_ct
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.nii.gz", b"not a volume")
    np.testing.assert_array_equal(read_volume(path).hu, hu)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_scrambled_member_is_refused(tmp_path, scratch, method):
    path = tmp_path / "a.zip"
    noise = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.dcm", noise.bytes(5000))
    content = bytearray(path.read_bytes())
    content[60:200] = noise.bytes(140)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not a sound \.zip"):
        read_volume(path)
    assert list(scratch.iterdir()) == []


def test_a_zip_with_a_password_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", [], [("a.dcm", b"x" * 50)])
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="protected by a password"):
        read_volume(path)


def test_importing_the_room_leaves_the_heavy_libraries_out():
    code = "import sys, CSpineFractureLib.volume; print({'SimpleITK', 'pydicom', 'scipy'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
