"""A small DICOM series, and a result with labels that fits it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "volume"), str(TESTING / "findings")]

from dicom_maker import axial_matrix, make_ct_phantom, make_dicom_series, tilted_acquisition  # noqa: E402
from sample_result import make_result, make_vertebra  # noqa: E402

from CSpineFractureLib.findings.study_result import (  # noqa: E402
    Box,
    FractureFinding,
    StudyResult,
    VolumeInfo,
)
from CSpineFractureLib.volume.ct_volume import CTVolume  # noqa: E402
from CSpineFractureLib.volume.read import read_volume  # noqa: E402

__all__ = ["axial_matrix", "make_ct_phantom", "make_dicom_series", "make_vertebra", "tilted_acquisition"]


@dataclass
class Study:
    """A DICOM folder, the volume read from it, and findings on its grid."""

    folder: Path
    volume: CTVolume
    result: StudyResult
    labels: np.ndarray


def info_of(volume: CTVolume) -> VolumeInfo:
    uids = volume.sop_instance_uids
    return VolumeInfo(
        list(volume.shape_kji),
        list(volume.spacing_mm),
        volume.ijk_to_ras.tolist(),
        volume.grid,
        volume.series_uid,
        volume.frame_of_reference_uid,
        None if uids is None else list(uids),
    )


def make_study(folder: Path, matrix: np.ndarray | None = None, *, tilt: float = 0.0, **series) -> Study:
    """Write a series (see ``make_dicom_series``), read it, and lay blocks C1, C2, C3, C5 and C7 and boxes into it."""
    hu = make_ct_phantom((24, 40, 32))
    matrix = axial_matrix() if matrix is None else matrix
    if tilt:
        hu, matrix = tilted_acquisition(hu, matrix, tilt)
    make_dicom_series(folder, hu, matrix, **series)
    return study_of(folder, read_volume(folder))


def study_of(folder: Path, volume: CTVolume) -> Study:
    """Findings for a volume: blocks unlike their mirror images, overlapping in ``k``, and a turned fracture box."""
    labels = np.zeros(volume.shape_kji, np.uint8)
    for place, label in enumerate((7, 5, 3, 2, 1)):
        low = 1 + 3 * place
        labels[low : low + 5, 6 + label : 30, 4 : 18 + label] = label
    angle = np.radians(20)
    axes = [[np.cos(angle), np.sin(angle), 0.0], [-np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]]
    middle = volume.ras_of([n / 2 for n in volume.shape_kji[::-1]]).tolist()
    vertebrae = [
        make_vertebra("C1", fracture_probability=0.123456),
        make_vertebra("C2", box=Box(middle, [50.125, 40.25, 18.0], axes), confidence=0.654321),
        make_vertebra("C3", visible="partial", assessed=False, fracture_probability=0.999999, volume_mm3=1234.5),
        make_vertebra("C4", visible="no", confidence=0.0, fracture_probability=None, volume_mm3=0.0),
        make_vertebra("C5", fracture_assessable="Bewegungsunschärfe", fracture_probability=None),
        make_vertebra("C6", volume_mm3=0.0),
    ]
    fractures = [
        FractureFinding("fracture-1", "C3", 0.77, Box(middle, [10.0, 8.0, 6.0], axes), comment='<b>=1+1</b> "ä"'),
        FractureFinding("fracture-2", "C5", 0.31, Box(middle, [4.0, 5.0, 6.0]), status="rejected"),
        FractureFinding("fracture-3", "C6", 1.0, Box(middle, [4.0, 5.0, 6.0]), status="added"),
    ]
    return Study(folder, volume, make_result(volume=info_of(volume), vertebrae=vertebrae, fractures=fractures), labels)


def physical(study: Study, labels: np.ndarray) -> set[tuple]:
    """Labelled points in the patient, RAS mm: the same for every storage of the same patient."""
    k, j, i = np.nonzero(labels)
    points = np.rint(10 * study.volume.ras_of(np.stack([i, j, k], axis=1))).astype(int)
    return set(zip(*points.T.tolist(), labels[k, j, i].tolist(), strict=True))


def lean(study: Study) -> Study:
    """The study with one vertebra and one fracture, which takes less time to write."""
    del study.result.vertebrae[1:], study.result.fractures[1:]
    return study
