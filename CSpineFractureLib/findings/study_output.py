"""What a run gives beside its findings: the voxel arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.findings.study_result import StudyResult


@dataclass
class StudyOutput:
    """A result and its arrays, ready for the scene.

    ``labels``: uint8 ``[k, j, i]`` on the grid of ``result.volume``; 0 background, 1-7 = C1-C7.
    ``cam``: uint8 ``[k, j, i]``, Grad-CAM scaled by the slice's fracture probability (255 = 1.0), cropped to the
    column; ``cam_ijk_to_ras`` is its own 4x4 matrix to RAS mm. Both are ``None`` where no CAM was made.
    """

    result: StudyResult
    labels: np.ndarray
    cam: np.ndarray | None = None
    cam_ijk_to_ras: np.ndarray | None = None
