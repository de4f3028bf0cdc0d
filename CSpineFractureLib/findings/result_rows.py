"""The findings as rows: one per level C1-C7, then one per suspected fracture.

The same rows make ``findings.csv``, the table on the console and the table of the scene, so that all say the same.
Nothing is left blank, for a blank reads as normal: what was not computed says so, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from CSpineFractureLib.findings.study_result import LEVELS, FractureFinding, StudyResult, VertebraFinding

NOT_ASSESSED = "not assessed"
NOT_APPLICABLE = "not applicable"
SUSPECTED = "fracture suspected"
NOT_SUSPECTED = "no fracture suspected"
#: Key in ``StudyResult.thresholds``: from this level probability on, a fracture of the level is suspected.
LEVEL_THRESHOLD = "fracture"
DEFAULT_LEVEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class FindingRow:
    """One row. ``finding`` is the vertebra or fracture it tells of, ``None`` for a level that was not found.

    ``assessment`` is "fracture suspected", "no fracture suspected" or "not assessed: <reason>"; for a fracture row it
    is its status. ``probability`` is the fracture probability (level) or the confidence (fracture), 0..1.
    """

    kind: Literal["level", "suspected fracture"]
    level: str
    visible: str
    assessment: str
    probability: float | None
    finding: VertebraFinding | FractureFinding | None

    @property
    def probability_text(self) -> str:
        """``probability`` with three decimals, or "not assessed"."""
        return NOT_ASSESSED if self.probability is None else f"{self.probability:.3f}"


def result_rows(result: StudyResult) -> list[FindingRow]:
    """Seven level rows in anatomical order, then the fracture rows from the highest confidence down."""
    vertebrae = {vertebra.level: vertebra for vertebra in result.vertebrae}
    rows = [_level_row(result, level, vertebrae.get(level)) for level in LEVELS]
    for fracture in sorted(result.fractures, key=lambda finding: -finding.confidence):
        rows.append(
            FindingRow(
                kind="suspected fracture",
                level=fracture.level,
                visible=NOT_APPLICABLE,
                assessment=fracture.status,
                probability=fracture.confidence,
                finding=fracture,
            )
        )
    return rows


def _level_row(result: StudyResult, level: str, vertebra: VertebraFinding | None) -> FindingRow:
    if vertebra is None or vertebra.visible == "no":
        reason = f"{NOT_ASSESSED}: {level} was not found in the scan"
        if vertebra is not None and vertebra.fracture_assessable is not True:
            reason = f"{NOT_ASSESSED}: {vertebra.fracture_assessable}"
        return FindingRow("level", level, "no", reason, None, vertebra)
    return FindingRow(
        "level", level, vertebra.visible, _assessment(result, vertebra), vertebra.fracture_probability, vertebra
    )


def _assessment(result: StudyResult, vertebra: VertebraFinding) -> str:
    """A fracture may be suspected in part of a vertebra, but only a whole, assessed one can be free of suspicion."""
    probability = vertebra.fracture_probability
    boxed = any(box.level == vertebra.level and box.status != "rejected" for box in result.fractures)
    likely = probability is not None and probability >= result.thresholds.get(LEVEL_THRESHOLD, DEFAULT_LEVEL_THRESHOLD)
    if boxed or likely:
        return SUSPECTED
    if vertebra.fracture_assessable is not True:
        return f"{NOT_ASSESSED}: {vertebra.fracture_assessable}"
    if vertebra.visible != "full":
        return f"{NOT_ASSESSED}: only part of {vertebra.level} is in the scan"
    if not vertebra.assessed:
        return f"{NOT_ASSESSED}: {vertebra.level} was found with too little confidence"
    if probability is None:
        return f"{NOT_ASSESSED}: no fracture probability was computed"
    return NOT_SUSPECTED
