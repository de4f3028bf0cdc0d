"""A study's annotations as a ``StudyResult``, so that boxes and masks of a data set can be looked at like findings."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from CSpineFractureLib import __version__
from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import (
    Box,
    FractureFinding,
    SliceFinding,
    StudyFinding,
    StudyResult,
    VertebraFinding,
    VolumeInfo,
)
from CSpineFractureLib.phantom.mask_frame import vertebra_from_mask
from CSpineFractureLib.volume.ct_volume import CTVolume

PROFILE, DEVICE, RULE = "annotation", "none", "annotated in the data set"
UNKNOWN = "unknown"
WORK_MM = 1.0
DEEP_SHARE = 0.6
BODY_HALF_WIDTH_MM = 9.0
ARCH_HALF_WIDTH_MM, ARCH_DEPTH_MM = 7.0, 8.0


def record_to_result(record: StudyRecord) -> StudyResult:
    """The annotations of a study as the result of a run: probabilities are 1, 0 or unknown, confidences 1.

    Vertebrae come from the mask (none without one). Slice boxes of one level that overlap in neighbouring slices
    become one fracture box with status ``accepted``. A slice without a box is only called negative where the record
    says that its slices are labelled. Loads the volume and the mask; raises ``UserError`` where they cannot be read.
    """
    volume = record.load_volume()
    labels = record.load_levels() if record.load_levels else None
    boxes = list(record.boxes or ())
    return StudyResult(
        id=record.id,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        software_version=__version__,
        status="complete",
        volume=VolumeInfo(
            shape_kji=list(volume.shape_kji),
            spacing_mm=list(volume.spacing_mm),
            ijk_to_ras=volume.ijk_to_ras.tolist(),
            grid=volume.grid,
            series_uid=volume.series_uid,
            frame_of_reference_uid=volume.frame_of_reference_uid,
            sop_instance_uids=list(volume.sop_instance_uids) if volume.sop_instance_uids else None,
        ),
        profile=PROFILE,
        device=DEVICE,
        study=StudyFinding(None if record.fractured is None else float(any(record.fractured.values())), RULE),
        warnings=list(volume.notices),
        slices=_slices(record, labels, boxes, volume.shape_kji[0]),
        vertebrae=[] if labels is None else _vertebrae(record, labels, volume),
        fractures=_fractures(boxes, volume),
    )


def body_middle(mask: np.ndarray, ijk_to_ras: np.ndarray, first: bool = False) -> np.ndarray:
    """RAS mm of the middle of the vertebral body, or of the anterior arch of C1 (``first``), from a bool mask.

    ``mask`` is ``[k, j, i]``, cut to the vertebra. The body is the thickest part of its front half within 9 mm of the
    middle between left and right: the mean of the voxels there whose distance from the surface is at least 0.6 of the
    greatest. Of C1 it is the mean of the foremost 8 mm within 7 mm of the middle. An estimate for pieces of vertebrae.
    """
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)[::-1]
    step = [max(1, round(WORK_MM / s)) for s in spacing]
    thin = mask[:: step[0], :: step[1], :: step[2]]
    if not thin.any():
        thin, step = mask, [1, 1, 1]
    index = np.argwhere(thin)
    ras = (index * step)[:, ::-1] @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    middle = np.percentile(ras[:, :2], [2, 98], axis=0).mean(axis=0)
    if first:
        near = np.abs(ras[:, 0] - middle[0]) <= ARCH_HALF_WIDTH_MM
        near &= ras[:, 1] >= ras[near, 1].max(initial=-np.inf) - ARCH_DEPTH_MM
    else:
        depth = ndimage.distance_transform_edt(np.pad(thin, 1), sampling=spacing * step)[1:-1, 1:-1, 1:-1]
        depth = depth[tuple(index.T)]
        near = (np.abs(ras[:, 0] - middle[0]) <= BODY_HALF_WIDTH_MM) & (ras[:, 1] >= middle[1])
        near &= depth >= DEEP_SHARE * depth[near].max(initial=0)
    return ras[near].mean(axis=0) if near.any() else ras.mean(axis=0)


def _centre(labels: np.ndarray, volume: CTVolume, level: str, place: tuple[slice, slice, slice]) -> np.ndarray:
    """RAS mm of the body's middle by the vertebra's own frame; by ``body_middle`` where little of it is in the mask."""
    try:
        return vertebra_from_mask(labels, volume.ijk_to_ras, level).centre
    except UserError:
        origin = np.array(volume.ijk_to_ras)
        origin[:3, 3] = volume.ras_of(np.array([p.start for p in place[::-1]]))
        return body_middle(labels[place] == LEVELS.index(level) + 1, origin, first=level == "C1")


def _slices(record: StudyRecord, labels: np.ndarray | None, boxes: list[SliceBox], count: int) -> list[SliceFinding]:
    boxed = {box.k for box in boxes}
    otherwise = 0.0 if record.slices_are_labelled else None
    found = []
    for k in range(count):
        there = np.bincount(labels[k].ravel(), minlength=len(LEVELS) + 1) if labels is not None else None
        present = {} if there is None else {level: 1.0 for n, level in enumerate(LEVELS, start=1) if there[n]}
        found.append(SliceFinding(k, 1.0 if k in boxed else otherwise, present))
    return found


def _vertebrae(record: StudyRecord, labels: np.ndarray, volume: CTVolume) -> list[VertebraFinding]:
    voxel_mm3 = abs(float(np.linalg.det(volume.ijk_to_ras[:3, :3])))
    found = []
    for n, place in enumerate(ndimage.find_objects(labels, len(LEVELS)), start=1):
        if place is None:
            continue
        level = LEVELS[n - 1]
        low, high = np.array([[p.start, p.stop] for p in place]).T
        mask = labels[place] == n
        cut = bool((low == 0).any() or (high == labels.shape).any())
        known = record.fractured is not None
        found.append(
            VertebraFinding(
                id=f"vertebra-{level}",
                level=level,
                visible="partial" if cut else "full",
                assessed=True,
                confidence=1.0,
                center_ras=_centre(labels, volume, level, place).tolist(),
                box=_box(volume, low[::-1] - 0.5, high[::-1] - 0.5),
                slice_range=[int(low[0]), int(high[0]) - 1],
                fracture_probability=float(record.fractured[level]) if known else None,
                fracture_assessable=True if known else "the data set does not tell of fractures in this study",
                volume_mm3=float(mask.sum() * voxel_mm3),
            )
        )
    return found


def _fractures(boxes: list[SliceBox], volume: CTVolume) -> list[FractureFinding]:
    found = []
    for joined in joined_boxes(boxes):
        level = joined[0].level or UNKNOWN
        low = [min(box.x for box in joined), min(box.y for box in joined), min(box.k for box in joined)]
        high = [max(b.x + b.width for b in joined), max(b.y + b.height for b in joined), max(b.k for b in joined) + 1]
        found.append(
            FractureFinding(
                id=f"fracture-{len(found) + 1}",
                level=level,
                confidence=1.0,
                box=_box(volume, np.array(low) - 0.5, np.array(high) - 0.5),
                status="accepted",
                comment=f"annotated in {len(joined)} slices, k {low[2]} to {high[2] - 1}",
            )
        )
    return found


def joined_boxes(boxes: list[SliceBox]) -> list[list[SliceBox]]:
    """Boxes of one level that touch in the same or the next slice, joined into groups, by level and slice."""
    boxes = sorted(boxes, key=lambda box: (box.level or "~", box.k, box.x, box.y))
    pairs = [
        (first, second)
        for first, one in enumerate(boxes)
        for second, other in enumerate(boxes[first + 1 :], start=first + 1)
        if one.level == other.level and abs(one.k - other.k) <= 1 and _touch(one, other)
    ]
    links = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(links.shape[1]), tuple(links)), shape=(len(boxes), len(boxes)))
    count, group_of = connected_components(graph, directed=False) if boxes else (0, [])
    return [[box for box, group in zip(boxes, group_of, strict=True) if group == number] for number in range(count)]


def _touch(one: SliceBox, other: SliceBox) -> bool:
    return max(one.x, other.x) <= min(one.x + one.width, other.x + other.width) and max(one.y, other.y) <= min(
        one.y + one.height, other.y + other.height
    )


def _box(volume: CTVolume, low_ijk: np.ndarray, high_ijk: np.ndarray) -> Box:
    """An oriented box along the volume's axes, between two continuous indices ``(i, j, k)``."""
    axes = volume.ijk_to_ras[:3, :3].T / np.array(volume.spacing_mm)[:, None]
    size = (np.asarray(high_ijk) - low_ijk) * volume.spacing_mm
    centre = volume.ras_of((np.asarray(low_ijk) + high_ijk) / 2)
    if np.linalg.det(axes) < 0:
        axes[2] *= -1  # a box has no handedness, but whoever draws it needs a rotation
    return Box(centre.tolist(), size.tolist(), axes.tolist())
