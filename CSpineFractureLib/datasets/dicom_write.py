"""A CT volume written as one series of single-frame DICOM files, plain or JPEG-lossless, upright or tilted.

Attributes follow the CT Image IOD of DICOM PS3.3 A.3; what is not known of a synthetic patient is left empty.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Container
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds
from scipy import ndimage

from CSpineFractureLib.errors import UserError

OUTSIDE_HU = -1024
STEEPEST_TILT_DEG = 30.0
"""Gantries tilt by no more."""
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_EMPTY = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "PatientSex")
_EMPTY += ("StudyID", "Manufacturer", "PositionReferenceIndicator", "AcquisitionNumber", "KVP")


def write_dicom_series(
    folder: Path,
    hu: np.ndarray,
    ijk_to_ras: np.ndarray,
    name: str,
    *,
    patient: str = "Synthetic",
    study_uid: str | None = None,
    descending: bool = False,
    jpeg_files: Container[int] = (),
    gantry_tilt_deg: float = 0.0,
) -> list[int]:
    """Write ``<folder>/1.dcm, 2.dcm, ...`` and return the file number of each slice ``k``.

    The folder appears complete or not at all; an older one is replaced. The same arguments give the same bytes: all
    UIDs come from ``name``.

    Parameters
    ----------
    hu
        int16 HU ``[k, j, i]``.
    ijk_to_ras
        4x4 matrix to RAS mm.
    name
        Name of the study; other names get other UIDs.
    patient
        PatientName and PatientID.
    study_uid
        StudyInstanceUID; by default one made from ``name``.
    descending
        File 1 is the uppermost slice, else the lowest.
    jpeg_files
        Numbers of the files whose pixels are compressed without loss (JPEG, process 14 SV1).
    gantry_tilt_deg
        Slices turned about the R axis while the table moves along S, see ``tilted``.

    Raises
    ------
    UserError
        For a tilt of more than 30 degrees, or where the folder cannot be written.
    """
    if abs(gantry_tilt_deg) > STEEPEST_TILT_DEG:
        message = f"A gantry tilt of {gantry_tilt_deg:g} degrees is too steep; give -30 to 30."
        raise UserError(message)
    if gantry_tilt_deg:
        hu, ijk_to_ras = tilted(hu, ijk_to_ras, gantry_tilt_deg)
    upwards = bool(ijk_to_ras[2, 2] > 0)
    numbers = [len(hu) - k if upwards == descending else k + 1 for k in range(len(hu))]
    lowest = min(OUTSIDE_HU, int(hu.min()))
    series = _series(hu, ijk_to_ras, lowest, name, patient, study_uid, gantry_tilt_deg)
    partial = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for k, number in enumerate(numbers):
            stored = (hu[k].astype(np.int32) - lowest).astype("<u2")
            position = _RAS_TO_LPS @ (ijk_to_ras[:3, 2] * k + ijk_to_ras[:3, 3])
            one = _slice(series, number, position, stored, name, number in jpeg_files)
            one.save_as(partial / f"{number}.dcm", enforce_file_format=True)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        cause = error.strerror or getattr(error.__cause__, "strerror", None)  # what pydicom says holds a traceback
        cause = cause or "output error"
        message = f"'{folder}' cannot be written ({cause}); choose a folder with space you may use."
        raise UserError(message) from error
    return numbers


def tilted(hu: np.ndarray, ijk_to_ras: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The same patient scanned with a tilted gantry: int16 HU ``[k, j, i]`` and its sheared matrix to RAS mm.

    Row ``j`` is moved along ``k`` by what the tilted slice has climbed there, the middle row stays; columns keep their
    place, so rows lie ``1 / cos(degrees)`` farther apart within the slice. Interpolated linearly along ``k``;
    -1024 HU where nothing was scanned.
    """
    row_mm, slice_mm = (float(np.linalg.norm(ijk_to_ras[:3, axis])) for axis in (1, 2))
    climb_mm = row_mm * np.tan(np.radians(degrees))
    middle = (hu.shape[1] - 1) / 2
    scanned = np.empty_like(hu)
    for j in range(hu.shape[1]):
        by = (j - middle) * climb_mm / slice_mm
        row = hu[:, j].astype(np.float32)
        moved = ndimage.shift(row, (-by, 0), order=1, mode="grid-constant", cval=OUTSIDE_HU)
        scanned[:, j] = np.rint(moved).astype(np.int16)
    matrix = np.array(ijk_to_ras, float)
    table = matrix[:3, 2] / slice_mm
    matrix[:3, 1] += table * climb_mm
    matrix[:3, 3] -= table * climb_mm * middle
    return scanned, matrix


def _series(
    hu: np.ndarray,
    ijk_to_ras: np.ndarray,
    lowest: int,
    name: str,
    patient: str,
    study_uid: str | None,
    gantry_tilt_deg: float,
) -> Dataset:
    """What all slices have in common."""
    columns = _RAS_TO_LPS @ ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    series = Dataset()
    for keyword in _EMPTY:
        setattr(series, keyword, None)
    series.SOPClassUID, series.Modality = CTImageStorage, "CT"
    series.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    series.PatientName, series.PatientID, series.PatientPosition = patient, patient, "HFS"
    series.StudyInstanceUID = study_uid or generate_uid(entropy_srcs=[name, "study"])
    series.SeriesInstanceUID = generate_uid(entropy_srcs=[name, "series"])
    series.FrameOfReferenceUID = generate_uid(entropy_srcs=[name, "frame"])
    series.SeriesNumber, series.SeriesDescription = 1, "Synthetic cervical spine"
    series.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    series.SliceThickness = _decimal(spacing[2])
    series.ImageOrientationPatient = [_decimal(v) for axis in (0, 1) for v in columns[:, axis] / spacing[axis]]
    if gantry_tilt_deg:
        series.GantryDetectorTilt = _decimal(gantry_tilt_deg)
    series.SamplesPerPixel, series.PhotometricInterpretation = 1, "MONOCHROME2"
    series.Rows, series.Columns = hu.shape[1:]
    series.BitsAllocated, series.BitsStored, series.HighBit, series.PixelRepresentation = 16, 16, 15, 0
    series.RescaleSlope, series.RescaleIntercept, series.RescaleType = "1", str(lowest), "HU"
    series.WindowCenter, series.WindowWidth = "500", "2000"
    return series


def _slice(series: Dataset, number: int, position: np.ndarray, stored: np.ndarray, name: str, jpeg: bool) -> Dataset:
    one = Dataset()
    one.update(series)
    one.SOPInstanceUID = generate_uid(entropy_srcs=[name, "slice", str(number)])
    one.InstanceNumber = number
    one.ImagePositionPatient = [_decimal(value) for value in position]
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.PixelData = stored.tobytes()
    one["PixelData"].VR = "OW"
    if jpeg:
        _compress(one, stored)
    return one


def _compress(dataset: Dataset, stored: np.ndarray) -> None:
    """Let GDCM (through SimpleITK) encode the pixels, and take over its pixel data and transfer syntax."""
    with tempfile.TemporaryDirectory(prefix="cspine-") as folder:
        path = str(Path(folder) / "encoded.dcm")
        writer = sitk.ImageFileWriter()
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.SetFileName(path)
        writer.Execute(sitk.GetImageFromArray(stored[None]))
        encoded = dcmread(path)
    dataset.PixelData = encoded.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = encoded.file_meta.TransferSyntaxUID


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters; no minus before zero."""
    return format_number_as_ds(round(float(value), 12) + 0.0)
