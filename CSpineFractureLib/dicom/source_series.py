"""The DICOM images that a result was made from, found again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult, VolumeInfo
from CSpineFractureLib.volume.dicom_geometry import LPS_TO_RAS
from CSpineFractureLib.volume.dicom_scan import files_below, scan_files
from CSpineFractureLib.volume.dicom_series import stacks_of
from CSpineFractureLib.volume.dicom_slice import DicomSlice
from CSpineFractureLib.volume.zip_input import unpacked

NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime")
MAY_BE_EMPTY += ("AccessionNumber", "ReferringPhysicianName")
"""Attributes of type 2 (DICOM PS3.3 C.7.1.1, C.7.2.1): present, empty where unknown. De-identified files lack some."""


@dataclass(frozen=True)
class SourceSeries:
    """Headers without pixels. Where ``aligned`` there is one image per slice ``k`` of the result, in its order."""

    images: list[Dataset]
    aligned: bool

    @property
    def series_uid(self) -> str:
        return str(self.images[0].SeriesInstanceUID)

    @property
    def frame_of_reference_uid(self) -> str:
        return str(self.images[0].FrameOfReferenceUID)


def check_has_dicom_source(result: StudyResult, name: str) -> None:
    """Raise ``UserError`` where the result ``name`` cannot refer to DICOM images at all."""
    if result.radiograph is not None:
        message = f"{name} is the result of a radiograph: only results of a CT can be written as DICOM."
        raise UserError(message)
    if not result.volume.series_uid:
        message = (
            f"{name} was made from a file without DICOM identifiers (NIfTI, NRRD or MHA), so there are no images that "
            "a DICOM object could refer to: run the study again from its DICOM folder."
        )
        raise UserError(message)


def read_source_series(place: str | Path, volume: VolumeInfo) -> SourceSeries:
    """The headers of the series that a result's grid came from, out of a folder or .zip.

    Raises ``UserError`` where the series or some of its slices are not there, where its geometry is not that of the
    result, or where it lacks an identifier that DICOM objects need.
    """
    place = Path(place)
    if not place.exists():
        message = f"'{place}' does not exist: name the folder with the DICOM files of the study."
        raise UserError(message)
    with _folder(place) as folder:
        planes = [plane for plane in scan_files(files_below(folder)).planes if plane.series_uid == volume.series_uid]
        if not planes:
            message = f"'{place}' does not hold the CT series that the result was made from: name its DICOM folder."
            raise UserError(message)
        several = any(plane.frame is not None for plane in planes)
        aligned = volume.grid == "native" and volume.sop_instance_uids is not None and not several
        chosen = _slices_of(planes, volume, place) if aligned else _images_around(planes, volume)
        if several and len(chosen) > 1:
            message = f"'{place}' stores the series in several multi-frame files, which cannot be referred to yet."
            raise UserError(message)
        images = [_header(plane.path, place) for plane in chosen]
    if aligned:
        _check_geometry(chosen, volume, place)
    return SourceSeries(images, aligned)


@contextlib.contextmanager
def _folder(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield place
    elif place.suffix.lower() == ".zip":
        with unpacked(place) as folder:
            yield folder
    else:
        yield place.parent


def _slices_of(planes: list[DicomSlice], volume: VolumeInfo, place: Path) -> list[DicomSlice]:
    by_uid = {plane.sop_uid: plane for plane in planes}
    missing = sum(uid not in by_uid for uid in volume.sop_instance_uids)
    if missing or len(volume.sop_instance_uids) != volume.shape_kji[0]:
        total = volume.shape_kji[0]
        message = f"{missing} of the {total} slices of the result are not in '{place}': name the complete DICOM folder."
        raise UserError(message)
    return [by_uid[uid] for uid in volume.sop_instance_uids]


def _images_around(planes: list[DicomSlice], volume: VolumeInfo) -> list[DicomSlice]:
    """One plane per file of the stack that lies as the grid does (scouts, for example, do not)."""
    axes = (LPS_TO_RAS @ np.array(volume.ijk_to_ras)[:3, :2]) / volume.spacing_mm[:2]

    def likeness(stack: list[DicomSlice]) -> tuple[float, int]:
        first = stack[0]
        return round(float(first.row_axis @ axes[:, 0] + first.column_axis @ axes[:, 1]), 2), len(stack)

    stack = max((stack.planes for stack in stacks_of(planes)), key=likeness)
    normal = stack[0].normal
    files = {plane.sop_uid: plane for plane in sorted(stack, key=lambda plane: float(plane.position @ normal))}
    return list(files.values())


def _check_geometry(planes: list[DicomSlice], volume: VolumeInfo, place: Path) -> None:
    """The slices lie where the result says, within half a voxel: headers round, and the reader evens that out."""
    matrix = np.array(volume.ijk_to_ras, float)
    expected = matrix[:3, 3] + np.arange(len(planes))[:, None] * matrix[:3, 2]
    there = np.array([LPS_TO_RAS @ plane.position for plane in planes])
    first = planes[0]
    tolerance = 0.5 * min(volume.spacing_mm)
    sizes = (first.rows, first.columns) == tuple(volume.shape_kji[1:])
    axes = np.stack([first.row_axis * first.pixel_mm[1], first.column_axis * first.pixel_mm[0]], axis=1)
    turned = np.abs(LPS_TO_RAS @ axes - matrix[:3, :2]).max() * max(volume.shape_kji[1:])
    if not sizes or np.abs(there - expected).max() > tolerance or turned > tolerance:
        message = f"The slices in '{place}' do not lie where the result says: name the series that was analysed."
        raise UserError(message)


def _header(path: Path, place: Path) -> Dataset:
    dataset = dcmread(path, stop_before_pixels=True, force=True)
    if not dataset.get("SOPClassUID") and "MediaStorageSOPClassUID" in dataset.file_meta:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    for keyword in NEEDED:
        if not dataset.get(keyword):
            message = f"'{place}' lacks {keyword}, without which no DICOM object can refer to it: export it again."
            raise UserError(message)
    for keyword in MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    return dataset
