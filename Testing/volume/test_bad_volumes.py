"""Bad input ends in a UserError of one plain sentence that names file, cause and remedy, and prints nothing."""

from __future__ import annotations

import contextlib
import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_maker import COMPRESSED_SYNTAXES, axial_matrix, make_ct_phantom, make_dicom_series
from PIL import Image

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import read_volume
from CSpineFractureLib.volume.zip_input import unpacked

HU = make_ct_phantom((12, 33, 31))
GARBLED = "NDims = 3\nDimSize = 9 9 9\nElementType = MET_SHORT\nElementDataFile = LOCA%s%n\x01\n"
AIR = np.random.default_rng(0).normal(-1000, 9, HU.shape).astype(np.int16)


def image(path: Path, values: np.ndarray, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=vector), str(path))
    return path


def dicom(folder: Path, hu: np.ndarray = HU, **options: object) -> Path:
    make_dicom_series(folder / "ct", hu, axial_matrix(), **options)
    return folder / "ct"


def cut(path: Path, part: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    return path


def one_cut(folder: Path, part: float) -> Path:
    cut(sorted(folder.iterdir())[4], part)
    return folder


def text(path: Path, content: str = "This is not an image.\n" * 40) -> Path:
    path.write_text(content)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def zip_with_link(path: Path) -> Path:
    member = zipfile.ZipInfo("link.dcm")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "/etc/hostname")
    return path


def folder_of(path: Path) -> Path:
    path.mkdir()
    return path


def png(path: Path) -> Path:
    Image.new("L", (64, 64)).save(path)
    return path


def with_nan() -> np.ndarray:
    values = HU.astype(np.float32)
    values[3, 4, 5:9] = np.nan
    return values


def gz(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


CASES = {
    "missing path": (lambda p: p / "none.nii.gz", "does not exist"),
    "empty folder": (lambda p: folder_of(p / "empty"), "is empty"),
    "folder of text": (lambda p: text(folder_of(p / "notes") / "a.txt").parent, "no DICOM file"),
    "folder of MR": (lambda p: dicom(p, modality="MR"), "no CT but MR"),
    "text renamed .dcm": (lambda p: text(p / "a.dcm"), "not a DICOM file"),
    "text renamed .nii.gz": (lambda p: text(p / "a.nii.gz"), "cut off or damaged"),
    "text renamed .nii": (lambda p: text(p / "a.nii"), "not a NIfTI file"),
    "text renamed .nrrd": (lambda p: text(p / "a.nrrd"), "cut off or damaged"),
    "text renamed .mha": (lambda p: text(p / "a.mha"), "cut off or damaged"),
    "text renamed .zip": (lambda p: text(p / "a.zip"), "not a sound .zip"),
    "empty .dcm": (lambda p: text(p / "a.dcm", ""), "is empty"),
    "empty .nii.gz": (lambda p: text(p / "a.nii.gz", ""), "is empty"),
    "gz of nothing": (lambda p: gz(p / "a.nii.gz", b""), "cut off or damaged"),
    "gz of half": (lambda p: gz(p / "a.nii.gz", image(p / "b.nii", HU).read_bytes()[:9000]), "cut off or damaged"),
    "DICOM cut in the pixels": (lambda p: one_cut(dicom(p), 0.8), "cut off or damaged"),
    "DICOM cut in the header": (lambda p: cut(dicom(p, multiframe=True) / "IMG.dcm", 0.02), "cut off or damaged"),
    "single cut DICOM": (lambda p: cut(dicom(p, multiframe=True) / "IMG.dcm", 0.6), "cut off or damaged"),
    "deflated cut": (lambda p: cut(dicom(p, multiframe=True, syntax="deflated") / "IMG.dcm", 0.6), "cut off"),
    "cut .nii.gz": (lambda p: cut(image(p / "a.nii.gz", HU), 0.5), "cut off or damaged"),
    "nearly whole .nii.gz": (lambda p: cut(image(p / "a.nii.gz", HU), 0.999), "cut off or damaged"),
    "cut .nii": (lambda p: cut(image(p / "a.nii", HU), 0.5), "cut off or damaged"),
    "cut .nrrd": (lambda p: cut(image(p / "a.nrrd", HU), 0.5), "cut off or damaged"),
    "cut .mha": (lambda p: cut(image(p / "a.mha", HU), 0.5), "cut off or damaged"),
    "cut .zip": (lambda p: cut(zipped(p / "a.zip", {"a.dcm": bytes(HU)}), 0.5), "not a sound .zip"),
    "mhd without its data": (lambda p: (image(p / "a.mhd", HU), (p / "a.raw").unlink())[0], "beside it"),
    "mha with a garbled data file": (lambda p: text(p / "a.mha", GARBLED), "is damaged"),
    "2D .nii": (lambda p: image(p / "a.nii.gz", HU[0]), "2D image"),
    "2D .mha": (lambda p: image(p / "a.mha", HU[0]), "2D image"),
    "one slice as 3D": (lambda p: image(p / "a.nrrd", HU[:1]), "2D image"),
    "picture": (lambda p: png(p / "a.png"), "2D picture"),
    "single CT slice": (lambda p: sorted(dicom(p, HU[:1]).iterdir())[0], "single slice"),
    "4D .nii": (lambda p: image(p / "a.nii", np.stack([HU] * 3)), "4D"),
    "4D .nrrd": (lambda p: image(p / "a.nrrd", np.stack([HU] * 3)), "4D"),
    "vector": (lambda p: image(p / "a.nrrd", np.stack([HU] * 3, -1), vector=True), "colour or vector"),
    "two slices": (lambda p: dicom(p, HU[:2]), "only 2 slices"),
    "two slices as .nii": (lambda p: image(p / "a.nii.gz", HU[:2]), "only 2 slices"),
    "air": (lambda p: image(p / "a.nii.gz", AIR), "nothing but air"),
    "air in DICOM": (lambda p: dicom(p, np.full(HU.shape, -1000, np.int16)), "the same value"),
    "NaN": (lambda p: image(p / "a.nii.gz", with_nan()), "4 voxels that are not numbers"),
    "zip climbing out": (lambda p: zipped(p / "a.zip", {"../b.dcm": b"x"}), "climbs out of its folder"),
    "zip with absolute path": (lambda p: zipped(p / "a.zip", {"/b.dcm": b"x"}), "climbs out of its folder"),
    "zip with a Windows path": (lambda p: zipped(p / "a.zip", {"..\\b.dcm": b"x"}), "climbs out of its folder"),
    "zip with a link": (lambda p: zip_with_link(p / "a.zip"), "climbs out of its folder"),
    "zip without files": (lambda p: zipped(p / "a.zip", {}), "empty .zip"),
    "zip of text": (lambda p: zipped(p / "a.zip", {"a.txt": b"text"}), "DICOM"),
    "unknown extension": (lambda p: text(p / "a.docx"), "kind that is not read"),
    "no position": (lambda p: dicom(p, omit=["ImagePositionPatient"]), "no position"),
    "no pixel spacing": (lambda p: dicom(p, omit=["PixelSpacing"]), "no pixel spacing"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_plain_sentence(tmp_path, capfd, case):
    make, cause = CASES[case]
    path = make(tmp_path)
    capfd.readouterr()
    with pytest.raises(UserError, match=cause) as refused:
        read_volume(path)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert "'" in sentence
    assert ";" in sentence  # cause; remedy
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("syntax", COMPRESSED_SYNTAXES)
def test_a_cut_compressed_slice_is_refused(tmp_path, capfd, syntax):
    folder = one_cut(dicom(tmp_path, syntax=syntax), 0.8)
    with pytest.raises(UserError, match="cut off or damaged"):
        read_volume(folder)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("syntax", COMPRESSED_SYNTAXES)
def test_scrambled_compressed_pixels_never_end_in_a_traceback(tmp_path, capfd, syntax):
    folder = dicom(tmp_path, syntax=syntax)
    for path in folder.iterdir():
        content = bytearray(path.read_bytes())
        content[-400:-16] = os.urandom(384)
        path.write_bytes(content)
    with contextlib.suppress(UserError):  # a decoder may also make something of it
        assert read_volume(folder).shape_kji == HU.shape
    assert capfd.readouterr().err == ""


def test_a_zip_that_would_unpack_to_too_much_is_refused(tmp_path):
    bomb = zipped(tmp_path / "bomb.zip", {"a.dcm": bytes(50_000_000)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(UserError, match="would unpack to"), unpacked(bomb, max_bytes=10_000_000):
        pass
    with pytest.raises(UserError, match="more than 0"), unpacked(bomb, max_files=0):
        pass


def test_a_header_that_claims_a_huge_volume_is_refused(tmp_path):
    path = tmp_path / "a.nrrd"
    path.write_text("NRRD0004\ntype: short\ndimension: 3\nsizes: 20000 20000 20000\nendian: little\nencoding: gzip\n\n")
    with pytest.raises(UserError, match="too large"):
        read_volume(path)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX file permissions")
def test_files_that_may_not_be_read_are_refused(tmp_path):
    folder = dicom(tmp_path)
    volume = image(tmp_path / "a.nii.gz", HU)
    single = tmp_path / "zip.zip"
    zipped(single, {"a.dcm": b"x"})
    for path in (*folder.iterdir(), volume, single):
        path.chmod(0)
    locked = folder_of(tmp_path / "locked")
    locked.chmod(0)
    was_root = os.geteuid() == 0
    try:
        if was_root:
            os.seteuid(65534)
        for path in (folder, volume, single, locked):
            with pytest.raises(UserError, match="may not be read"):
                read_volume(path)
    finally:
        if was_root:
            os.seteuid(0)
        locked.chmod(0o700)
