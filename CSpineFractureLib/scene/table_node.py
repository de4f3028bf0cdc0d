"""The findings as a table node."""

from __future__ import annotations

import slicer
import vtk

from CSpineFractureLib.findings.result_rows import NOT_APPLICABLE, NOT_ASSESSED, FindingRow, result_rows
from CSpineFractureLib.findings.study_result import StudyResult, VertebraFinding

COLUMNS = (
    "finding",
    "level",
    "assessment",
    "fracture probability",
    "detection confidence",
    "visible",
    "slices",
    "volume (ml)",
    "id",
)


def add_table_node(scene: slicer.vtkMRMLScene, result: StudyResult, name: str = "Findings") -> slicer.vtkMRMLTableNode:
    """Add a locked table: one row per level C1-C7, then one per suspected fracture, as in ``findings.csv``."""
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    fill_table(node, result)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def fill_table(node: slicer.vtkMRMLTableNode, result: StudyResult) -> None:
    """Write the rows of a result into a table in place of those that are there."""
    rows = [_cells(row) for row in result_rows(result)]
    node.RemoveAllColumns()
    for index, title in enumerate(COLUMNS):
        column = vtk.vtkStringArray()
        column.SetName(title)
        for cells in rows:
            column.InsertNextValue(cells[index])
        node.AddColumn(column)


def _cells(row: FindingRow) -> tuple[str, ...]:
    finding, probability = row.finding, row.probability_text
    if isinstance(finding, VertebraFinding):
        first, last = finding.slice_range
        volume = f"{finding.volume_mm3 / 1000:.1f}" if finding.volume_mm3 > 0 else NOT_ASSESSED
        about = (f"{finding.confidence:.3f}", row.visible, f"{first}-{last}", volume)
    elif finding is None:
        about = (NOT_ASSESSED, row.visible, NOT_APPLICABLE, NOT_APPLICABLE)
    else:
        about = (f"{finding.confidence:.3f}", row.visible, NOT_APPLICABLE, NOT_APPLICABLE)
        probability = NOT_APPLICABLE  # a box has a confidence; the probability is that of its level
    return (row.kind, row.level, row.assessment, probability, *about, finding.id if finding else "")
