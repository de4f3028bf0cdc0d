"""Choose the series to read: axial CT that covers the neck best, then thin slices, then a bone kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.dicom_geometry import groups_at_same_place, ordered
from CSpineFractureLib.volume.dicom_series import Stack
from CSpineFractureLib.volume.dicom_slice import DicomSlice

NECK_WORDS = re.compile(
    r"neck|cerv|c[\s_-]?spine|\bc[\s_-]?sp\b|\bhws\b|hals|\bcou\b|cuello|pescoco|collo", re.IGNORECASE
)
BONE_WORDS = re.compile(r"bone|knochen|\bos\b|osso|oss[eo]a?\b|hueso|sharp", re.IGNORECASE)
BONE_KERNELS = re.compile(
    r"^([bhju][rfp]?[5-9]\d|bone.*|edge|detail|lung|yc|yd|yb|[de]$|fc(3[0-9]|[58]\d))", re.IGNORECASE
)
"""Siemens B/H/J/U 50-99 (Br58, H60, Hr64), GE BONE/BONEPLUS/EDGE/DETAIL, Philips D/E/YB-YD, Canon FC30-39, FC50-59,
FC80-89."""
NECK_MM = 140.0
"""More of a neck than this does not count: C1 to T1 of a tall adult."""
NECK_AREA_CM2 = (50.0, 330.0)
NECK_BONE = (0.01, 0.135)
SAMPLES = 16


@dataclass(frozen=True, order=True)
class Rank:
    """How well a stack suits, compared from the first field to the last."""

    volume: bool
    axial: bool
    neck_mm: float
    thinness: float
    bone_kernel: bool
    slices: int


def choose(
    stacks: list[Stack], series: str | None, pixels: Callable[[DicomSlice], np.ndarray], name: str
) -> tuple[Stack, tuple[Notice, ...]]:
    """The stack to read, and a ``series-chosen`` Notice where there were several.

    ``series`` asks for a SeriesInstanceUID; ``pixels`` gives the HU ``[j, i]`` of a plane (a few are looked at where
    several stacks compete); ``name`` is the input's name for messages. Raises ``UserError`` for an unknown UID.
    """
    if series is not None:
        asked = [stack for stack in stacks if stack.series_uid == series]
        if not asked:
            there = ", ".join(sorted({stack.series_uid for stack in stacks})[:8])
            message = f"'{name}' has no CT series {series}; ask for one of those it has: {there}."
            raise UserError(message)
        stacks = asked
    if len(stacks) == 1:
        return stacks[0], ()
    volumes = [stack for stack in stacks if _is_volume(stack)]
    look = len(volumes) > 1
    ranks = [_rank(stack, pixels if look else None) for stack in stacks]
    best = max(range(len(stacks)), key=lambda index: (ranks[index], -(stacks[index].planes[0].series_number or 0)))
    return stacks[best], (Notice("series-chosen", _why(stacks, ranks, best)),)


def slice_distance(stack: Stack) -> float:
    """Median distance between the stack's slices in mm; 0 for a single place."""
    places = [group[0] for group in groups_at_same_place(stack.planes)]
    return float(np.median(np.diff(ordered(places)[1]))) if len(places) > 1 else 0.0


def _is_volume(stack: Stack) -> bool:
    _, along = ordered(stack.planes)
    scout = "LOCALIZER" in stack.planes[0].image_type
    return not scout and len(groups_at_same_place(stack.planes)) >= 5 and along[-1] - along[0] >= 10.0


def _rank(stack: Stack, pixels: Callable[[DicomSlice], np.ndarray] | None) -> Rank:
    first, volume = stack.planes[0], _is_volume(stack)
    axial = abs(first.normal[2]) > np.cos(np.radians(45))
    covered = neck_mm(stack, pixels) if volume and axial and pixels else 0.0
    named = 40.0 if NECK_WORDS.search(first.words) else 0.0
    return Rank(
        volume=volume,
        axial=axial,
        neck_mm=20.0 * round((min(covered, NECK_MM) + named) / 20.0),
        thinness=-round(max(slice_distance(stack), 0.5), 1),
        bone_kernel=has_bone_kernel(first),
        slices=len(stack.planes),
    )


def has_bone_kernel(plane: DicomSlice) -> bool:
    """Whether kernel or description name a sharp reconstruction, as the great makers spell it."""
    kernel = plane.kernel.split("\\")[0].strip()
    return bool(BONE_KERNELS.match(kernel) or BONE_WORDS.search(f"{plane.words} {kernel}"))


def neck_mm(stack: Stack, pixels: Callable[[DicomSlice], np.ndarray]) -> float:
    """How many mm of the stack look like a neck, judged from up to 16 slices spread over it.

    A slice looks like a neck where the body's cut is 50 to 330 cm2 with 1 to 13 % bone (measured on real CT): a head
    has more bone, the shoulders are larger.
    """
    planes, along = ordered(stack.planes)
    picks = np.unique(np.linspace(0, len(planes) - 1, SAMPLES).round().astype(int))
    hits = 0
    for index in picks:
        plane, hu = planes[index], pixels(planes[index])[::2, ::2]
        body = hu > -300
        area = body.sum() * 4 * plane.pixel_mm[0] * plane.pixel_mm[1] / 100
        bone = (hu > 250).sum() / max(1, body.sum())
        hits += NECK_AREA_CM2[0] <= area <= NECK_AREA_CM2[1] and NECK_BONE[0] <= bone <= NECK_BONE[1]
    return float(hits / len(picks) * (along[-1] - along[0]))


def _why(stacks: list[Stack], ranks: list[Rank], best: int) -> str:
    chosen = stacks[best]
    others = [rank for index, rank in enumerate(ranks) if index != best]
    rank = ranks[best]
    reasons = (
        ("it is the only one with enough slices", rank.volume, [other.volume for other in others]),
        ("it is axial", rank.axial, [other.axial for other in others]),
        ("it covers the neck best", rank.neck_mm, [other.neck_mm for other in others]),
        ("its slices are the thinnest", rank.thinness, [other.thinness for other in others]),
        ("it has a bone kernel", rank.bone_kernel, [other.bone_kernel for other in others]),
        ("it has the most slices", rank.slices, [other.slices for other in others]),
    )
    reason, rivals = "it comes first", others
    for words, mine, theirs in reasons:
        alive = [value for value, rival in zip(theirs, others, strict=True) if rival in rivals]
        if alive and all(mine > value for value in alive):
            reason = words
            break
        rivals = [rival for value, rival in zip(theirs, others, strict=True) if rival in rivals and value == mine]
    number = chosen.planes[0].series_number
    label = f"number {number}, " if number is not None else ""
    description = chosen.planes[0].words.strip()[:60]
    label += f"'{description}', " if description else ""
    return (
        f"Of {len(stacks)} CT series this one was read because {reason}: {label}{len(chosen.planes)} slices every "
        f"{slice_distance(chosen):.2f} mm, UID {chosen.series_uid}; another can be asked for by its UID."
    )
