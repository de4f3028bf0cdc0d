"""A .zip of DICOM is read through a private folder that does not outlive the reading."""

from __future__ import annotations

import tempfile
import zipfile

import numpy as np
import pytest
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
