"""A small result that uses every part of the schema."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.findings.study_result import (
    Box,
    FractureFinding,
    ModelInfo,
    SliceFinding,
    StudyFinding,
    StudyResult,
    VertebraFinding,
    VolumeInfo,
)
from CSpineFractureLib.notice import Notice


def make_vertebra(level: str, **changes) -> VertebraFinding:
    values = {
        "id": f"vertebra-{level}",
        "level": level,
        "visible": "full",
        "assessed": True,
        "confidence": 0.9,
        "center_ras": [1.0, 20.0, -30.0],
        "box": Box([1.0, 10.0, -30.0], [50.0, 60.0, 18.0]),
        "slice_range": [2, 8],
        "fracture_probability": 0.1,
        "fracture_assessable": True,
        "volume_mm3": 9000.0,
    }
    return VertebraFinding(**{**values, **changes})


def make_result(**changes) -> StudyResult:
    angle = np.radians(10)
    axes = [[1.0, 0.0, 0.0], [0.0, np.cos(angle), np.sin(angle)], [0.0, -np.sin(angle), np.cos(angle)]]
    values = {
        "id": "0b4f7a52-9d1c-4a8e-9a35-000000000001",
        "created": "2026-11-21T10:00:00+00:00",
        "software_version": "0.1.0",
        "status": "complete",
        "volume": VolumeInfo(
            [12, 64, 64], [0.5, 0.5, 2.0], np.diag([-0.5, -0.5, 2.0, 1.0]).tolist(), series_uid="1.2.3"
        ),
        "profile": "two-stage",
        "device": "cpu",
        "study": StudyFinding(0.8, "noisy-or of the levels"),
        "warnings": [Notice("thick-slices", "Slices are 2 mm thick.")],
        "thresholds": {"fracture": 0.5},
        "models": [ModelInfo("slice-classifier", "slice-cnn", "1", "0" * 64, "Apache-2.0", "synthetic CT")],
        "slices": [SliceFinding(3, 0.4, {"C2": 0.9}), SliceFinding(4, None)],
        "vertebrae": [
            make_vertebra("C1"),
            make_vertebra("C2", box=Box([0.0, 10.0, -40.0], [50.0, 60.0, 20.0], axes)),
            make_vertebra("C3", fracture_probability=0.8),
            make_vertebra("C4", visible="partial"),
            make_vertebra("C5", fracture_assessable="motion artefact", fracture_probability=None),
        ],
        "fractures": [
            FractureFinding("fracture-1", "C3", 0.77, Box([3.0, 5.0, -55.0], [10.0, 8.0, 6.0]), comment="=1+1")
        ],
        "timings_s": {"read": 0.5},
    }
    return StudyResult(**{**values, **changes})
