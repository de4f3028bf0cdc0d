"""A radiograph from a DICOM file: CR, DX, RF and the like, or a secondary capture."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from scipy import ndimage

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.quiet import quiet_libraries
from CSpineFractureLib.volume.radiograph_image import PROJECTIONS, RadiographImage, check_pixels

BLACK_PERCENT, WHITE_PERCENT = 0.5, 99.5
"""Percentiles taken as black and white where the file names no window."""
_ONE_AT_A_TIME = threading.Lock()
"""``quiet_libraries`` turns the process's stderr away: two threads must not do so at once."""


def read_dicom_radiograph(path: Path) -> RadiographImage:
    """Read one DICOM projection as it is meant to be shown: modality LUT, VOI LUT or window, MONOCHROME1 inverted.

    Raises ``UserError`` for another modality, several frames, and pixels that are missing or cannot be decoded.
    """
    with _ONE_AT_A_TIME, quiet_libraries():
        try:
            dataset = dcmread(path, force=True)
        except Exception as error:  # damaged: pydicom raises many kinds
            raise _damaged(path) from error
        _check(dataset, path)
        try:
            pixels, colour = _shown(dataset)
        except Exception as error:
            raise _damaged(path) from error
    return _with_square_pixels(dataset, pixels, colour)


def _check(dataset: Dataset, path: Path) -> None:
    modality = str(dataset.get("Modality", "") or "")
    if modality == "CT":
        message = f"'{path.name}' is a CT slice, not a radiograph; use --profile default with the folder of its series."
        raise UserError(message)
    if modality not in PROJECTIONS:
        message = f"'{path.name}' is of the modality {modality[:16]}, not a radiograph; give a CR, DX or RF image."
        raise UserError(message)
    if "Rows" not in dataset or "PixelData" not in dataset:
        message = f"'{path.name}' holds no picture; export the radiograph itself."
        raise UserError(message)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        message = f"'{path.name}' holds {frames} frames; export the one radiograph that is meant."
        raise UserError(message)
    check_pixels(int(dataset.Columns), int(dataset.Rows), path.name)


def _shown(dataset: Dataset) -> tuple[np.ndarray, float]:
    """float32 ``[j, i]`` 0..1, bone bright, and how colourful it is."""
    if "TransferSyntaxUID" not in dataset.file_meta:  # a bare data set without its header
        implicit, little = dataset.original_encoding
        explicit = "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else explicit
    if not dataset.get("PhotometricInterpretation"):
        dataset.PhotometricInterpretation = "MONOCHROME2"
    stored = dataset.pixel_array
    if stored.ndim == 3:
        colours = stored.astype(np.float32) / ((1 << int(dataset.BitsStored)) - 1)
        return colours.mean(axis=2), float((colours.max(axis=2) - colours.min(axis=2)).mean())
    values = np.asarray(apply_modality_lut(stored, dataset))
    padding = _padding(dataset, stored)
    low, high = _ends(dataset, values[~padding] if padding.any() and not padding.all() else values)
    shown = np.asarray(apply_voi_lut(values, dataset), np.float32)
    pixels = np.clip((shown - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 1 - pixels
    pixels[padding] = 0
    return pixels, 0.0


def _ends(dataset: Dataset, values: np.ndarray) -> tuple[float, float]:
    """What is black and what is white once the VOI LUT or window is applied."""
    if "VOILUTSequence" in dataset and dataset.VOILUTSequence:
        table = np.asarray(apply_voi_lut(np.arange(int(values.min()), int(values.max()) + 1), dataset), float)
        return float(table.min()), float(table.max())
    if dataset.get("WindowCenter") not in (None, "") and dataset.get("WindowWidth") not in (None, ""):
        far = np.array([-1e7, 1e7])
        low, high = sorted(np.asarray(apply_voi_lut(far, dataset), float))
        return float(low), float(high)
    low, high = np.percentile(values, [BLACK_PERCENT, WHITE_PERCENT])
    return float(low), float(high)


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Which stored values are padding (outside the exposed field)."""
    value = dataset.get("PixelPaddingValue")
    if value is None or isinstance(value, bytes):
        return np.zeros(stored.shape, bool)
    other = dataset.get("PixelPaddingRangeLimit")
    ends = sorted([int(value), int(value if other is None or isinstance(other, bytes) else other)])
    return (stored >= ends[0]) & (stored <= ends[1])


def _with_square_pixels(dataset: Dataset, pixels: np.ndarray, colour: float) -> RadiographImage:
    notices = []
    if not dataset.get("Modality") or dataset.Modality in ("OT", "SC"):
        message = "The file does not say that it is a radiograph (CR or DX): make sure that it is one."
        notices.append(Notice("modality-unknown", message))
    row_mm, column_mm, known = _spacing(dataset)
    square = min(row_mm, column_mm)
    resampled = max(row_mm, column_mm) > 1.01 * square
    if resampled:
        check_pixels(int(pixels.shape[1] * column_mm / square), int(pixels.shape[0] * row_mm / square), "The picture")
        pixels = np.clip(ndimage.zoom(pixels, (row_mm / square, column_mm / square), order=1), 0, 1)
        message = "The pixels are not square: the radiograph was resampled so that they are."
        notices.append(Notice("rescaled-pixels", message))
    return RadiographImage(pixels, square if known else None, "DICOM", colour, resampled, notices)


def _spacing(dataset: Dataset) -> tuple[float, float, bool]:
    """Height and width of a pixel, and whether they are mm; else their ratio alone."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        try:
            row, column = (float(value) for value in dataset.get(name))
        except (TypeError, ValueError):
            continue
        if np.isfinite([row, column]).all() and min(row, column) > 0.001 and max(row, column) < 10 * min(row, column):
            return row, column, name != "PixelAspectRatio"
    return 1.0, 1.0, False


def _damaged(path: Path) -> UserError:
    return UserError(
        f"'{path.name}' cannot be decoded: it is damaged, cut off or compressed in a way that is not supported here; "
        f"export it again uncompressed."
    )
