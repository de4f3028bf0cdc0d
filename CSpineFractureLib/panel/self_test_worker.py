"""A worker with a pretended profile, for the self-tests: the real protocol, without networks.

``pretend`` marks seven slabs of the volume as C1 to C7 and calls C2 fractured. Its thresholds steer it: ``steps``,
and ``delay``, seconds for each. With ``radiograph`` as second argument it reads pictures and calls each fractured.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import (
    LEVELS,
    Box,
    FractureFinding,
    RadiographFinding,
    SliceFinding,
    VertebraFinding,
)
from CSpineFractureLib.panel.radiograph_worker import WHITE
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.profiles import Profile, register_profile
from CSpineFractureLib.pipeline.worker import main
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.radiograph_image import read_radiograph

NAME = "pretend"


def run(volume: CTVolume, context: RunContext) -> StudyOutput:
    """Seven equal slabs from the top, C1 first."""
    steps = int(context.threshold("steps", 4))
    with context.stage(NAME, total=steps, message="Pretending"):
        for step in range(steps):
            context.check_cancelled()
            time.sleep(context.threshold("delay", 0.0))
            context.progress(NAME, step + 1, steps, "Pretending")
    result = context.new_result(volume, level_rule="pretended")
    slices, rows, columns = volume.shape_kji
    labels = np.zeros(volume.shape_kji, np.uint8)
    middle = np.zeros(volume.shape_kji, bool)
    middle[:, rows // 3 : 2 * rows // 3, columns // 3 : 2 * columns // 3] = True
    edges = np.linspace(slices, 0, len(LEVELS) + 1).astype(int)
    for label, (level, above, below) in enumerate(zip(LEVELS, edges, edges[1:], strict=False), start=1):
        labels[below:above][middle[below:above]] = label
        centre = volume.ras_of([(columns - 1) / 2, (rows - 1) / 2, (below + above - 1) / 2]).tolist()
        size = np.array([columns / 3, rows / 3, above - below]) * volume.spacing_mm
        chance = 0.9 if level == "C2" else 0.1
        box = Box(centre, size.tolist())
        found = [int(below), int(above) - 1]
        result.vertebrae.append(
            VertebraFinding(level, level, "full", True, 0.9, centre, box, found, chance, True, 5000.0)
        )
    c2 = result.vertebrae[1]
    result.fractures = [FractureFinding("fracture-1", "C2", 0.8, Box(c2.center_ras, [8.0, 8.0, 8.0]))]
    inside = range(c2.slice_range[0], c2.slice_range[1] + 1)
    result.slices = [SliceFinding(k, 0.9 if k in inside else 0.1) for k in range(slices)]
    result.study.fracture_probability = 0.9
    return StudyOutput(result, labels, np.where(labels == 2, 200, 0).astype(np.uint8), volume.ijk_to_ras)


class Radiographs:
    """Reads a picture as the real engine does; what it finds is pretended."""

    def run_study(self, path: str, _profile: str, **_options: Any) -> tuple[CTVolume, StudyOutput]:
        """The picture as one slice, a fracture, and the brighter half as saliency."""
        pixels = read_radiograph(path).pixels[None]
        picture = CTVolume(np.rint(pixels * WHITE).astype(np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
        result = RunContext().new_result(picture, level_rule="pretended")
        result.radiograph = RadiographFinding("fracture", {"normal": 0.2, "fracture": 0.7, "dislocation": 0.1})
        saliency = np.where(pixels > 0.5, 255, 0).astype(np.uint8)
        return picture, StudyOutput(result, np.zeros(pixels.shape, np.uint8), saliency, picture.ijk_to_ras)


if __name__ == "__main__":
    register_profile(Profile(NAME, "A profile for self-tests", run=run, explains=True))
    main("cpu", Radiographs() if "radiograph" in sys.argv else None)
