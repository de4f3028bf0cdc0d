"""What a run gives beside its findings: the voxel arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from CSpineFractureLib.findings.study_result import StudyResult

CAM_SHOWN = 0.16
"""Of a certain fracture: where Grad-CAM, which is scaled by probability, is weaker, it is not shown."""


@dataclass(frozen=True)
class CamSlice:
    """A slice that the classifier suspects, as a picture.

    ``k`` is the stored slice, ``probability`` its fracture probability; ``picture`` is what the network saw, ``cam``
    its Grad-CAM scaled by the probability, both float32 ``[h, w]`` 0..1 with the patient's right at the left and the
    front at the top.
    """

    k: int
    probability: float
    picture: np.ndarray
    cam: np.ndarray


@dataclass
class StudyOutput:
    """A result and its arrays, ready for the scene.

    ``labels``: uint8 ``[k, j, i]`` on the grid of ``result.volume``; 0 background, 1-7 = C1-C7.
    ``cam``: uint8 ``[k, j, i]``, Grad-CAM scaled by the slice's fracture probability (255 = 1.0), cropped to the
    column; ``cam_ijk_to_ras`` is its own 4x4 matrix to RAS mm. Both are ``None`` where no CAM was made.
    ``cam_slices``: the most suspicious slices as pictures, the most suspicious first; a worker does not hand them over.
    """

    result: StudyResult
    labels: np.ndarray
    cam: np.ndarray | None = None
    cam_ijk_to_ras: np.ndarray | None = None
    cam_slices: list[CamSlice] = field(default_factory=list)
