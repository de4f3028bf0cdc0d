"""A CT volume from one NIfTI, NRRD or MetaImage file, through SimpleITK."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.detached_data import check_data_files
from CSpineFractureLib.volume.dicom_geometry import LPS_TO_RAS, orientation_notice
from CSpineFractureLib.volume.hu_check import check_hu
from CSpineFractureLib.volume.nifti_header import copy_without_matrices, read_nifti_header
from CSpineFractureLib.volume.nifti_values import count_not_numbers
from CSpineFractureLib.volume.resample import resample_to

IMAGE_IO = {
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
MAX_VOXELS = 1_500_000_000


def read_image_file(path: Path, kind: str) -> CTVolume:
    """Read a file of ``kind`` (a key of ``IMAGE_IO``); flipped or permuted storage axes stay as they are stored.

    Raises ``UserError`` where it is cut off, not one 3D grey volume, or holds NaN or values that are not HU.
    """
    sheared = None
    if kind.startswith(".nii"):
        header = read_nifti_header(path)
        _check_shape(path, header.shape)
        _check_numbers(path, count_not_numbers(path, header))
        sheared = header.sform if header.sheared else None
    else:
        check_data_files(path)
    if sheared is None:
        image = _read(path, path, kind)
        matrix = _ijk_to_ras(image)
    else:
        with tempfile.TemporaryDirectory(prefix="cspine-") as folder:
            plain = Path(folder) / "plain.nii"
            copy_without_matrices(path, header, plain)
            image = _read(plain, path, ".nii")
        matrix = sheared
    values = np.asarray(_Voxels(image))
    values = values.reshape(values.shape[-3:])
    if values.dtype.kind == "f":
        _check_numbers(path, int(values.size - np.count_nonzero(np.isfinite(values))))
    hu, notices = check_hu(values, path.name, copy=False)
    del values, image
    if abs(np.linalg.det(matrix)) < 1e-9 or not np.isfinite(matrix).all():
        message = f"'{path.name}' has no usable orientation matrix; export it again with its geometry."
        raise UserError(message)
    volume = _upright(CTVolume(hu=hu, ijk_to_ras=matrix, notices=notices))
    turned = orientation_notice(volume.ijk_to_ras[:3, 2])
    return volume.with_notices(turned) if turned else volume


class _Voxels:
    """What ``np.asarray`` makes an array from without a copy; the array keeps this, and so the image, alive."""

    def __init__(self, image: sitk.Image) -> None:
        self._image = image
        self._view = sitk.GetArrayViewFromImage(image)
        place, _ = self._view.__array_interface__["data"]
        self.__array_interface__ = {**self._view.__array_interface__, "data": (place, False)}


def _read(path: Path, named: Path, kind: str) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IMAGE_IO[kind])
    reader.SetFileName(str(path))
    broken = f"'{named.name}' cannot be read as a {kind} volume: it is cut off or damaged; copy or export it again."
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(broken) from error
    _check_shape(named, reader.GetSize())
    if reader.GetNumberOfComponents() != 1:
        message = f"'{named.name}' is a colour or vector image; give a CT volume with one value per voxel."
        raise UserError(message)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise UserError(broken) from error


def _check_shape(path: Path, size: tuple[int, ...]) -> None:
    extra = [count for count in size[3:] if count > 1]
    if extra:
        message = f"'{path.name}' is a {3 + len(extra)}D image (size {_times(size)}); give one 3D volume of it."
        raise UserError(message)
    if len(size) < 3 or sorted(size[:3])[0] == 1:
        message = f"'{path.name}' is a 2D image (size {_times(size)}); give a whole CT volume."
        raise UserError(message)
    if int(np.prod([float(count) for count in size[:3]])) > MAX_VOXELS:
        message = f"'{path.name}' is too large (size {_times(size)}); crop it to the neck first."
        raise UserError(message)


def _check_numbers(path: Path, bad: int) -> None:
    if bad:
        message = f"'{path.name}' has {bad} voxels that are not numbers (NaN voxels); export the CT again."
        raise UserError(message)


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(str(count) for count in size)


def _ijk_to_ras(image: sitk.Image) -> np.ndarray:
    count = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(count, count)[:3, :3]
    matrix = np.eye(4)
    matrix[:3, :3] = LPS_TO_RAS @ direction @ np.diag(image.GetSpacing()[:3])
    matrix[:3, 3] = LPS_TO_RAS @ np.array(image.GetOrigin()[:3])
    return matrix


def _upright(volume: CTVolume) -> CTVolume:
    """A sheared volume on an orthogonal grid: its slices as they are, moved against each other."""
    axes = volume.ijk_to_ras[:3, :3] / np.array(volume.spacing_mm)
    if np.abs(axes.T @ axes - np.eye(3)).max() < 1e-3:
        return volume
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    height = abs(float(axes[:, 2] @ normal))
    spacing = (*volume.spacing_mm[:2], volume.spacing_mm[2] * height)
    message = (
        f"The axes are not perpendicular (tilted by {np.degrees(np.arccos(min(1.0, height))):.1f} degrees); the volume "
        f"was resampled linearly to an orthogonal grid."
    )
    return replace(resample_to(volume, spacing), notices=(*volume.notices, Notice("gantry-tilt", message)))
