"""NIfTI, NRRD and MetaImage: values, place and storage axes as in the file."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_maker import axial_matrix, make_ct_phantom

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import read_volume

KINDS = ["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.nhdr", "ct.mha", "ct.mhd", "CT.NII.GZ"]
LPS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def hu():
    return make_ct_phantom((16, 30, 24))


def write(path, values, matrix):
    """Write an array ``[k, j, i]`` with a RAS matrix through SimpleITK."""
    image = sitk.GetImageFromArray(values)
    columns = LPS @ matrix[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((columns / spacing).reshape(-1).tolist())
    image.SetOrigin((LPS @ matrix[:3, 3]).tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("name", KINDS)
def test_each_format_keeps_values_and_place(tmp_path, hu, name):
    matrix = axial_matrix((0.8, 0.9, 1.5))
    written = write(tmp_path / name.lower(), hu, matrix)
    path = written.rename(tmp_path / name)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-4)
    assert volume.grid == "native"
    assert volume.notices == ()


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_flipped_storage_axes_stay_as_stored(tmp_path, hu, name):
    matrix = axial_matrix()
    flipped = matrix.copy()
    ends = np.array(hu.shape[::-1]) - 1
    flipped[:3, 3] = matrix[:3, :3] @ [0, ends[1], ends[2]] + matrix[:3, 3]
    flipped[:3, 1:3] *= -1
    volume = read_volume(write(tmp_path / name, hu[::-1, ::-1], flipped))
    np.testing.assert_array_equal(volume.hu, hu[::-1, ::-1])
    np.testing.assert_allclose(volume.ijk_to_ras, flipped, atol=1e-4)


def test_sagittal_storage_stays_native_with_a_notice(tmp_path, hu):
    matrix = np.array([[0, 0, -1.0, 5], [-1, 0, 0, 6], [0, 1, 0, 7], [0, 0, 0, 1]])
    volume = read_volume(write(tmp_path / "ct.nrrd", hu, matrix))
    assert volume.grid == "native"
    assert [notice.code for notice in volume.notices] == ["non-axial"]
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-5)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd"])
def test_a_sheared_matrix_is_straightened_in_place(tmp_path, name):
    hu = make_ct_phantom((16, 40, 36))
    matrix = axial_matrix()
    sheared = matrix.copy()
    sheared[1, 2] = 2.0 * np.tan(np.radians(15))
    if name.endswith("nrrd"):
        path = tmp_path / name
        vectors = " ".join(f"({','.join(f'{v:.9g}' for v in LPS @ sheared[:3, axis])})" for axis in range(3))
        origin = ",".join(f"{v:.9g}" for v in LPS @ sheared[:3, 3])
        header = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
            f"sizes: 36 40 16\nspace directions: {vectors}\nkinds: domain domain domain\n"
            f"endian: little\nencoding: raw\nspace origin: ({origin})\n\n"
        )
        path.write_bytes(header.encode() + hu.astype("<i2").tobytes())
    else:
        plain = write(tmp_path / "plain.nii", hu, matrix)
        content = bytearray(plain.read_bytes())
        struct.pack_into("<2h", content, 252, 0, 2)
        struct.pack_into("<12f", content, 280, *sheared[:3].reshape(-1))
        path = tmp_path / name
        path.write_bytes(gzip.compress(bytes(content)) if name.endswith("gz") else bytes(content))
    volume = read_volume(path)
    assert volume.grid == "resampled"
    assert [notice.code for notice in volume.notices] == ["gantry-tilt"]
    axes = volume.ijk_to_ras[:3, :3] / np.array(volume.spacing_mm)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    for ijk in [(20, 26, 4), (18, 26, 12), (14, 12, 8), (30, 20, 14)]:
        ras = sheared[:3, :3] @ ijk + sheared[:3, 3]
        i, j, k = np.rint(volume.ijk_of(ras)).astype(int)
        assert abs(int(volume.hu[k, j, i]) - hu[ijk[2], ijk[1], ijk[0]]) < 120


def test_float_values_are_rounded_and_metal_is_kept(tmp_path, hu):
    values = hu.astype(np.float32) + 0.3
    values[5, 5, 5], values[5, 5, 6], values[5, 5, 7] = 40000.0, 20000.4, -3024.0
    volume = read_volume(write(tmp_path / "ct.nii.gz", values, axial_matrix()))
    assert volume.hu[5, 5, 5:8].tolist() == [32767, 20000, -1024]
    rest = np.ones(hu.shape, bool)
    rest[5, 5, 5:8] = False
    np.testing.assert_array_equal(volume.hu[rest], hu[rest])


def test_a_4d_file_of_one_volume_is_read(tmp_path, hu):
    image = sitk.JoinSeries([sitk.GetImageFromArray(hu)])
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii.gz").hu, hu)


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
@pytest.mark.parametrize("target", ["../secret.raw", "{outside}", "link.raw"])
def test_data_outside_the_headers_folder_is_not_read(tmp_path, hu, kind, target):
    outside = tmp_path / "secret.raw"
    outside.write_bytes(hu.tobytes())
    folder = tmp_path / "ct"
    folder.mkdir()
    (folder / "link.raw").symlink_to(outside)
    name = target.format(outside=outside)
    if kind == "mhd":
        text = f"ObjectType = Image\nNDims = 3\nDimSize = 24 30 16\nElementType = MET_SHORT\nElementDataFile = {name}\n"
    else:
        text = (
            "NRRD0004\ntype: short\ndimension: 3\nsizes: 24 30 16\nendian: little\nencoding: raw\n"
            f"data file: {name}\n\n"
        )
    (folder / f"ct.{kind}").write_text(text)
    with pytest.raises(UserError, match="outside its folder"):
        read_volume(folder / f"ct.{kind}")
