"""The facts of one DICOM image plane, from its header alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}


@dataclass(frozen=True, eq=False)
class DicomSlice:
    """One axial (or other) plane: a single-frame file, or one frame of a multi-frame file.

    ``position`` and the unit vectors ``row_axis`` (along increasing column number) and ``column_axis`` (along
    increasing row number) are in the patient's LPS millimetres; ``pixel_mm`` is (between rows, between columns).
    """

    path: Path
    frame: int | None
    series_uid: str
    sop_uid: str
    sop_class: str
    frame_of_reference: str | None
    rows: int
    columns: int
    pixel_mm: tuple[float, float]
    row_axis: np.ndarray
    column_axis: np.ndarray
    position: np.ndarray
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    photometric: str
    bits_stored: int
    signed: bool
    thickness: float | None
    image_type: tuple[str, ...]
    kernel: str
    words: str
    series_number: int | None
    instance_number: int
    acquisition: tuple[str, ...]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice, LPS."""
        return np.cross(self.row_axis, self.column_axis)


class UnusableSlice(Exception):
    """A CT file that cannot be a plane of a volume: no position, colour picture, screen capture."""


def number(dataset: Dataset, keyword: str, default: float | None = None) -> float | None:
    """First value of a numeric tag as a finite float; ``default`` where it is absent, empty or not a number."""
    values = numbers(dataset, keyword)
    return values[0] if values else default


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values of a numeric tag; empty where it is absent, empty or not made of finite numbers."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return []
        items = [value] if isinstance(value, (str, bytes, int, float)) or not hasattr(value, "__iter__") else value
        found = [float(item) for item in items]
    except (ValueError, TypeError, OverflowError):
        return []
    return found if all(np.isfinite(found)) else []


def text(dataset: Dataset, keyword: str) -> str:
    """A tag as stripped text, several values joined by a backslash; empty where it is absent."""
    try:
        value = dataset.get(keyword)
    except (ValueError, TypeError):
        return ""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return "\\".join(str(item) for item in value).strip()
    return str(value).strip()


def plane_of(
    dataset: Dataset,
    path: Path,
    frame: int | None = None,
    geometry: Dataset | None = None,
    rescale: Dataset | None = None,
) -> DicomSlice:
    """Build the plane of a single-frame header, or of one frame whose geometry and rescale tags are given apart.

    Raises ``UnusableSlice`` with the reason (a clause) where it has no place in space or is no grey picture.
    """
    place = dataset if geometry is None else geometry
    values = dataset if rescale is None else rescale
    orientation, position = numbers(place, "ImageOrientationPatient"), numbers(place, "ImagePositionPatient")
    spacing = numbers(place, "PixelSpacing")
    rows, columns = number(dataset, "Rows"), number(dataset, "Columns")
    if int(number(dataset, "SamplesPerPixel", 1)) != 1:
        reason = "it is a colour picture"
        raise UnusableSlice(reason)
    if not rows or not columns:
        reason = "it has no image size"
        raise UnusableSlice(reason)
    if len(orientation) != 6 or len(position) != 3:
        reason = "it has no position or orientation in the patient"
        raise UnusableSlice(reason)
    if len(spacing) != 2 or min(spacing) <= 0:
        reason = "it has no pixel spacing"
        raise UnusableSlice(reason)
    row_axis, column_axis = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row_axis), np.linalg.norm(column_axis)
    if min(lengths) < 0.5 or abs(row_axis @ column_axis) > 0.02 * lengths[0] * lengths[1]:
        reason = "its orientation is not two perpendicular directions"
        raise UnusableSlice(reason)
    row_axis = row_axis / lengths[0]
    column_axis = column_axis - row_axis * (row_axis @ column_axis)
    signed = number(dataset, "PixelRepresentation", 0) == 1
    return DicomSlice(
        path=path,
        frame=frame,
        series_uid=text(dataset, "SeriesInstanceUID"),
        sop_uid=text(dataset, "SOPInstanceUID"),
        sop_class=text(dataset, "SOPClassUID"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID") or None,
        rows=int(rows),
        columns=int(columns),
        pixel_mm=(spacing[0], spacing[1]),
        row_axis=row_axis,
        column_axis=column_axis / np.linalg.norm(column_axis),
        position=np.array(position),
        slope=number(values, "RescaleSlope", 1.0) or 1.0,
        intercept=number(values, "RescaleIntercept", 0.0),
        padding=_padding(dataset, signed),
        photometric=text(dataset, "PhotometricInterpretation") or "MONOCHROME2",
        bits_stored=int(number(dataset, "BitsStored", 16)),
        signed=signed,
        thickness=number(dataset, "SliceThickness"),
        image_type=tuple(text(dataset, "ImageType").upper().split("\\")),
        kernel=text(dataset, "ConvolutionKernel"),
        words=" ".join(
            text(dataset, keyword)
            for keyword in ("SeriesDescription", "ProtocolName", "BodyPartExamined", "StudyDescription")
        ),
        series_number=_integer(number(dataset, "SeriesNumber")),
        instance_number=_integer(number(dataset, "InstanceNumber")) or 0,
        acquisition=tuple(
            text(dataset, keyword)
            for keyword in ("AcquisitionNumber", "ConvolutionKernel", "TemporalPositionIdentifier", "ImageType")
        ),
    )


def _integer(value: float | None) -> int | None:
    return None if value is None else int(value)


def _padding(dataset: Dataset, signed: bool) -> tuple[int, int] | None:
    low = number(dataset, "PixelPaddingValue")
    if low is None:
        return None
    high = number(dataset, "PixelPaddingRangeLimit", low)
    bits = int(number(dataset, "BitsAllocated", 16))
    pair = []
    for value in (int(low), int(high)):
        wrapped = value % (1 << bits)
        pair.append(wrapped - (1 << bits) if signed and wrapped >= 1 << (bits - 1) else wrapped)
    return min(pair), max(pair)
