"""The rows of the panel's table, read from the findings table in the scene, so that a reopened scene shows the same."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from CSpineFractureLib.findings.result_rows import NOT_ASSESSED, SUSPECTED
from CSpineFractureLib.scene.table_node import COLUMNS


@dataclass(frozen=True)
class PanelRow:
    """One level. Numbers are ``None`` where nothing was computed; ``volume_ml`` in ml, the others 0..1."""

    level: str
    probability: float | None
    assessment: str
    confidence: float | None
    visible: str
    slices: str
    volume_ml: float | None
    finding: str

    @property
    def is_suspected(self) -> bool:
        return self.assessment == SUSPECTED

    @property
    def is_assessed(self) -> bool:
        return not self.assessment.startswith(NOT_ASSESSED)

    @property
    def is_visible(self) -> bool:
        return self.visible != "no"


def level_rows(table: slicer.vtkMRMLTableNode) -> list[PanelRow]:
    """One row for each of C1 to C7, in that order; none while the table is being filled."""
    rows = []
    columns = {title: table.GetColumnIndex(title) for title in COLUMNS}
    if -1 in columns.values():
        return []
    for index in range(table.GetNumberOfRows()):
        cells = {title: table.GetCellText(index, column) for title, column in columns.items()}
        if cells["finding"] == "level":
            rows.append(
                PanelRow(
                    cells["level"],
                    _number(cells["fracture probability"]),
                    cells["assessment"],
                    _number(cells["detection confidence"]),
                    cells["visible"],
                    cells["slices"],
                    _number(cells["volume (ml)"]),
                    cells["id"],
                )
            )
    return rows


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
