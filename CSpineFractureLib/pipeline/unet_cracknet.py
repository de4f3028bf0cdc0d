"""The ``unet-cracknet`` profile: document 002 on a whole CT.

A U-Net names the voxels of every axial slice in three bone windows; read in order along the column and cleaned in 3D
they are true segments of C1-C7. A small one that sees squares around the column says what is bone, and the column
locator names it. Each vertebra that is seen whole is cut out by its largest extent (YOLOv5 boxes where
there are weights, else the segment), and a network with a bidirectional LSTM reads 30 slices through it and tells how
likely it is fractured. Without weights for that network the segments stand alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import Box, FractureFinding, VertebraFinding
from CSpineFractureLib.pipeline.assess import STRONG_LEAN_DEG, column_lean, fracture_assessable
from CSpineFractureLib.pipeline.calibrated import Calibration, calibration_of
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.find_levels import LEAST_CONFIDENCE, explain_absence
from CSpineFractureLib.pipeline.slice_rows import ras_hull, slice_rows, stored_range
from CSpineFractureLib.pipeline.suspicion import study_probability
from CSpineFractureLib.pipeline.unet_levels import SegmentedLevel, presence_by_slice, segment_levels
from CSpineFractureLib.pipeline.unet_volume import name_voxels
from CSpineFractureLib.pipeline.vertebra_cam import hot_part, vertebra_cam_slices, vertebra_cam_volume
from CSpineFractureLib.pipeline.vertebra_fractures import (
    FRACTURE,
    LEVEL_RULE,
    VERTEBRA_FRACTURE,
    JudgedVertebra,
    judge_vertebrae,
)
from CSpineFractureLib.pipeline.vertebra_places import vertebra_places
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

NOT_JUDGED = "there are no weights for the network that judges vertebrae"
CUT = "the scan shows only part of this vertebra"


def run(volume: CTVolume, context: RunContext) -> StudyOutput:
    """Segments and fracture probabilities of one CT; see the module's text. Results are on the volume's own grid."""
    view = CanonicalView.of(volume)
    calibration = calibration_of(context, (VERTEBRA_FRACTURE,))
    result = context.new_result(volume, f"{LEVEL_RULE}; {calibration.describe() if calibration else 'not calibrated'}")
    found = name_voxels(view, context)
    with context.stage("fuse", 1, "Naming the levels"):
        labels, levels = segment_levels(found, view, context.threshold("level_confidence", LEAST_CONFIDENCE))
    explain_absence([level.name for level in levels], context)
    assessable = _assessable(levels, fracture_assessable(view.spacing_mm, volume.slice_thickness_mm), context)
    numbers = [number for number, gate in assessable.items() if gate is True]
    judged = _judge(view, labels, numbers, context, calibration)
    cam, cam_matrix = vertebra_cam_volume(view, judged, labels)
    result.slices = slice_rows(view, {}, presence_by_slice(labels, found))
    probabilities = {one.number: one.probability for one in judged}
    result.vertebrae = [
        _vertebra(level, view, assessable[level.number], probabilities.get(level.number)) for level in levels
    ]
    lean = column_lean([vertebra.center_ras for vertebra in result.vertebrae])
    if lean > STRONG_LEAN_DEG:
        context.warn(
            "leaning-column",
            f"The column leans {lean:.0f} degrees from the body axis: check the levels and their middles.",
        )
    result.fractures = _findings(judged, levels, labels, view, context.threshold("fracture", FRACTURE))
    result.study.fracture_probability = study_probability(result.vertebrae)
    if calibration and judged:
        result.study.fracture_probability = calibration.study_probability(max(one.score for one in judged))
    return StudyOutput(result, view.to_stored(labels), cam, cam_matrix, vertebra_cam_slices(view, judged))


def _assessable(
    levels: list[SegmentedLevel], gate: Literal[True] | str, context: RunContext
) -> dict[int, Literal[True] | str]:
    """For each level ``True``, or why its fractures are not judged; what holds for all of them is said as a warning.

    ``gate``: ``True``, or why the voxels do not allow it.
    """
    gate = gate if context.threshold("resolution_gate", 1.0) > 0 else True
    if gate is not True:
        if levels:
            context.warn("fracture-not-assessable", f"Fractures were not judged: {gate}.")
    elif not context.has(VERTEBRA_FRACTURE):
        gate = NOT_JUDGED
        context.warn("fracture-not-assessable", f"Fractures were not judged: {gate}.")
    return {level.number: gate if gate is not True or not level.cut else CUT for level in levels}


def _judge(
    view: CanonicalView,
    labels: np.ndarray,
    numbers: list[int],
    context: RunContext,
    calibration: Calibration | None,
) -> list[JudgedVertebra]:
    if not numbers:
        return []
    places = vertebra_places(view, labels, numbers, context)
    probability_of = calibration.level_map.probability if calibration else float
    return judge_vertebrae(view, labels, places, context, probability_of)


def _vertebra(
    level: SegmentedLevel, view: CanonicalView, assessable: Literal[True] | str, probability: float | None
) -> VertebraFinding:
    low, high = ras_hull(view, level.place)
    return VertebraFinding(
        id=f"vertebra-{level.name}",
        level=level.name,
        visible="partial" if level.cut else "full",
        assessed=True,
        confidence=level.confidence,
        center_ras=level.centre_ras.tolist(),
        box=Box(((low + high) / 2).tolist(), (high - low).tolist()),
        slice_range=stored_range(view, level.place),
        fracture_probability=probability,
        fracture_assessable=assessable,
        volume_mm3=level.volume_mm3,
    )


def _findings(
    judged: list[JudgedVertebra],
    levels: list[SegmentedLevel],
    labels: np.ndarray,
    view: CanonicalView,
    threshold: float,
) -> list[FractureFinding]:
    """One finding for each vertebra from the threshold on, the likeliest first; its box is where the CAM is bright."""
    places = {level.number: level for level in levels}
    findings = []
    for one in sorted(judged, key=lambda one: -one.probability):
        if one.probability < threshold:
            break
        level = places[one.number]
        low, high = ras_hull(view, hot_part(one, labels, level.place))
        box = Box(((low + high) / 2).tolist(), (high - low).tolist())
        findings.append(FractureFinding(f"fracture-{len(findings) + 1}", level.name, one.probability, box))
    return findings
