"""From a CT to the levels it shows: a YOLO network boxes C1-C7 in axial slices, and the boxes are fused.

Where there is a sagittal network (see ``locate``) and it sees tissue, it names the levels first, YOLO looks only at the
slices of its map, and its boxes stand in where YOLO's fail; without a vertebra that both see, nothing is found.

The network is the shipped one (1 mm pixels, three slabs as channels, C1-C7 and thorax), or one of documents 000 and 003
(whole slices in the bone window, C1-C7), as its manifest entry says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.pipeline.axial import AxialImages, detector_images, detector_inputs
from CSpineFractureLib.pipeline.boxes2d import SliceBox, follow_column
from CSpineFractureLib.pipeline.column_search import LOCATOR, ColumnMap, map_column
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.discs import disc_evidence
from CSpineFractureLib.pipeline.fuse import FusedLevel, body_evidence, fuse
from CSpineFractureLib.pipeline.locate import LocatedLevel, locate, map_boxes, slabs_of
from CSpineFractureLib.pipeline.slice_images import WholeSlices, slice_input
from CSpineFractureLib.volume.canonical import CanonicalView

if TYPE_CHECKING:
    from CSpineFractureLib.models.yolo import Detections

DETECTOR = "vertebra-detector"
CLASSES = 8
LEAST_CONFIDENCE = 0.15
"""Of a level that is shown."""
GOES_ON_MM, TISSUE_HU, SPARSE = 30.0, -300, 8
"""A scan that shows tissue so far beyond the last level does not end there; looked at in some of its pixels."""
NEAR_MM = 20.0
"""From the middle of a box to that of one of the map's in the same slice."""


@dataclass(frozen=True)
class FoundColumn:
    """The levels from top to bottom, the boxes on the column for each slice looked at (superior to inferior), and the
    sagittal network's map of the column where there is one."""

    levels: list[FusedLevel]
    slices: list[list[SliceBox]]
    column: ColumnMap | None = None


def find_levels(view: CanonicalView, context: RunContext) -> FoundColumn:
    """The levels that a volume shows; nothing is found where it holds only air."""
    seen = slice_input(context.entry(DETECTOR))
    whole = isinstance(seen, WholeSlices)
    images = seen.place_on_body(view) if whole else detector_images(view)
    if images is None:
        return FoundColumn([], [])
    column = map_column(view, context) if context.has(LOCATOR) else None
    model, _ = context.load(DETECTOR)
    least = context.threshold("vertebra_box", 0.10)
    picture = (lambda k: seen.picture(view, k)[0]) if whole else detector_inputs(images)

    def detect_batch(batch: list[int], device: str) -> list[list[SliceBox]]:
        import torch

        from CSpineFractureLib.models.yolo import detect

        if device != context.device:  # whose memory was short
            model.to(device)
        pictures = [picture(k) for k in batch]
        found = detect(model, torch.from_numpy(np.stack(pictures)).to(device), conf=least, iou=0.6, max_det=12)
        return [[box for box, _ in scored_boxes(images, k, one)] for k, one in zip(batch, found, strict=True)]

    order = [int(k) for k in images.slices[::-1]]
    shown = [k for k in order if column is None or column.row_of(k, view) is not None]
    with context.stage("detect", len(shown), "Finding the vertebrae"):
        found = context.run_batches("detect", detect_batch, shown, 8, "Finding the vertebrae", side_by_side=True)
    boxes_of = dict(zip(shown, found, strict=True))
    boxes = [boxes_of.get(k, []) for k in order]
    step = float(abs(images.slices[1] - images.slices[0]) if len(images.slices) > 1 else 1) * view.spacing_mm[2]
    with context.stage("fuse", 1, "Naming the levels"):
        kept = follow_column(boxes, step)
        middle = np.array(view.hu.shape[:0:-1]) / 2
        heights = np.array([view.ras_of(np.array([*middle, k]))[2] for k in order])
        if column is not None:
            located, column = locate(column, view, body_evidence(kept, step), heights)
            if not located:
                return FoundColumn([], [[] for _ in order])
            return _fuse_located(view, located, column, boxes, order, step)
        discs = disc_evidence(view, kept, np.array(order), step)
        return FoundColumn(fuse(kept, heights, step, discs), kept)


def _fuse_located(
    view: CanonicalView,
    located: list[LocatedLevel],
    column: ColumnMap,
    boxes: list[list[SliceBox]],
    order: list[int],
    step: float,
) -> FoundColumn:
    """The located levels with the boxes of ``boxes`` that lie on them, or the map's own."""
    kept = [_on_column(found, map_boxes(column, view, k)) for found, k in zip(boxes, order, strict=True)]
    middle = view.ijk_of(np.mean([level.center_ras for level in located], axis=0))[:2]
    heights = np.array([view.ras_of(np.array([*middle, k]))[2] for k in order])
    levels = fuse(kept, heights, step, slabs=slabs_of(located, heights))
    centres = {level.level: level.center_ras for level in located}
    return FoundColumn([replace(level, center_ras=centres[level.index]) for level in levels], kept, column)


def _on_column(found: list[SliceBox], shown: list[SliceBox]) -> list[SliceBox]:
    """Of one slice: the boxes found near those that the map shows, or else the latter."""
    near = [box for box in found if any(np.linalg.norm(box.middle - own.middle) <= NEAR_MM for own in shown)]
    return near or shown


def slice_box(images: AxialImages, k: int, box: np.ndarray, scores: np.ndarray) -> SliceBox:
    """A box in pixels (left, top, right, bottom) to RAS mm, around all four corners, for a slice may lie turned;
    classes that the network does not know score 0."""
    left, top, right, bottom = map(float, box)
    corners = np.array([images.ras_of(u, v, k) for u in (left, right) for v in (top, bottom)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scores = np.pad(np.asarray(scores, float), (0, max(0, CLASSES - len(scores))))
    return SliceBox(k, float(corners[:, 2].mean()), tuple(low[:2]), tuple(high[:2]), scores)


def scored_boxes(images: AxialImages, k: int, found: Detections) -> list[tuple[SliceBox, float]]:
    """The boxes of slice ``k`` in RAS mm with their scores, best first."""
    parts = zip(found.boxes_xyxy, found.class_probabilities, found.scores, strict=True)
    return [(slice_box(images, k, box, each), float(score)) for box, each, score in parts]


def beyond_levels_mm(levels: list[FusedLevel], view: CanonicalView) -> tuple[float, float]:
    """How far the scan shows tissue above the first and below the last level (mm)."""
    shown = np.flatnonzero((view.hu[:, ::SPARSE, ::SPARSE] > TISSUE_HU).any(axis=(1, 2)))
    if not levels or not len(shown):
        return 0.0, 0.0
    low, high = (float(view.ras_of(np.array([0, 0, k]))[2]) for k in (shown[0], shown[-1]))
    return high - levels[0].slab_s[1], levels[-1].slab_s[0] - low


def explain_absence(names: list[str], context: RunContext, beyond_mm: tuple[float, float] | None = None) -> None:
    """Say why levels are missing, given those found from top to bottom: none at all, or the volume ends before.

    ``beyond_mm``: how far the scan goes on above the first and below the last one, where that is known.
    """
    if not names:
        context.warn(
            "no-cervical-spine",
            "No cervical vertebra was found: the volume may not show the neck, or too little of it; "
            "nothing was assessed.",
        )
        return
    inside = LEVELS[LEVELS.index(names[0]) : LEVELS.index(names[-1])]
    if missing := [name for name in inside if name not in names]:
        context.warn(
            "levels-between-missing",
            f"Nothing was assessed of {', '.join(missing)}: too little of it was recognised between its neighbours.",
        )
    if names[-1] != LEVELS[-1]:
        reason = _reason("the volume ends there or shows too little of the levels below", beyond_mm and beyond_mm[1])
        context.warn("levels-below-missing", f"Nothing was assessed below {names[-1]}: {reason}.")
    if names[0] != LEVELS[0]:
        reason = _reason("the volume begins there", beyond_mm and beyond_mm[0])
        context.warn(
            "levels-above-missing",
            f"Nothing was assessed above {names[0]}: {reason}, so the numbering rests on what lies below and around,"
            " and may be a level too high or too low.",
        )


def _reason(end: str, beyond_mm: float | None) -> str:
    """Why there is no further level, given how far the scan goes on."""
    if beyond_mm is None:
        return f"{end}, or no further level was recognised"
    goes_on = f"no further level was recognised there, though the scan goes on for {beyond_mm:.0f} mm"
    return goes_on if beyond_mm > GOES_ON_MM else end
