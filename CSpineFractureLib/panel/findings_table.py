"""The table with one row per level: sorts, filters, and tells which level the reader wants to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from CSpineFractureLib.panel.findings_rows import PanelRow
from CSpineFractureLib.panel.probability_bar import BAR_SIZE, bar_icon

ALL, SUSPECTED, NOT_ASSESSED = range(3)
_NONE = "–"
_ROW_HEIGHT = 24


class FindingsTable:
    """Fills a QTableWidget; ``on_select`` gets the row that the user chose by mouse, arrow keys or a button.

    Parameters
    ----------
    table, filter_box, label
        The QTableWidget, the QComboBox of the three filters, and the QLabel that gives a row's assessment in full.
    """

    def __init__(self, table: Any, filter_box: Any, label: Any, on_select: Callable[[PanelRow], None]) -> None:
        self._table, self._filter, self._label, self._on_select = table, filter_box, label, on_select
        self._rows: dict[str, PanelRow] = {}
        self._filling = False
        titles = [_("Level"), _("Fracture"), _("Conf."), _("Seen"), _("Slices"), _("ml")]
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.setIconSize(qt.QSize(*BAR_SIZE))
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        table.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        header = table.horizontalHeader()
        header.setMinimumSectionSize(36)
        for column in range(len(titles)):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(len(titles) - 1, qt.QHeaderView.Stretch)
        header.setHighlightSections(False)
        filter_box.addItems([_("All levels"), _("Suspected only"), _("Not assessed only")])
        filter_box.connect("currentIndexChanged(int)", self._apply_filter)
        table.connect("itemSelectionChanged()", self._on_selection)

    def fill(self, rows: list[PanelRow]) -> None:
        """Show these rows instead; the sort order stays."""
        self._filling = True
        self._rows = {row.level: row for row in rows}
        self._table.setSortingEnabled(False)
        self._table.clearSelection()
        self._table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, item in enumerate(_items(row)):
                self._table.setItem(index, column, item)
        self._table.setSortingEnabled(True)
        self._fit_height()
        self._label.setText("")
        self._apply_filter()
        self._filling = False

    def step(self, direction: int) -> None:
        """Select the next (1) or previous (-1) suspected level that is shown, round and round."""
        order = [row for row in self._in_order() if self._rows[self._level(row)].is_suspected]
        if not order:
            self._label.setText(_("No fracture is suspected in the levels shown."))
            return
        now = self._table.currentRow() if self._table.selectedItems() else (-1 if direction > 0 else 10**6)
        after = [row for row in order if (row - now) * direction > 0]
        ends = order[0] if direction > 0 else order[-1]
        nearest = (min(after) if direction > 0 else max(after)) if after else ends
        self._table.setCurrentCell(nearest, 0)

    def look_at_worst(self) -> None:
        """Select the suspected level of the highest probability that is shown, where there is one."""
        rows = {row: self._rows[self._level(row)] for row in self._in_order()}
        suspected = [row for row, finding in rows.items() if finding.is_suspected]
        if suspected:
            self._table.setCurrentCell(max(suspected, key=lambda row: rows[row].probability or 0.0), 0)

    def shown_levels(self) -> list[str]:
        """The levels in the order of the table, without those filtered away."""
        return [self._level(row) for row in self._in_order()]

    def _in_order(self) -> list[int]:
        return [row for row in range(self._table.rowCount) if not self._table.isRowHidden(row)]

    def _level(self, row: int) -> str:
        return self._table.item(row, 0).text()

    def _apply_filter(self) -> None:
        choice = self._filter.currentIndex
        for row in range(self._table.rowCount):
            finding = self._rows[self._level(row)]
            hidden = (choice == SUSPECTED and not finding.is_suspected) or (
                choice == NOT_ASSESSED and finding.is_assessed
            )
            self._table.setRowHidden(row, hidden)

    def _on_selection(self) -> None:
        if self._filling or not self._table.selectedItems():
            return
        row = self._rows[self._level(self._table.currentRow())]
        self._label.setText(f"{row.level}: {row.assessment}.")
        self._on_select(row)

    def _fit_height(self) -> None:
        """As high as its rows; without any, as one."""
        rows = sum(self._table.rowHeight(row) for row in range(self._table.rowCount)) or _ROW_HEIGHT
        header = self._table.horizontalHeader()
        wide = header.length() > self._table.viewport().width
        bar = self._table.horizontalScrollBar().sizeHint.height() if wide else 0
        self._table.setFixedHeight(rows + header.sizeHint.height() + bar + 4)


def _items(row: PanelRow) -> list[Any]:
    """The cells. Numbers are kept as numbers, right-aligned in text that sorts as they do."""
    probability = _("not assessed") if row.probability is None else f"{row.probability:4.0%}"
    confidence = _NONE if row.confidence is None else f"{row.confidence:.2f}"
    volume = _NONE if row.volume_ml is None else f"{row.volume_ml:5.1f}"
    visible = {"full": _("whole"), "partial": _("part"), "no": _("no")}.get(row.visible, row.visible)
    first, _dash, last = row.slices.partition("-")
    slices = f"{first:>3}-{last}" if first.isdigit() else _NONE
    cells = [row.level, probability, confidence, visible, slices, volume]
    items = []
    for column, text in enumerate(cells):
        item = qt.QTableWidgetItem(text)
        item.setToolTip(f"{row.level}: {row.assessment}")
        if column in (2, 4, 5):
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        items.append(item)
    items[1].setIcon(bar_icon(row.probability))
    if row.is_suspected:
        font = items[0].font()
        font.setBold(True)
        items[0].setFont(font)
    return items
