"""``findings.csv``: the findings as one flat table, units in the column names, no blank cell."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.findings.result_rows import NOT_APPLICABLE, NOT_ASSESSED, FindingRow, result_rows
from CSpineFractureLib.findings.study_result import StudyResult, VertebraFinding

COLUMNS = (
    "kind",
    "id",
    "level",
    "visible",
    "assessment",
    "fracture_probability_0_to_1",
    "detection_confidence_0_to_1",
    "center_r_mm",
    "center_a_mm",
    "center_s_mm",
    "box_low_r_mm",
    "box_low_a_mm",
    "box_low_s_mm",
    "box_high_r_mm",
    "box_high_a_mm",
    "box_high_s_mm",
    "first_slice_index",
    "last_slice_index",
    "volume_mm3",
    "comment",
)


def write_findings_csv(result: StudyResult, path: str | Path) -> None:
    """Write one row per level C1..C7 and one per suspected fracture (UTF-8, comma, header line; whole or absent).

    Positions are RAS millimetres; slice indices are ``k`` on the grid of the result, from 0, both inclusive. Cells
    without a value say "not assessed" or "not applicable". Raises ``UserError`` when the file cannot be written.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for row in result_rows(result):
        writer.writerow(_cells(row))
    write_text_atomically(stream.getvalue(), path)


def _cells(row: FindingRow) -> dict[str, str]:
    cells = dict.fromkeys(COLUMNS, NOT_APPLICABLE)
    cells.update(kind=row.kind, level=row.level, visible=row.visible, assessment=row.assessment)
    finding = row.finding
    if row.kind == "level":
        cells.update(dict.fromkeys(COLUMNS[5:19], NOT_ASSESSED), fracture_probability_0_to_1=row.probability_text)
    if finding is None:
        return cells
    cells.update(id=finding.id, detection_confidence_0_to_1=f"{finding.confidence:.3f}")
    if row.visible == "no":
        return cells
    center = finding.center_ras if isinstance(finding, VertebraFinding) else finding.box.center_ras
    values = [*center, *finding.box_ras[0], *finding.box_ras[1]]
    cells.update({name: f"{value:.2f}" for name, value in zip(COLUMNS[7:16], values, strict=True)})
    if isinstance(finding, VertebraFinding):
        first, last = finding.slice_range
        cells.update(first_slice_index=str(first), last_slice_index=str(last), volume_mm3=_volume(finding))
    elif finding.comment:
        cells["comment"] = _harmless(finding.comment)
    return cells


def _volume(vertebra: VertebraFinding) -> str:
    """Profiles that give boxes alone know no volume."""
    return f"{vertebra.volume_mm3:.0f}" if vertebra.volume_mm3 > 0 else NOT_ASSESSED


def _harmless(text: str) -> str:
    """Free text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{text}" if text[0] in "=+-@\t\r" else text
