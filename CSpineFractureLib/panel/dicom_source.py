"""The DICOM images of a CT in the scene, and a result tied to them so that DICOM objects can refer to them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult, VolumeInfo
from CSpineFractureLib.volume.dicom_geometry import LPS_TO_RAS
from CSpineFractureLib.volume.dicom_scan import files_below, scan_files
from CSpineFractureLib.volume.dicom_slice import DicomSlice
from CSpineFractureLib.volume.zip_input import unpacked

INSTANCES = "DICOM.instanceUIDs"
"""Attribute that Slicer's DICOM module gives a volume node: SOPInstanceUIDs with spaces between them."""
_PARALLEL = float(np.cos(np.radians(2.0)))


def database_files(node: slicer.vtkMRMLNode | None) -> list[Path]:
    """The files that a volume node was loaded from, by Slicer's DICOM database; none where it came from elsewhere.

    Raises ``UserError`` where the database knows the images but some files are gone.
    """
    uids = ((node.GetAttribute(INSTANCES) if node is not None else None) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return []
    found = [Path(name) for name in (database.fileForInstance(uid) for uid in uids) if name]
    missing = len(uids) - sum(file.is_file() for file in found)
    if found and missing:
        message = (
            f'{missing} of the {len(uids)} DICOM files of "{node.GetName()}" are no longer where Slicer\'s DICOM '
            "database says: import the study again."
        )
        raise UserError(message)
    return found


def slice_thickness_mm(node: slicer.vtkMRMLNode) -> float | None:
    """The thickness of a CT's slices, by Slicer's DICOM database; ``None`` where it does not know it."""
    uids = (node.GetAttribute(INSTANCES) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return None
    file = Path(database.fileForInstance(uids[0]) or "-")
    planes = scan_files([file]).planes if file.is_file() else []
    return next((plane.thickness for plane in planes if plane.thickness), None)


@contextmanager
def dicom_source(
    result: StudyResult, node: slicer.vtkMRMLNode | None, named: str
) -> Iterator[tuple[StudyResult, Path]]:
    """The result tied to its source images, and the folder or .zip that holds them.

    ``named`` is a folder or .zip that the user names; where it is empty the files come from Slicer's DICOM database.
    Raises ``UserError`` where neither has them.
    """
    if named:
        place = Path(named)
        if not place.exists():
            message = f"'{place}' does not exist: name the folder with the DICOM files of the CT under 'Source'."
            raise UserError(message)
        yield _tied_to_place(result, place), place
        return
    files = database_files(node)
    if not files:
        name = "The CT" if node is None else f'The CT "{node.GetName()}"'
        message = (
            f"{name} does not come from Slicer's DICOM database, so there are no images to refer to: load it through "
            "the DICOM module, or name the folder of its DICOM files under 'Source'."
        )
        raise UserError(message)
    with _one_folder(files) as folder:
        yield tied(result, scan_files(files).planes), folder


def tied(result: StudyResult, planes: Sequence[DicomSlice]) -> StudyResult:
    """The result with the identifiers of the series whose images lie where its grid does.

    Where each slice of the grid is one image, they are named slice by slice; a grid that was resampled is tied to its
    frame of reference alone. A result that knows its series stays as it is. Raises ``UserError`` where no series fits.
    """
    if result.volume.series_uid:
        return result
    series: dict[str, list[DicomSlice]] = {}
    for plane in planes:
        series.setdefault(plane.series_uid, []).append(plane)
    for uid, images in series.items():
        ordered = _slice_by_slice(images, result.volume)
        if ordered is not None:
            uids = [plane.sop_uid for plane in ordered]
            return _with_series(result, uid, ordered[0], grid="native", sop_instance_uids=uids)
    for uid, images in series.items():
        if _lies_within(images, result.volume):
            return _with_series(result, uid, images[0], grid="resampled", sop_instance_uids=None)
    message = "The CT does not lie where its DICOM images do, for example because a transform was hardened: load the "
    message += "CT again and analyse it as it is."
    raise UserError(message)


def _with_series(result: StudyResult, uid: str, plane: DicomSlice, **changes: object) -> StudyResult:
    frame = plane.frame_of_reference
    return replace(result, volume=replace(result.volume, series_uid=uid, frame_of_reference_uid=frame, **changes))


def _tied_to_place(result: StudyResult, place: Path) -> StudyResult:
    if result.volume.series_uid:
        return result
    if place.suffix.lower() == ".zip":
        with unpacked(place) as folder:
            planes = scan_files(files_below(folder)).planes
    else:
        planes = scan_files(files_below(place if place.is_dir() else place.parent)).planes
    if not planes:
        message = f"'{place}' holds no CT images: name the folder with the DICOM files of the CT under 'Source'."
        raise UserError(message)
    return tied(result, planes)


def _slice_by_slice(images: list[DicomSlice], grid: VolumeInfo) -> list[DicomSlice] | None:
    """One image per slice ``k``, or ``None`` where the slices of the grid are not the images."""
    slices, rows, columns = grid.shape_kji
    if any(plane.frame is not None or (plane.rows, plane.columns) != (rows, columns) for plane in images):
        return None
    inverse = np.linalg.inv(np.array(grid.ijk_to_ras, float))
    found: dict[int, DicomSlice] = {}
    for plane in images:
        ends = [np.zeros(3), plane.row_axis * plane.pixel_mm[1] * columns, plane.column_axis * plane.pixel_mm[0] * rows]
        ras = np.array([LPS_TO_RAS @ (plane.position + end) for end in ends])
        ijk = ras @ inverse[:3, :3].T + inverse[:3, 3]
        k = round(float(ijk[0, 2]))
        if np.abs(ijk - [[0, 0, k], [columns, 0, k], [0, rows, k]]).max() < 0.5:
            found.setdefault(k, plane)
    return [found[k] for k in range(slices)] if all(k in found for k in range(slices)) else None


def _lies_within(images: list[DicomSlice], grid: VolumeInfo) -> bool:
    """Whether the grid's rows run along the images' and its middle lies among them."""
    matrix = np.array(grid.ijk_to_ras, float)
    directions = matrix[:3, :3] / grid.spacing_mm
    if np.abs(directions.T @ (LPS_TO_RAS @ images[0].row_axis)).max() < _PARALLEL:
        return False
    corners = np.array([_corners(plane) for plane in images]).reshape(-1, 3)
    middle = matrix[:3, :3] @ (np.array(grid.shape_kji[::-1]) / 2) + matrix[:3, 3]
    return bool((middle >= corners.min(axis=0)).all() and (middle <= corners.max(axis=0)).all())


def _corners(plane: DicomSlice) -> list[np.ndarray]:
    """The four corners of an image, RAS mm."""
    right, down = plane.row_axis * plane.pixel_mm[1] * plane.columns, plane.column_axis * plane.pixel_mm[0] * plane.rows
    return [LPS_TO_RAS @ (plane.position + a * right + b * down) for a in (0, 1) for b in (0, 1)]


@contextmanager
def _one_folder(files: Sequence[Path]) -> Iterator[Path]:
    """A folder that holds the files: their own where they lie together, else a private one with links or copies."""
    parents = {file.parent for file in files}
    if len(parents) == 1:
        yield parents.pop()
        return
    with tempfile.TemporaryDirectory(prefix="cspine-series-") as folder:
        for number, file in enumerate(files):
            try:
                os.link(file, Path(folder) / f"{number:05}.dcm")
            except OSError:
                shutil.copyfile(file, Path(folder) / f"{number:05}.dcm")
        yield Path(folder)
