"""Corrections of single findings. Every function gives a new result and leaves the one it was given alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import (
    LEVELS,
    WITHOUT_BOXES,
    Box,
    FractureFinding,
    StudyResult,
    VertebraFinding,
)
from CSpineFractureLib.scene.label_delta import LabelBlock

LEAST_MM = 0.5
"""Boxes are never thinner than this, so that they can still be seen and grasped."""
BY_HAND = "it was added by hand, so no network judged it"

Finding = VertebraFinding | FractureFinding


def finding_of(result: StudyResult, finding_id: str) -> Finding:
    """The vertebra or fracture of an ID. Raises ``UserError`` where there is none."""
    for finding in (*result.vertebrae, *result.fractures):
        if finding.id == finding_id:
            return finding
    message = f'The study has no finding "{finding_id}": choose one of its table.'
    raise UserError(message)


def with_finding(result: StudyResult, finding: Finding) -> StudyResult:
    """The finding put in place of the one of its ID, or added where there is none; vertebrae stand in order."""
    kind = "vertebrae" if isinstance(finding, VertebraFinding) else "fractures"
    findings = getattr(result, kind)
    if any(one.id == finding.id for one in findings):
        findings = [finding if one.id == finding.id else one for one in findings]
    else:
        findings = [*findings, finding]
    if kind == "vertebrae":
        findings = sorted(findings, key=lambda one: LEVELS.index(one.level))
    return replace(result, **{kind: findings})


def without_fracture(result: StudyResult, finding_id: str) -> StudyResult:
    """The result without one of its suspected fractures."""
    return replace(result, fractures=[one for one in result.fractures if one.id != finding_id])


def with_box(result: StudyResult, finding_id: str, box: Box) -> StudyResult:
    """The finding in another box, no side of it under 0.5 mm.

    A vertebra's middle stays where it is while the new box holds it, and moves along otherwise. Its slices follow the
    box where there is no segment (volume 0).
    """
    box = sound_box(box)
    finding = finding_of(result, finding_id)
    if isinstance(finding, FractureFinding):
        comment = "" if finding.comment in WITHOUT_BOXES else finding.comment  # a reader has placed it now
        return with_finding(result, replace(finding, box=box, comment=comment))
    offset = np.subtract(finding.center_ras, box.center_ras) @ np.asarray(box.axes).T
    inside = (np.abs(offset) <= np.asarray(box.size_mm) / 2).all()
    shift = np.zeros(3) if inside else np.subtract(box.center_ras, finding.box.center_ras)
    center = np.add(finding.center_ras, shift).tolist()
    slices = finding.slice_range if finding.volume_mm3 > 0 else slices_of_box(result, box)
    return with_finding(result, replace(finding, box=box, center_ras=center, slice_range=slices))


def sound_box(box: Box) -> Box:
    """The box with every side at least 0.5 mm. Raises ``UserError`` for numbers that are not finite."""
    numbers = [*box.center_ras, *box.size_mm, *np.ravel(box.axes)]
    if not np.isfinite(numbers).all() or len(numbers) != 15:
        message = "A box needs a finite place and size: give three numbers in millimetres for each."
        raise UserError(message)
    size = [max(LEAST_MM, abs(float(side))) for side in box.size_mm]
    return Box([float(value) for value in box.center_ras], size, np.asarray(box.axes, float).tolist())


def slices_of_box(result: StudyResult, box: Box) -> list[int]:
    """First and last slice k whose middle plane the box meets, within the grid."""
    k = (np.linalg.inv(result.volume.ijk_to_ras) @ np.c_[box.corners_ras(), np.ones(8)].T)[2]
    last = result.volume.shape_kji[0] - 1
    first = int(np.clip(np.ceil(k.min() - 1e-6), 0, last))
    return [first, int(np.clip(np.floor(k.max() + 1e-6), first, last))]


def new_vertebra(result: StudyResult, finding_id: str, level: str, box: Box) -> VertebraFinding:
    """A vertebra that a person marked: found for sure, its fracture not judged, without a segment so far."""
    box = sound_box(box)
    return VertebraFinding(
        id=finding_id,
        level=level,
        visible="full",
        assessed=False,
        confidence=1.0,
        center_ras=list(box.center_ras),
        box=box,
        slice_range=slices_of_box(result, box),
        fracture_probability=None,
        fracture_assessable=BY_HAND,
        volume_mm3=0.0,
    )


def measured(result: StudyResult, block: LabelBlock, changed: Iterable[str], new_ids: Iterable[str]) -> StudyResult:
    """The result once the segments of the ``changed`` levels are as in ``block``.

    Volume and slices follow the voxels; boxes stay, for they are corrected by themselves. A level that had no vertebra
    gets one, with the hull of its voxels as its box and the next of ``new_ids``.
    """
    matrix = np.asarray(result.volume.ijk_to_ras)
    voxel_mm3 = abs(float(np.linalg.det(matrix[:3, :3])))
    ids = iter(new_ids)
    for level in changed:
        kji = np.argwhere(block.array == LEVELS.index(level) + 1) + block.first
        vertebra = next((one for one in result.vertebrae if one.level == level), None)
        if vertebra is None:
            if not len(kji):
                continue
            vertebra = new_vertebra(result, next(ids), level, _hull(kji, matrix))
        slices = [int(kji[:, 0].min()), int(kji[:, 0].max())] if len(kji) else vertebra.slice_range
        result = with_finding(result, replace(vertebra, slice_range=slices, volume_mm3=len(kji) * voxel_mm3))
    return result


def _hull(kji: np.ndarray, matrix: np.ndarray) -> Box:
    """The box along the grid's axes around voxels ``(n, 3)``."""
    low, high = kji.min(axis=0)[::-1] - 0.5, kji.max(axis=0)[::-1] + 0.5
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    center = matrix[:3, :3] @ ((low + high) / 2) + matrix[:3, 3]
    return Box(center.tolist(), ((high - low) * spacing).tolist(), (matrix[:3, :3] / spacing).T.tolist())
