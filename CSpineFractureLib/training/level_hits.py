"""How well levels are found on marked CT: hit, confused and invented levels, as one report.

A marked level is *hit* when that level's ``center_ras`` lies within 10 mm of the mark's middle in the A-S plane and
within 15 mm in R, and its ``box_ras`` holds that middle (2 mm slack, R aside) and is at most 60 mm tall; *confused*
when another level's centre lies there instead; a level is *invented* when its centre lies outside the scanned tissue,
or between two marked levels and farther than 15 mm from every mark.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, StudyResult, VertebraFinding
from CSpineFractureLib.pipeline.assess import fracture_assessable
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

NO_GATE = {"resolution_gate": 0.0}
"""Thresholds of a run that looks for fractures at any voxel size."""


@dataclass
class LevelMarks:
    """Marks of one volume: ``middles`` (level to ``[r, a, s]`` mm), the file they belong to, and their confidence."""

    file: str
    middles: dict[str, np.ndarray]
    confidence: str = ""


@dataclass
class LevelReport:
    """Counts and signed errors in S (mm) of one volume; ``assessable``: small enough voxels."""

    file: str
    marked: int = 0
    hit: list[str] = field(default_factory=list)
    confused: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    alarms: int = 0
    assessable: bool = True
    error_s_mm: list[float] = field(default_factory=list)


def read_marks(path: Path) -> LevelMarks:
    """One file of marks: per level ``sup`` and ``inf`` ``[A, S]`` in the plane ``R``; raises UserError if unusable."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        middles = {
            level: np.array([document["R"], *np.mean([document[level]["sup"], document[level]["inf"]], axis=0)], float)
            for level in LEVELS
            if level in document
        }
        return LevelMarks(document["file"], middles, document.get("confidence", ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path}: is not a file of level marks ({error}); see the data's README for the format."
        raise UserError(message) from error


def read_all_marks(data: Path, only: list[str] | None = None) -> list[LevelMarks]:
    """The marks in ``data/levels``, of files whose name holds one of the words ``only``.

    Raises ``UserError`` where there are none.
    """
    marks = [read_marks(path) for path in sorted((data / "levels").glob("*.json"))]
    marks = [m for m in marks if not only or any(word in m.file for word in only)]
    if not marks:
        message = f"{data}: holds no marks (levels/*.json) that fit; name the folder that holds 'levels'."
        raise UserError(message)
    return marks


def gate_of(volume: CTVolume) -> Literal[True] | str:
    """``True``, or why the voxels are too coarse to judge fractures."""
    return fracture_assessable(CanonicalView.of(volume).spacing_mm, volume.slice_thickness_mm)


def check_no_gate(result: StudyResult, volume: CTVolume) -> None:
    """Raise ``UserError`` where a run that was to look at any voxel size did not."""
    gate = gate_of(volume)
    if gate is not True and any(v.fracture_assessable == gate for v in result.vertebrae):
        message = f"Profile {result.profile} cannot switch its resolution gate off; leave out --no-gate."
        raise UserError(message)


def compare(marks: LevelMarks, result: StudyResult, volume: CTVolume) -> LevelReport:
    """Score one result against its marks."""
    report = LevelReport(
        marks.file, len(marks.middles), alarms=len(result.fractures), assessable=gate_of(volume) is True
    )
    found = {v.level: v for v in result.vertebrae if v.assessed}
    for level, middle in marks.middles.items():
        vertebra = found.get(level)
        if vertebra is not None and _near(vertebra.center_ras, middle) and _holds(vertebra.box_ras, middle):
            report.hit.append(level)
            report.error_s_mm.append(float(vertebra.center_ras[2] - middle[2]))
        elif others_at(result, level, middle):
            report.confused.append(level)
        else:
            report.missed.append(level)
    heights = [m[2] for m in marks.middles.values()]
    for level, vertebra in found.items():
        centre = np.asarray(vertebra.center_ras)
        far = all(np.linalg.norm(centre[1:] - m[1:]) > 15 for m in marks.middles.values())
        if _outside(centre, volume) or (min(heights) < centre[2] < max(heights) and far):
            report.invented.append(level)
    return report


def others_at(result: StudyResult, level: str, middle: np.ndarray) -> list[VertebraFinding]:
    """Levels of another name whose centre lies where ``level`` is marked (RAS mm)."""
    return [v for v in result.vertebrae if v.assessed and v.level != level and _near(v.center_ras, middle)]


def summary(reports: list[LevelReport]) -> dict:
    """Totals over volumes: rates (0..1), median absolute and signed S error (mm), invented levels, alarms.

    ``assessable_share`` is that of volumes whose voxels are small enough to show fractures.
    """
    marked = sum(r.marked for r in reports)
    errors = np.array([e for r in reports for e in r.error_s_mm])
    return {
        "volumes": len(reports),
        "marked": marked,
        "hit_rate": sum(len(r.hit) for r in reports) / max(marked, 1),
        "confusion_rate": sum(len(r.confused) for r in reports) / max(marked, 1),
        "invented": sum(len(r.invented) for r in reports),
        "alarms_per_volume": sum(r.alarms for r in reports) / max(len(reports), 1),
        "assessable_share": sum(r.assessable for r in reports) / max(len(reports), 1),
        "median_abs_error_s_mm": float(np.median(np.abs(errors))) if len(errors) else None,
        "median_error_s_mm": float(np.median(errors)) if len(errors) else None,
        "per_volume": [asdict(r) for r in reports],
    }


def _near(centre: list[float], middle: np.ndarray) -> bool:
    d = np.asarray(centre) - middle
    return bool(np.hypot(d[1], d[2]) <= 10 and abs(d[0]) <= 15)


def _holds(box: list[list[float]], middle: np.ndarray) -> bool:
    low, high = np.asarray(box)
    inside = (low[1:] - 2 <= middle[1:]).all() and (middle[1:] <= high[1:] + 2).all()
    return bool(inside and high[2] - low[2] <= 60)


def _outside(centre: np.ndarray, volume: CTVolume) -> bool:
    i, j, k = np.rint(volume.ijk_of(centre)).astype(int)
    shape = volume.shape_kji
    if not (0 <= k < shape[0] and 0 <= j < shape[1] and 0 <= i < shape[2]):
        return True
    near = volume.hu[max(0, k - 1) : k + 2, max(0, j - 1) : j + 2, max(0, i - 1) : i + 2]
    return bool((near <= -900).all())
