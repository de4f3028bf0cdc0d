"""Where the planes of one DICOM stack lie: their order, and what is irregular about them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.dicom_slice import DicomSlice

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
SAME_PLACE_MM = 0.01
LONGEST_GAP_MM = 15.0
"""A longer hole (about one vertebra) is not bridged; the longest part of the series is kept instead."""


@dataclass(frozen=True, eq=False)
class StackLayout:
    """Planes in order along their normal, and the regular grid that fits them.

    ``along`` (n), ``across`` (n, 2: along rows, along columns) are positions in mm relative to the first plane. Where
    ``regular`` the planes are the slices of the grid themselves; else they must be interpolated at ``spacing`` mm.
    """

    planes: list[DicomSlice]
    along: np.ndarray
    across: np.ndarray
    spacing: float
    regular: bool
    notices: tuple[Notice, ...]

    def ijk_to_ras(self, offset_mm: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """RAS matrix of the grid; ``offset_mm`` moves its first voxel along rows and columns."""
        first = self.planes[0]
        matrix = np.eye(4)
        matrix[:3, 0] = first.row_axis * first.pixel_mm[1]
        matrix[:3, 1] = first.column_axis * first.pixel_mm[0]
        matrix[:3, 2] = first.normal * self.spacing
        matrix[:3, 3] = first.position + first.row_axis * offset_mm[0] + first.column_axis * offset_mm[1]
        matrix[:3] = LPS_TO_RAS @ matrix[:3]
        return matrix


def ordered(planes: list[DicomSlice]) -> tuple[list[DicomSlice], np.ndarray]:
    """Planes sorted along their normal (then by instance number), with their positions along it in LPS mm."""
    normal = planes[0].normal
    along = np.array([plane.position @ normal for plane in planes])
    order = np.lexsort(([plane.instance_number for plane in planes], np.round(along / SAME_PLACE_MM)))
    return [planes[index] for index in order], along[order]


def groups_at_same_place(planes: list[DicomSlice]) -> list[list[DicomSlice]]:
    """Ordered planes, those at the same place (within 0.01 mm) together; more than one in a group are duplicates."""
    planes, along = ordered(planes)
    groups = [[planes[0]]]
    for plane, step in zip(planes[1:], np.diff(along), strict=True):
        if step <= SAME_PLACE_MM:
            groups[-1].append(plane)
        else:
            groups.append([plane])
    return groups


def layout_of(planes: list[DicomSlice]) -> StackLayout:
    """Order planes without duplicates, and decide whether they are a regular orthogonal grid.

    Positions rounded in the headers (up to a tenth of the slice distance) still count as regular. Raises
    ``UserError`` for fewer than two planes.
    """
    planes, along = ordered(planes)
    if len(planes) < 2:
        message = f"'{planes[0].path.name}' is a single slice; a CT volume of the neck is needed."
        raise UserError(message)
    notices: list[Notice] = []
    planes, along = _longest_part(planes, along, notices)
    along = along - along[0]
    first = planes[0]
    shifts = np.array([plane.position - first.position for plane in planes])
    across = np.stack([shifts @ first.row_axis, shifts @ first.column_axis], axis=1)
    spacing, evenly = _spacing(planes, along, notices)
    straight = _check_tilt(along, across, min(first.pixel_mm), notices)
    _note_orientation(first, notices)
    return StackLayout(planes, along, across, spacing, evenly and straight, tuple(notices))


def _longest_part(
    planes: list[DicomSlice], along: np.ndarray, notices: list[Notice]
) -> tuple[list[DicomSlice], np.ndarray]:
    gaps = np.diff(along)
    holes = np.flatnonzero(gaps > max(LONGEST_GAP_MM, 2.5 * np.median(gaps)))
    if not len(holes):
        return planes, along
    edges = [0, *(holes + 1), len(planes)]
    parts = [(along[end - 1] - along[start], start, end) for start, end in pairwise(edges)]
    length, start, end = max(parts)
    message = (
        f"The series has a hole of {gaps[holes].max():.0f} mm without slices; only its longest part ({end - start} of "
        f"{len(planes)} slices, {length:.0f} mm) is used."
    )
    notices.append(Notice("missing-slices", message))
    return planes[start:end], along[start:end]


def _spacing(planes: list[DicomSlice], along: np.ndarray, notices: list[Notice]) -> tuple[float, bool]:
    """Slice distance of the grid in mm, and whether the planes lie on it already."""
    count = len(along)
    fit = np.polyfit(np.arange(count), along, 1)
    residual = np.abs(np.polyval(fit, np.arange(count)) - along).max()
    if residual <= 0.1 * fit[0]:
        return round(float(fit[0]), 9), True
    gaps = np.diff(along)
    spacing = _finest_regular(gaps)
    multiples = gaps / spacing
    lost = np.round(multiples).astype(int) - 1
    if np.abs(multiples - np.round(multiples)).max() <= 0.1 and (lost >= 0).all():
        where = planes[int(np.argmax(lost))].position
        message = (
            f"{lost.sum()} of {count + lost.sum()} slices are missing (the first hole beyond "
            f"S {where[2]:.1f} mm); they were filled in by linear interpolation at {spacing:.2f} mm."
        )
        notices.append(Notice("missing-slices", message))
    else:
        message = (
            f"The slices are unequally spaced ({gaps.min():.2f} to {gaps.max():.2f} mm apart); the volume was "
            f"resampled linearly to one slice every {spacing:.2f} mm."
        )
        notices.append(Notice("unequal-spacing", message))
    return spacing, False


def _finest_regular(gaps: np.ndarray) -> float:
    """The smallest distance (mm) that at least a tenth of the gaps share (within 5 %), else their median."""
    needed = max(2, int(np.ceil(0.1 * len(gaps))))
    for gap in np.sort(gaps):
        alike = gaps[np.abs(gaps - gap) <= 0.05 * gap]
        if len(alike) >= needed:
            return float(np.median(alike))
    return float(np.median(gaps))


def _check_tilt(along: np.ndarray, across: np.ndarray, pixel_mm: float, notices: list[Notice]) -> bool:
    """Whether the planes lie straight above each other, within half a pixel from first to last."""
    limit = 0.5 * pixel_mm
    if np.ptp(across, axis=0).max() <= limit:
        return True
    slopes = np.array([np.polyfit(along, across[:, axis], 1)[0] for axis in range(2)])
    lines = along[:, None] * slopes
    rest = across - lines - (across - lines).mean(axis=0)
    if np.abs(rest).max() <= max(limit, 0.1 * np.abs(np.diff(along)).mean()):
        angle = np.degrees(np.arctan(np.hypot(*slopes)))
        message = (
            f"The gantry was tilted by {angle:.1f} degrees; the volume was resampled linearly to an orthogonal grid."
        )
        notices.append(Notice("gantry-tilt", message))
    else:
        message = (
            f"Slices are shifted sideways by up to {np.abs(rest).max():.1f} mm against each other; the volume was "
            f"resampled linearly to an orthogonal grid."
        )
        notices.append(Notice("shifted-slices", message))
    return False


def _note_orientation(plane: DicomSlice, notices: list[Notice]) -> None:
    notice = orientation_notice(LPS_TO_RAS @ plane.normal)
    if notice is not None:
        notices.append(notice)


def orientation_notice(slice_axis_ras: np.ndarray) -> Notice | None:
    """'non-axial' where the slice axis is more than 30 degrees off the patient's S axis, else ``None``."""
    axis = np.abs(slice_axis_ras) / np.linalg.norm(slice_axis_ras)
    if axis[2] >= np.cos(np.radians(30)):
        return None
    kind = ("sagittal", "coronal", "steeply oblique axial")[int(np.argmax(axis))]
    angle = np.degrees(np.arccos(axis[2]))
    message = f"The slices are {kind}, not axial ({angle:.0f} degrees off); the volume is used as it is stored."
    return Notice("non-axial", message)
