"""A radiograph as one grey picture, from a picture or DICOM file; bone is bright, nothing of the patient is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")
PROJECTIONS = frozenset({"CR", "DX", "RG", "RF", "XA", "DR", "OT", "SC", ""})
"""Modalities of DICOM that may be a radiograph: projections, and secondary captures, which do not say."""
LEAST_EDGE, MOST_PIXELS = 32, 80_000_000


@dataclass(frozen=True)
class RadiographImage:
    """One radiograph.

    Attributes
    ----------
    pixels
        float32 ``[j, i]`` (row, column), 0 black to 1 white, bone bright, square pixels.
    pixel_mm
        Edge of a pixel in mm as the file says (on the detector or at the patient), or ``None``.
    source
        ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``GIF``, ``WEBP`` or ``DICOM``.
    colour
        How colourful the file's picture is: mean difference of the strongest and weakest channel, 0..1.
    resampled
        Whether pixels that were not square were made so.
    notices
        What was done or is doubtful: ``stretched``, ``rescaled-pixels``, ``modality-unknown``.
    """

    pixels: np.ndarray
    pixel_mm: float | None
    source: str
    colour: float = 0.0
    resampled: bool = False
    notices: list[Notice] = field(default_factory=list)


def read_radiograph(path: str | Path) -> RadiographImage:
    """Read a radiograph from .png, .jpg, .bmp, .tiff, .gif, .webp or a DICOM file; the content decides, not the name.

    Raises
    ------
    UserError
        One plain sentence, where the file is missing, empty, damaged, of another kind, too small or too large, holds
        several pictures, or is a CT (or another volume), which a radiograph profile cannot take.
    """
    source = Path(path)
    try:
        image = _dispatch(source)
    except PermissionError as error:
        message = f"'{path}' may not be read (permission denied); ask for the permission or copy it elsewhere."
        raise UserError(message) from error
    except MemoryError as error:
        message = f"'{source.name}' does not fit into memory; export it with fewer pixels."
        raise UserError(message) from error
    except OSError as error:
        message = f"'{path}' cannot be read ({error.strerror or 'input error'}); check the disk or copy it elsewhere."
        raise UserError(message) from error
    if min(image.pixels.shape) < LEAST_EDGE:
        height, width = image.pixels.shape
        message = f"'{source.name}' has only {width} x {height} pixels; export the radiograph at its full size."
        raise UserError(message)
    return image


def is_single_picture(path: str | Path) -> bool:
    """Whether a file is a picture by its name, or a DICOM projection such as CR or DX: no CT in any case.

    False as well where the file is missing or cannot be read: whoever reads it will say so.
    """
    source = Path(path)
    try:
        if not source.is_file() or source.name.lower().endswith(VOLUME_SUFFIXES):
            return False
        if source.suffix.lower() in PICTURE_SUFFIXES:
            return True
        return _is_dicom(source) and _modality(source) in PROJECTIONS - {"OT", "SC", ""}
    except OSError:
        return False


def check_pixels(width: int, height: int, name: str) -> None:
    """Raise ``UserError`` where a picture has more pixels than any radiograph, before they are decoded."""
    if width * height > MOST_PIXELS:
        message = (
            f"'{name}' claims {width} x {height} pixels, more than {MOST_PIXELS // 10**6} million; "
            f"export the radiograph with fewer."
        )
        raise UserError(message)


def _dispatch(source: Path) -> RadiographImage:
    if not source.exists():
        message = f"'{source}' does not exist; check the path."
        raise UserError(message)
    name = source.name.lower()
    if source.is_dir() or name.endswith(VOLUME_SUFFIXES):
        what = "a folder" if source.is_dir() else "a CT volume or an archive"
        message = (
            f"'{source.name}' is {what}, not one radiograph; name a single picture or DICOM file, "
            f"or use --profile default for a CT."
        )
        raise UserError(message)
    if source.stat().st_size == 0:
        message = f"'{source.name}' is empty (0 bytes); copy or export it again."
        raise UserError(message)
    from CSpineFractureLib.volume.picture_file import picture_kind, read_picture

    kind = picture_kind(source)
    if kind:
        return read_picture(source, kind)
    if _is_dicom(source) or name.endswith((".dcm", ".dicom", ".dic", ".ima")):
        from CSpineFractureLib.volume.radiograph_dicom import read_dicom_radiograph

        return read_dicom_radiograph(source)
    if name.endswith(PICTURE_SUFFIXES):
        message = f"'{source.name}' is no picture in spite of its name; export the radiograph again."
    else:
        message = f"'{source.name}' is of a kind that is not read; give a PNG, JPEG, TIFF, BMP, GIF, WebP or DICOM."
    raise UserError(message)


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _modality(path: Path) -> str:
    from pydicom import dcmread

    from CSpineFractureLib.volume.quiet import quiet_libraries

    with quiet_libraries():
        try:
            return str(dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality", ""))
        except Exception:  # damaged: pydicom raises many kinds
            return "unknown"
