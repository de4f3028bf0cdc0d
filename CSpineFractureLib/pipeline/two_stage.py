"""The ``two-stage`` profile: document 000 (Yaseen et al., IEEE Access 2024) on a whole CT.

The document classifies each slice first (CNN, Grad-CAM) and then detects C1-C7 (YOLOv8). Here the detector runs first,
on axial slices of the body at 1 mm, because the column it finds tells the classifier where to look: slices are cropped
to 128 mm around the column, so a fracture is still visible at the document's 224x224 pixels. A second YOLOv8 draws
fracture boxes in the slices that the classifier suspects. Breaks in the plane of the slices are seen by a 3D network of
this project's own (see ``torn_bone``). Boxes are fused into levels (see ``decode``), levels into segments (see
``segment``), suspicious slices and torn bone into findings (see ``suspicion``). Networks trained as the document says,
on whole slices, take the places of the shipped ones (see ``slice_images``). Findings follow from the networks' scores;
where these are calibrated (see ``calibrated``), slices, levels and study are shown with probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import Box, VertebraFinding
from CSpineFractureLib.pipeline.assess import STRONG_LEAN_DEG, body_cut, column_lean, fracture_assessable
from CSpineFractureLib.pipeline.body_centre import body_centre
from CSpineFractureLib.pipeline.calibrated import calibration_of
from CSpineFractureLib.pipeline.cam_volume import cam_slices, cam_volume
from CSpineFractureLib.pipeline.classify import CLASSIFIER, FRACTURE, FRACTURES, classify_slices, explain_slices
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.decode import level_name
from CSpineFractureLib.pipeline.find_levels import (
    LEAST_CONFIDENCE,
    FoundColumn,
    beyond_levels_mm,
    explain_absence,
    find_levels,
)
from CSpineFractureLib.pipeline.fuse import FusedLevel
from CSpineFractureLib.pipeline.scan_check import scan_warnings
from CSpineFractureLib.pipeline.segment import C7, segment_levels
from CSpineFractureLib.pipeline.slice_rows import level_scores, ras_hull, slice_rows, stored_range
from CSpineFractureLib.pipeline.suspicion import (
    LEVEL_RULE,
    TORN_RULE,
    SliceSuspicion,
    attribute,
    fracture_findings,
    level_probability,
    study_probability,
    with_torn_bone,
)
from CSpineFractureLib.pipeline.torn_bone import VOLUME, TornBone, torn_bone
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.morphology import label_places

SCORING = (CLASSIFIER, FRACTURES, VOLUME)
"""The networks that the scores of levels come from, and so those that a calibration belongs to."""
LEAST_VOLUME_MM3 = 400.0
Place = tuple[slice, slice, slice]
LOCATED_WAY_MM = 6.0
"""From the middle between two discs to that of the mask: farther away, the mask is not that of the whole body."""


def run(volume: CTVolume, context: RunContext) -> StudyOutput:
    """Analyse one CT; see the module's text for the stages. Results are on the volume's own grid."""
    view = CanonicalView.of(volume)
    calibration = calibration_of(context, SCORING)
    rule = f"{LEVEL_RULE}{TORN_RULE if context.has(VOLUME) else ''}"
    result = context.new_result(volume, f"{rule}; {calibration.describe() if calibration else 'not calibrated'}")
    threshold = context.threshold("fracture", 0.5 if calibration else FRACTURE)
    if calibration:
        threshold = calibration.level_map.score(threshold)
    found = find_levels(view, context)
    segments, suspicions = _segmented_and_classified(view, found, context)
    levels, labels, places, centres = segments
    is_gated = context.threshold("resolution_gate", 1.0) > 0  # off: to measure what coarse voxels lead to
    gate = fracture_assessable(view.spacing_mm, volume.slice_thickness_mm) if is_gated else True
    is_whole = bool(levels) and levels[-1].index + 1 == C7
    bodies = [centre for level, centre in zip(levels, centres, strict=True) if level.index > 1 and gate is True]
    if suspicions:
        explain_slices(view, suspicions, context)
    notices = context.start(scan_warnings, view, np.array(centres), is_whole, np.array(bodies))
    shown = calibration.slices(suspicions) if calibration else suspicions
    cam = context.start(cam_volume, view, shown, labels)
    attributed = context.start(attribute, suspicions, labels, view)
    torn = torn_bone(view, labels, context) if gate is True else None
    attributed.result()
    explain_absence([level_name(level.index) for level in levels], context, beyond_levels_mm(levels, view))
    if suspicions and not levels:
        context.warn("slices-without-levels", "Slices were judged, but it is not known which vertebrae they show.")
    for level, centre in zip(levels, centres, strict=True):
        context.check_cancelled()
        result.vertebrae.append(_vertebra(level, labels, places[level.index + 1], view, centre, suspicions, gate, torn))
    context.check_cancelled()
    for notice in notices.result():
        context.warn(notice.code, notice.message)
    lean = column_lean(centres)
    if lean > STRONG_LEAN_DEG:
        context.warn(
            "leaning-column",
            f"The column leans {lean:.0f} degrees from the body axis: check the levels and their middles.",
        )
    if gate is True:
        result.fractures = fracture_findings(suspicions, result.vertebrae, labels, view, threshold, torn)
    elif levels:
        context.warn("fracture-not-assessable", f"Fractures were not judged: {gate}.")
    result.study.fracture_probability = study_probability(result.vertebrae)
    if calibration:
        calibration.show(result)
    fractures = {s.k: s.probability for s in shown} if gate is True else {}
    result.slices = slice_rows(view, fractures, level_scores(found.slices))
    context.check_cancelled()
    cam, cam_matrix = cam.result()
    context.check_cancelled()
    return StudyOutput(result, view.to_stored(labels), cam, cam_matrix, cam_slices(view, shown))


class Segments(NamedTuple):
    """The levels that are shown, from top to bottom, their labels (canonical, uint8 ``[k, j, i]``), the block of each
    label, and the middle of each level's body (RAS mm)."""

    levels: list[FusedLevel]
    labels: np.ndarray
    places: dict[int, Place]
    centres: list[list[float]]


def _segmented_and_classified(
    view: CanonicalView, found: FoundColumn, context: RunContext
) -> tuple[Segments, list[SliceSuspicion]]:
    """The segments and the classified slices.

    Slices are classified while segments are made, as if all levels were shown; where one is not, once more.
    """
    least = context.threshold("level_confidence", LEAST_CONFIDENCE)
    task = context.start(_segments, view, found, least, context.check_cancelled)
    suspicions = classify_slices(view, found.levels, context)
    with context.stage("segment", len(found.levels), "Segmenting C1-C7"):
        segments = task.result()
    if len(segments.levels) < len(found.levels):
        suspicions = classify_slices(view, segments.levels, context)
    return segments, suspicions


def _segments(
    view: CanonicalView, found: FoundColumn, least_confidence: float, check_cancelled: Callable[[], None]
) -> Segments:
    labels = segment_levels(view, found.levels, found.slices, found.column, check_cancelled)
    places = label_places(labels)
    levels = [
        level
        for level in found.levels
        if level.slab.confidence >= least_confidence and _has_bone(level, labels, places.get(level.index + 1), view)
    ]
    for number in set(places) - {level.index + 1 for level in levels}:
        labels[places[number]][labels[places[number]] == number] = 0
    is_located = found.column is not None
    centres = [_centre(level, labels, places[level.index + 1], view, is_located) for level in levels]
    return Segments(levels, labels, places, centres)


def _has_bone(level: FusedLevel, labels: np.ndarray, place: Place | None, view: CanonicalView) -> bool:
    """A level with less bone, in ``place``, is not shown."""
    if place is None:
        return False
    bone = float((labels[place] == level.index + 1).sum()) * float(np.prod(view.spacing_mm))
    return bone >= LEAST_VOLUME_MM3


def _centre(level: FusedLevel, labels: np.ndarray, place: Place, view: CanonicalView, is_located: bool) -> list[float]:
    """RAS mm of the middle of the body."""
    centre = body_centre(labels[place] == level.index + 1, place, view, level.center_ras, first=level.index == 0)
    if is_located:  # from side to side, the line of all bodies errs less than one mask, which may be in pieces
        centre[0] = level.center_ras[0]
        is_near = np.linalg.norm(centre - level.center_ras) <= LOCATED_WAY_MM
        centre = (centre + level.center_ras) / 2 if is_near else level.center_ras
    return centre.tolist()


def _vertebra(
    level: FusedLevel,
    labels: np.ndarray,
    place: Place,
    view: CanonicalView,
    centre: list[float],
    suspicions: list[SliceSuspicion],
    gate: Literal[True] | str,
    torn: TornBone | None,
) -> VertebraFinding:
    name = level_name(level.index)
    low, high = ras_hull(view, place)
    cut = level.slab.cut_above or level.slab.cut_below or body_cut(view, place)
    visible = "partial" if cut else "full"
    assessable = gate if gate is not True or visible == "full" else "the scan shows only part of this vertebra"
    probability = level_probability(level, suspicions) if assessable is True else None
    if torn is not None and probability is not None:
        probability = with_torn_bone(probability, torn.logit(level.index + 1), level.index == 0)
    return VertebraFinding(
        id=f"vertebra-{name}",
        level=name,
        visible=visible,
        assessed=True,
        confidence=level.slab.confidence,
        center_ras=centre,
        box=Box(((low + high) / 2).tolist(), (high - low).tolist()),
        slice_range=stored_range(view, place),
        fracture_probability=probability,
        fracture_assessable=assessable,
        volume_mm3=float((labels[place] == level.index + 1).sum()) * float(np.prod(view.spacing_mm)),
    )
