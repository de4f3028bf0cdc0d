"""A small synthetic study: seven ellipsoids of bone, boxes around them, one suspected fracture and its Grad-CAM."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import (
    LEVELS,
    Box,
    FractureFinding,
    StudyFinding,
    StudyResult,
    VertebraFinding,
    VolumeInfo,
)
from CSpineFractureLib.volume.ct_volume import CTVolume

SHAPE = (70, 44, 40)
SPACING = (1.5, 1.5, 2.0)


def rotation(degrees: float, axis: int) -> np.ndarray:
    """A 3x3 rotation about one of the axes."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
    return matrix


def grid(directions: np.ndarray) -> np.ndarray:
    """``ijk_to_ras`` with these directions (columns), centred off the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = directions * SPACING
    middle = (np.array(SHAPE[::-1]) - 1) / 2
    matrix[:3, 3] = np.array([12.25, -31.5, 140.125]) - matrix[:3, :3] @ middle
    return matrix


GRIDS = {
    "axial": grid(np.diag([-1.0, -1.0, 1.0])),
    "flipped": grid(np.diag([1.0, -1.0, -1.0])),
    "mirrored": grid(np.diag([1.0, -1.0, 1.0])),
    "permuted": grid(np.array([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]])),
    "oblique": grid(rotation(17, 0) @ rotation(-11, 2) @ np.diag([-1.0, -1.0, 1.0])),
}


def make_study(
    ijk_to_ras: np.ndarray, fractured: bool = True, cam: bool = True, levels: tuple[str, ...] = LEVELS
) -> tuple[CTVolume, StudyOutput]:
    """A CT and the result of a run on it. C7 is not judged; C4 holds the fracture."""
    k, j, i = np.indices(SHAPE)
    hu = np.full(SHAPE, 40, np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    volume_of = CTVolume(hu, ijk_to_ras)
    vertebrae = []
    for number, level in enumerate(LEVELS, start=1):
        if level not in levels:
            continue
        middle = np.array([19.5, 21.5, SHAPE[0] - 9.0 * number])
        radii = np.array([12.0, 8.0, 3.6])
        inside = ((np.stack([i, j, k], -1) - middle) / radii) ** 2
        labels[inside.sum(-1) <= 1] = number
        edges = ijk_to_ras[:3, :3] / SPACING
        probability = None if level == "C7" else (0.83 if level == "C4" else 0.1)
        vertebrae.append(
            VertebraFinding(
                id=f"v{number}",
                level=level,
                visible="full",
                assessed=level != "C7",
                confidence=0.9,
                center_ras=volume_of.ras_of(middle).tolist(),
                box=Box(volume_of.ras_of(middle).tolist(), (2 * radii * SPACING).tolist(), edges.T.tolist()),
                slice_range=[int(middle[2] - 3), int(middle[2] + 3)],
                fracture_probability=probability,
                fracture_assessable=True if level != "C7" else "C7 is cut by the edge of the scan",
                volume_mm3=float(inside.size),
            )
        )
    hu[labels > 0] = 700
    fractures = []
    if fractured:
        place = volume_of.ras_of(np.array([14.0, 16.0, SHAPE[0] - 36.0])).tolist()
        axes = (rotation(20, 0) @ rotation(30, 2)).tolist()
        fractures = [FractureFinding("f1", "C4", 0.834, Box(place, [14.2, 9.1, 7.7], axes))]
    result = StudyResult(
        id="study-1",
        created="2026-01-01T00:00:00Z",
        software_version="0.0.0",
        status="complete",
        volume=VolumeInfo(list(SHAPE), list(volume_of.spacing_mm), ijk_to_ras.tolist()),
        profile="two-stage",
        device="cpu",
        study=StudyFinding(0.83, "rule"),
        vertebrae=vertebrae,
        fractures=fractures,
    )
    output = StudyOutput(result, labels)
    if cam:
        output.cam, output.cam_ijk_to_ras = _cam(ijk_to_ras)
    return CTVolume(hu, ijk_to_ras), output


def _cam(ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A blob within C4, cropped to its own corner of the grid and sampled half as densely within the slice."""
    k, j, i = np.indices((16, 12, 10))
    distance = ((i - 4) / 3) ** 2 + ((j - 4) / 3) ** 2 + ((k - 8) / 4) ** 2
    matrix = np.array(ijk_to_ras)
    matrix[:3, 3] += matrix[:3, :3] @ [8.0, 8.0, SHAPE[0] - 44.0]
    matrix[:3, :2] *= 2
    return (212 * np.exp(-distance)).astype(np.uint8), matrix
