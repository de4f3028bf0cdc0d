"""Hounsfield units of DICOM planes: GDCM (through SimpleITK) decodes, pydicom where GDCM cannot be relied on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from scipy import ndimage

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.dicom_slice import DicomSlice

INT16 = np.iinfo(np.int16)
PADDING_HU = -1024
GDCM_RESCALES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1")
"""SOP classes whose rescale tags GDCM applies: CT and Enhanced CT."""


class PixelReader:
    """Reads planes as int16 HU ``[j, i]``; a multi-frame file is decoded once and kept while its frames are asked for.

    Parameters
    ----------
    planes
        The planes that may be asked for; used to see whether frames of one file differ in their rescale tags.
    inverted
        Read stored values as ``max - value`` (for pictures stored white-on-black in spite of their rescale tags).
    """

    def __init__(self, planes: list[DicomSlice], inverted: bool = False) -> None:
        self._inverted = inverted
        self._rescales: dict[Path, set[tuple[float, float]]] = {}
        for plane in planes:
            self._rescales.setdefault(plane.path, set()).add((plane.slope, plane.intercept))
        self._file: tuple[Path, np.ndarray, bool] | None = None

    def read(self, plane: DicomSlice) -> np.ndarray:
        """int16 HU ``[j, i]`` of one plane, padding at -1024.

        Raises ``UserError`` where neither GDCM nor pydicom can decode the file, or its size is not the header's.
        """
        frames, rescaled = self._frames(plane)
        index = plane.frame or 0
        if index >= len(frames) or frames.shape[1:] != (plane.rows, plane.columns):
            message = f"'{plane.path.name}' is damaged: its pixels do not fit its header; copy or export it again."
            raise UserError(message)
        values = frames[index]
        if rescaled:
            hu = values
        else:
            stored = (1 << plane.bits_stored) - 1 - values if self._inverted else values
            hu = stored * np.float32(plane.slope) + np.float32(plane.intercept)
        hu = np.clip(np.rint(hu), INT16.min, INT16.max).astype(np.int16)
        return _without_padding(hu, plane) if plane.padding and not self._inverted else hu

    def _frames(self, plane: DicomSlice) -> tuple[np.ndarray, bool]:
        """float32 ``[frame, j, i]`` of the plane's file, and whether the rescale tags are applied already."""
        if self._file is not None and self._file[0] == plane.path:
            return self._file[1], self._file[2]
        with_gdcm = (
            plane.sop_class in GDCM_RESCALES
            and plane.photometric == "MONOCHROME2"
            and len(self._rescales.get(plane.path, ())) <= 1
        )
        decoders = [_with_gdcm, _with_pydicom] if with_gdcm else [_with_pydicom]
        for decode in decoders:
            try:
                frames = decode(plane.path)
            except Exception:  # each plugin raises kinds of its own; the next one is tried
                continue
            self._file = (plane.path, frames, decode is _with_gdcm)
            return frames, decode is _with_gdcm
        message = (
            f"'{plane.path.name}' cannot be decoded: its pixels are damaged or compressed in a way that is not "
            f"supported here; export it again uncompressed."
        )
        raise UserError(message)


def _with_gdcm(path: Path) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    reader.SetFileName(str(path))
    array = sitk.GetArrayFromImage(reader.Execute())
    return array[None] if array.ndim == 2 else array


def _with_pydicom(path: Path) -> np.ndarray:
    dataset = dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else explicit
    if not dataset.get("PhotometricInterpretation"):
        dataset.PhotometricInterpretation = "MONOCHROME2"
    array = dataset.pixel_array.astype(np.float32)
    return array[None] if array.ndim == 2 else array


def _without_padding(hu: np.ndarray, plane: DicomSlice) -> np.ndarray:
    """Padding pixels set to -1024 HU.

    A padding value that would be air anyway is simply replaced; one that reads as tissue (some writers pad with 0)
    only where its pixels reach the border of the picture, for the same value may be measured inside the patient.
    """
    ends = np.array(plane.padding) * plane.slope + plane.intercept
    low, high = np.clip([np.floor(ends.min()), np.ceil(ends.max())], INT16.min, INT16.max)
    mask = (hu >= low) & (hu <= high)
    if not mask.any():
        return hu
    if high > -900:
        labels, _ = ndimage.label(mask)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        mask = np.isin(labels, np.unique(border[border > 0]))
    hu[mask] = PADDING_HU
    return hu
