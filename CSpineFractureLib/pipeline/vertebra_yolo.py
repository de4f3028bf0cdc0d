"""The ``vertebra-yolo`` profile: document 003 (Yaseen et al.) on a whole CT.

YOLOv5 (ultralytics' YOLOv5u) boxes C1-C7 in axial slices; the boxes of neighbouring slices are fused into one box per
level (see ``find_levels``). The profile gives boxes alone: no segments, and no word on fractures.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import Box, VertebraFinding
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.decode import level_name
from CSpineFractureLib.pipeline.find_levels import LEAST_CONFIDENCE, beyond_levels_mm, explain_absence, find_levels
from CSpineFractureLib.pipeline.fuse import FusedLevel
from CSpineFractureLib.pipeline.slice_rows import block_of, level_scores, slice_rows, stored_range
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

LEVEL_RULE = "none: this profile does not look for fractures"
NOT_JUDGED = "this profile does not look for fractures"


def run(volume: CTVolume, context: RunContext) -> StudyOutput:
    """Vertebra boxes of one CT; the labels are empty."""
    view = CanonicalView.of(volume)
    result = context.new_result(volume, LEVEL_RULE)
    found = find_levels(view, context)
    levels, slices = found.levels, found.slices
    least = context.threshold("level_confidence", LEAST_CONFIDENCE)
    levels = [level for level in levels if level.slab.confidence >= least]
    explain_absence([level_name(level.index) for level in levels], context, beyond_levels_mm(levels, view))
    result.slices = slice_rows(view, {}, level_scores(slices))
    result.vertebrae = [_vertebra(level, view) for level in levels]
    return StudyOutput(result, np.zeros(volume.shape_kji, np.uint8))


def _vertebra(level: FusedLevel, view: CanonicalView) -> VertebraFinding:
    """The hull of the level's boxes; the middle of its body as the boxes give it (see ``fuse``)."""
    name, low, high = level_name(level.index), level.low_ras, level.high_ras
    place = block_of(view, low, high)
    at_an_end = place[0].start == 0 or place[0].stop == len(view.hu)
    cut = level.slab.cut_above or level.slab.cut_below or at_an_end
    return VertebraFinding(
        id=f"vertebra-{name}",
        level=name,
        visible="partial" if cut else "full",
        assessed=True,
        confidence=level.slab.confidence,
        center_ras=level.center_ras.tolist(),
        box=Box(((low + high) / 2).tolist(), (high - low).tolist()),
        slice_range=stored_range(view, place),
        fracture_probability=None,
        fracture_assessable=NOT_JUDGED,
        volume_mm3=0.0,
    )
