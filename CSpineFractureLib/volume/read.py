"""Read a CT from whatever it is stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.dicom_read import read_dicom_file, read_dicom_folder
from CSpineFractureLib.volume.file_image import IMAGE_IO, read_image_file
from CSpineFractureLib.volume.quiet import quiet_libraries
from CSpineFractureLib.volume.zip_input import unpacked

DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
FEWEST_SLICES = 5
LEAST_MM = 10.0


def read_volume(path: str | Path, series: str | None = None) -> CTVolume:
    """Read a CT volume as int16 Hounsfield units with its place in the patient (RAS mm).

    Parameters
    ----------
    path
        A folder of DICOM files (searched with its sub-folders), a .zip of one or of one image file, a single
        DICOM file (multi-frame, or a slice whose series lies beside it), or a .nii, .nii.gz, .nrrd, .nhdr, .mha
        or .mhd file.
    series
        SeriesInstanceUID to read; by default the axial CT that covers the neck best, then the thinnest slices, then a
        bone kernel.

    Returns
    -------
    CTVolume
        On the grid of the file (``grid == "native"``), or, where slices are missing, unequally spaced or sheared by a
        tilted gantry, on a regular orthogonal grid (``"resampled"``). ``notices`` tell what was done, with the codes
        ``series-chosen``, ``series-of-file``, ``odd-slices``, ``duplicate-slices``, ``missing-slices``,
        ``unequal-spacing``, ``gantry-tilt``, ``shifted-slices``, ``non-axial``, ``values-shifted``,
        ``values-inverted``, ``no-air`` and ``unreadable-files``.

    Raises
    ------
    UserError
        One plain sentence, where the input is missing, unreadable, damaged, not a CT or too small.
    """
    source = Path(path)
    try:
        if not source.exists():
            message = f"'{path}' does not exist; check the path."
            raise UserError(message)
        with quiet_libraries():
            volume = _dispatch(source, series)
    except PermissionError as error:
        message = f"'{path}' may not be read (permission denied); ask for the permission or copy it elsewhere."
        raise UserError(message) from error
    except MemoryError as error:
        message = f"'{path}' does not fit into memory; crop it to the neck or use a larger machine."
        raise UserError(message) from error
    except OSError as error:
        message = f"'{path}' cannot be read ({error.strerror or 'input error'}); check the disk or copy it elsewhere."
        raise UserError(message) from error
    _check_extent(volume, source.name or str(source))
    return volume


def _dispatch(source: Path, series: str | None) -> CTVolume:
    if source.is_dir():
        return read_dicom_folder(source, source.name or str(source), series)
    if source.stat().st_size == 0:
        message = f"'{source.name}' is empty (0 bytes); copy or export it again."
        raise UserError(message)
    name = source.name.lower()
    if name.endswith(".zip"):
        with unpacked(source) as folder:
            return _read_unpacked(folder, source.name, series)
    kind = _image_kind(source)
    if kind:
        return read_image_file(source, kind)
    if source.suffix.lower() in PICTURE_SUFFIXES:
        message = f"'{source.name}' is a 2D picture; give a CT volume as DICOM, NIfTI, NRRD or MHA."
        raise UserError(message)
    if source.suffix.lower() in DICOM_SUFFIXES or _looks_like_dicom(source):
        return read_dicom_file(source, series)
    message = (
        f"'{source.name}' is of a kind that is not read; give a DICOM folder, a .zip of it, .dcm, .nii, .nii.gz, "
        f".nrrd, .nhdr, .mha or .mhd."
    )
    raise UserError(message)


def _read_unpacked(folder: Path, name: str, series: str | None) -> CTVolume:
    """The DICOM files of a .zip; where it has none, its one image file."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    images = [file for file in files if _image_kind(file)]
    if not images or any(file.suffix.lower() in DICOM_SUFFIXES or _looks_like_dicom(file) for file in files):
        return read_dicom_folder(folder, name, series)
    if len(images) > 1:
        message = f"'{name}' holds {len(images)} image files ('{images[0].name}' first); give one CT at a time."
        raise UserError(message)
    image = images[0]
    try:
        if image.stat().st_size == 0:
            message = f"'{image.name}' is empty (0 bytes); copy or export it again."
            raise UserError(message)
        return read_image_file(image, _image_kind(image))
    except UserError as error:
        message = f"In '{name}', {error}"
        raise UserError(message) from error


def _image_kind(path: Path) -> str | None:
    """The key of ``IMAGE_IO`` that the file's name ends with."""
    return next((suffix for suffix in (".nii.gz", *IMAGE_IO) if path.name.lower().endswith(suffix)), None)


def _looks_like_dicom(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _check_extent(volume: CTVolume, name: str) -> None:
    fewest = min(volume.shape_kji)
    least = min(n * mm for n, mm in zip(volume.shape_kji[::-1], volume.spacing_mm, strict=True))
    if fewest < FEWEST_SLICES or least < LEAST_MM or not np.isfinite(least):
        message = (
            f"'{name}' has only {volume.shape_kji[0]} slices of {volume.shape_kji[2]} x {volume.shape_kji[1]} voxels "
            f"({volume.shape_kji[0] * volume.spacing_mm[2]:.0f} mm); give a CT that covers the neck."
        )
        raise UserError(message)
