"""The ``gcvit-yolo`` profile: document 004 on a whole CT.

A network for slice and place (GCViT-tiny and the slice's height) tells which of C1-C7 each slice shows; YOLO then
looks for fractures in the slices that show any of them. What is known of a level is the slices it shows in, not where
in them it lies: its box spans the patient's whole cross-section, and a warning says so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import LEVELS, Box, VertebraFinding
from CSpineFractureLib.pipeline.assess import fracture_assessable
from CSpineFractureLib.pipeline.body import body_box
from CSpineFractureLib.pipeline.classify import FRACTURES
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.find_levels import explain_absence, scored_boxes
from CSpineFractureLib.pipeline.fracture_boxes import LEVEL_RULE, FoundBoxes, fracture_findings, level_probability
from CSpineFractureLib.pipeline.level_presence import level_presence, looked_at, on_every_slice
from CSpineFractureLib.pipeline.level_ranges import LevelRange, level_ranges
from CSpineFractureLib.pipeline.slice_images import whole_slices
from CSpineFractureLib.pipeline.slice_rows import LEAST_SCORE, ras_hull, slice_rows, stored_range
from CSpineFractureLib.pipeline.suspicion import study_probability
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

PRESENT = 0.5
FRACTURE = 0.25
"""Of a finding's confidence; ultralytics shows boxes from this score on."""
FRACTURE_BOX = 0.05


def run(volume: CTVolume, context: RunContext) -> StudyOutput:
    """Level probabilities per slice and fracture boxes of one CT; the labels are empty."""
    view = CanonicalView.of(volume)
    result = context.new_result(volume, LEVEL_RULE)
    slices = looked_at(view, context.exact)
    presence = level_presence(view, slices, context)
    step_mm = view.spacing_mm[2] * (slices[0] - slices[1] if len(slices) > 1 else 1)
    ranges = level_ranges(presence, step_mm)
    explain_absence([LEVELS[one.level] for one in ranges], context)
    is_gated = context.threshold("resolution_gate", 1.0) > 0
    gate = fracture_assessable(view.spacing_mm, volume.slice_thickness_mm) if is_gated else True
    found: FoundBoxes = {}
    if ranges:
        context.warn(
            "levels-by-slice",
            "This profile tells in which slices a level lies, not where in them: its box spans the whole patient.",
        )
        if gate is True:
            shown = presence.max(axis=1) >= context.threshold("level_presence", PRESENT)
            found = _find_fractures(view, [k for k, here in zip(slices, shown, strict=True) if here], context)
        else:
            context.warn("fracture-not-assessable", f"Fractures were not judged: {gate}.")
    everywhere = on_every_slice(view, slices, presence)
    result.slices = slice_rows(
        view,
        {k: max((score for _, score in boxes), default=0.0) for k, boxes in found.items()},
        {k: _named(row) for k, row in enumerate(everywhere)},
    )
    result.vertebrae = _vertebrae(view, ranges, slices, presence, found, gate)
    least = context.threshold("fracture", FRACTURE)
    judged = [one.level for one, v in zip(ranges, result.vertebrae, strict=True) if v.fracture_assessable is True]
    result.fractures = fracture_findings(slices, presence, found, judged, step_mm, least)
    result.study.fracture_probability = study_probability(result.vertebrae)
    return StudyOutput(result, np.zeros(volume.shape_kji, np.uint8))


def _named(row: np.ndarray) -> dict[str, float]:
    return {level: float(value) for level, value in zip(LEVELS, row, strict=True) if value >= LEAST_SCORE}


def _find_fractures(view: CanonicalView, slices: list[int], context: RunContext) -> FoundBoxes:
    """Fracture boxes of these canonical slices; a slice without one has an empty list."""
    seen = whole_slices(context.entry(FRACTURES))
    detector, _ = context.load(FRACTURES)
    least = context.threshold("fracture_box", FRACTURE_BOX)

    def detect_batch(batch: list[int], device: str) -> list[list]:
        import torch

        from CSpineFractureLib.models.yolo import detect

        detector.to(device)
        pictures = [seen.picture(view, k) for k in batch]
        stack = torch.from_numpy(np.stack([picture for picture, _ in pictures])).to(device)
        found = detect(detector, stack, conf=least, iou=0.5, max_det=8)
        return [scored_boxes(place, k, one) for k, (_, place), one in zip(batch, pictures, found, strict=True)]

    with context.stage("detect", len(slices), "Looking for fractures"):
        boxes = context.run_batches("detect", detect_batch, slices, 8, "Looking for fractures")
    return dict(zip(slices, boxes, strict=True))


def _vertebrae(
    view: CanonicalView,
    ranges: list[LevelRange],
    slices: list[int],
    presence: np.ndarray,
    found: FoundBoxes,
    gate: Literal[True] | str,
) -> list[VertebraFinding]:
    """One finding per level: its slices over the whole body; at the end of the scan it is partly visible."""
    low_ijk, high_ijk = body_box(view) or (np.zeros(3, int), np.array(view.hu.shape[::-1]) - 1)
    in_plane = tuple(slice(int(low_ijk[axis]), int(high_ijk[axis]) + 1) for axis in (1, 0))
    vertebrae = []
    for one in ranges:
        place = (slice(slices[one.last], slices[one.first] + 1), *in_plane)
        low, high = ras_hull(view, place)
        partial = one.first == 0 or one.last == len(slices) - 1
        assessable = gate if gate is not True or not partial else "the scan shows only part of this vertebra"
        rows = range(one.first, one.last + 1)
        probability = level_probability(one.level, rows, slices, presence, found) if assessable is True else None
        vertebrae.append(
            VertebraFinding(
                id=f"vertebra-{LEVELS[one.level]}",
                level=LEVELS[one.level],
                visible="partial" if partial else "full",
                assessed=True,
                confidence=one.confidence,
                center_ras=((low + high) / 2).tolist(),
                box=Box(((low + high) / 2).tolist(), (high - low).tolist()),
                slice_range=stored_range(view, place),
                fracture_probability=probability,
                fracture_assessable=assessable,
                volume_mm3=0.0,
            )
        )
    return vertebrae
