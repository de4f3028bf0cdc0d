"""Sort CT planes into stacks that can each be one volume."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.dicom_geometry import groups_at_same_place
from CSpineFractureLib.volume.dicom_slice import DicomSlice


@dataclass(frozen=True, eq=False)
class Stack:
    """Planes of one series that share size, pixel spacing and orientation; ``notices`` tell what was left out."""

    planes: list[DicomSlice]
    notices: tuple[Notice, ...] = ()

    @property
    def series_uid(self) -> str:
        return self.planes[0].series_uid


def stacks_of(planes: list[DicomSlice]) -> list[Stack]:
    """One stack per series or, where a series holds several acquisitions of the same place, per acquisition.

    Localizers and single planes of another size or orientation are left out of their series, with a Notice.
    """
    series: dict[str, list[DicomSlice]] = defaultdict(list)
    for plane in planes:
        series[plane.series_uid].append(plane)
    stacks = []
    for members in series.values():
        by_shape: dict[tuple, list[DicomSlice]] = defaultdict(list)
        for plane in members:
            by_shape[_shape(plane)].append(plane)
        main = max(by_shape.values(), key=len)
        whole = [group for group in by_shape.values() if group is main or len(group) >= max(20, len(main) // 4)]
        odd = len(members) - sum(len(group) for group in whole)
        notices = []
        if odd:
            message = (
                f"{odd} of {len(members)} images of the series have another size or direction (scouts, for example) "
                f"and were left out."
            )
            notices.append(Notice("odd-slices", message))
        for group in whole:
            stacks.extend(Stack(part, tuple(notices)) for part in _acquisitions(group))
    return stacks


def _shape(plane: DicomSlice) -> tuple:
    axes = np.round(np.concatenate([plane.row_axis, plane.column_axis]), 2) + 0.0
    return (plane.rows, plane.columns, *np.round(plane.pixel_mm, 3), *axes, "LOCALIZER" in plane.image_type)


def _acquisitions(planes: list[DicomSlice]) -> list[list[DicomSlice]]:
    """Split where most places were imaged several times and a tag tells the passes apart."""
    groups = groups_at_same_place(planes)
    repeated = sum(len({plane.sop_uid for plane in group}) > 1 or _frames(group) for group in groups)
    if repeated < 0.5 * len(groups):
        return [planes]
    for tag in range(len(planes[0].acquisition)):
        parts: dict[str, list[DicomSlice]] = defaultdict(list)
        for plane in planes:
            parts[plane.acquisition[tag]].append(plane)
        if len(parts) > 1 and all(len(groups_at_same_place(part)) == len(part) for part in parts.values()):
            return list(parts.values())
    return [planes]


def _frames(group: list[DicomSlice]) -> bool:
    return len({plane.frame for plane in group}) > 1


def without_duplicates(
    planes: list[DicomSlice], pixels: Callable[[DicomSlice], np.ndarray]
) -> tuple[list[DicomSlice], tuple[Notice, ...]]:
    """Keep one plane per place: of equal ones the first, of different ones that with the highest instance number.

    ``pixels`` gives the HU of a plane, for the comparison.
    """
    kept, counts = [], Counter()
    for group in groups_at_same_place(planes):
        kept.append(group[-1] if len(group) > 1 else group[0])
        for other in group[:-1]:
            same = other.sop_uid == group[-1].sop_uid and other.frame == group[-1].frame
            counts["same" if same or np.array_equal(pixels(other), pixels(group[-1])) else "different"] += 1
    notices = []
    if counts["same"]:
        message = f"{counts['same']} slices are in the series twice with the same pixels; the copies were left out."
        notices.append(Notice("duplicate-slices", message))
    if counts["different"]:
        message = (
            f"{counts['different']} slices lie at the same place as another one with other pixels; the one with the "
            f"higher instance number was kept."
        )
        notices.append(Notice("duplicate-slices", message))
    return kept, tuple(notices)
