"""The section "Worklist": the CTs at hand, and the button that analyses the chosen ones one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.panel.followed_run import End, FollowedRun
from CSpineFractureLib.panel.worklist import (
    Stage,
    WorkItem,
    WorkQueue,
    WorkState,
    dicom_items,
    highest_probabilities,
    load_series,
    merged,
    scene_items,
)

_SETTLE_MS = 200
_MOST_ROWS = 8


def _open_database() -> Any:
    return getattr(slicer, "dicomDatabase", None)


class WorklistPanel:
    """Ties the widgets of the section "Worklist" to the scene, the DICOM database and the section "Analysis".

    Parameters
    ----------
    run
        Analyses one CT; the worklist starts it anew for each.
    hides
        Whether findings are hidden until the reader has read.
    database, load
        Give the DICOM database, and the volume node of a series in it.
    """

    def __init__(
        self,
        ui: Any,
        scene: slicer.vtkMRMLScene,
        run: FollowedRun,
        hides: Callable[[], bool],
        database: Callable[[], Any] = _open_database,
        load: Callable[[str], slicer.vtkMRMLScalarVolumeNode | None] = load_series,
    ) -> None:
        self._ui, self._scene, self._run, self._hides = ui, scene, run, hides
        self._database, self._load = database, load
        self._queue = WorkQueue()
        self._items: list[WorkItem] = []
        self._series: list[WorkItem] = []
        self._request: dict[str, Any] = {}
        self._total = 0
        self._tags: list[int] = []
        self._button_text = ui.worklistButton.text
        self._settle, self._turn = _single_shot(_SETTLE_MS, self.refresh), _single_shot(0, self._next)
        run.follower = self._on_end
        _set_up_table(ui.worklistTable)
        ui.worklistTable.connect("itemSelectionChanged()", self._enable)
        ui.worklistButton.connect("clicked(bool)", self._on_button)
        ui.worklistRefreshButton.connect("clicked(bool)", self.look_anew)
        ui.worklistPatients.connect("toggled(bool)", self.refresh)
        ui.readButton.connect("clicked(bool)", self.refresh)
        ui.worklistCollapsibleButton.connect("contentsCollapsed(bool)", self._on_collapsed)

    def attach(self) -> None:
        """Follow the scene."""
        self.detach()
        scene = self._scene
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent)
        self._tags = [scene.AddObserver(event, self._on_scene) for event in events]
        self.look_anew()

    def detach(self) -> None:
        """Let go of the scene; CTs that wait are analysed all the same."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags.clear()
        self._settle.stop()

    def close(self) -> None:
        """Drop what waits and let go of the scene."""
        self._queue.stop()
        self._turn.stop()
        self.detach()

    def look_anew(self) -> None:
        """List scene and DICOM database, unless the section is folded."""
        if not self._ui.worklistCollapsibleButton.collapsed:
            with slicer.util.WaitCursor():
                self._series = dicom_items(self._database())
            self.refresh()

    def refresh(self) -> None:
        """Bring the table up to date with the scene; the chosen rows stay chosen."""
        if self._ui.worklistCollapsibleButton.collapsed:
            return
        chosen = self._chosen()
        self._items = merged(scene_items(self._scene), self._series)
        probabilities = highest_probabilities(self._scene, self._hides())
        table = self._ui.worklistTable
        table.blockSignals(True)
        table.setRowCount(len(self._items))
        for row, item in enumerate(self._items):
            for column, cell in enumerate(self._cells(item, self._queue.state_of(item, probabilities))):
                table.setItem(row, column, cell)
        table.clearSelection()
        for row, item in enumerate(self._items):
            if any(item.is_same(other) for other in chosen):
                for column in range(table.columnCount):
                    table.item(row, column).setSelected(True)
        table.blockSignals(False)
        _fit_height(table)
        nothing = _("No CT of the neck is in the scene or in the DICOM database: load or import one.")
        if not self._items and not self._ui.worklistStatus.text:
            self._ui.worklistStatus.setText(nothing)
        elif self._items and self._ui.worklistStatus.text == nothing:
            self._ui.worklistStatus.setText("")
        self._enable()

    def _cells(self, item: WorkItem, state: WorkState) -> list[Any]:
        name = item.name
        if self._ui.worklistPatients.checked and item.patient:
            name = _("{patient}: {name}").format(patient=item.patient, name=item.name)
        origin = (
            _("In the scene.") if item.node is not None else _("In the DICOM database; loaded when its turn comes.")
        )
        texts = [name, str(item.slices), " × ".join(_length(one) for one in item.spacing_mm), _state_text(state)]
        cells = []
        for text, tip in zip(texts, (f"{name}. {origin}", "", _("mm"), state.reason or texts[3]), strict=True):
            cell = qt.QTableWidgetItem(text)
            cell.setToolTip(tip)
            cells.append(cell)
        cells[1].setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        return cells

    def _chosen(self) -> list[WorkItem]:
        rows = sorted({cell.row() for cell in self._ui.worklistTable.selectedItems()})
        return [self._items[row] for row in rows if row < len(self._items)]

    def _enable(self) -> None:
        busy = self._queue.is_busy
        self._ui.worklistButton.setText(_("Cancel all") if busy else self._button_text)
        self._ui.worklistButton.enabled = busy or bool(self._chosen())
        self._ui.worklistStatus.setVisible(bool(self._ui.worklistStatus.text))

    def _say(self, text: str) -> None:
        self._ui.worklistStatus.setText(text)
        self.refresh()
        self._enable()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.look_anew()

    def _on_scene(self, *_event: object) -> None:
        if not self._scene.IsClosing():
            self._settle.start()

    def _on_button(self) -> None:
        if self._queue.is_busy:
            self._queue.stop()
            self._say(_("Cancelling ..."))
            if self._queue.running is not None:
                self._run.cancel()
            else:
                self._on_end(End.CANCELLED, "")
            return
        self._request = self._run.chosen()
        self._queue.add(self._chosen())
        self._total = self._queue.waiting
        self._say(_("Starting ..."))
        self._turn.start()

    def _next(self) -> None:
        if self._run.session.is_busy or self._queue.running is not None:
            return  # its end calls again
        item = self._queue.take()
        if item is None:
            return
        self._say(
            _("{number} of {total}: {name}").format(
                number=self._total - self._queue.waiting, total=self._total, name=item.name
            )
        )
        node, reason = item.node, _("It was removed from the scene while it waited.")
        if node is None:
            node, reason = self._loaded(item)
        if node is None or node.GetScene() is not self._scene:
            self._ended(reason)
            return
        self._queue.running = replace(item, node=node)
        self._run.begin({**self._request, "node": node})
        self.refresh()

    def _loaded(self, item: WorkItem) -> tuple[slicer.vtkMRMLScalarVolumeNode | None, str]:
        """The node of a series, or why there is none: a reader of DICOM can fail in any way."""
        try:
            with slicer.util.WaitCursor():
                node = self._load(item.series_uid)
        except Exception as error:
            return None, _("The series could not be loaded: {reason}").format(reason=error)
        return node, _("The series holds no CT volume that can be loaded.")

    def _on_end(self, end: End, reason: str) -> None:
        """A run has ended, be it one of the worklist's or not."""
        if end is End.CANCELLED:
            self._queue.stop()
            self._queue.end()
            if self._total:
                self._total = 0
                self._say(_("Cancelled; the rest was left out."))
                return
        if end is End.DONE and self._queue.running is None:
            for item in self._items:
                if item.node is not None and item.node is self._run.chosen()["node"]:
                    self._queue.forget(item)
        self._ended(reason)

    def _ended(self, reason: str) -> None:
        self._queue.end(reason)
        if self._queue.is_busy:
            self.refresh()
            self._turn.start()
        elif self._total:
            self._total = 0
            self._say(_("The worklist has ended."))
        else:
            self.refresh()


def _single_shot(milliseconds: int, callback: Callable[[], None]) -> Any:
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.interval = milliseconds
    timer.connect("timeout()", callback)
    return timer


def _set_up_table(table: Any) -> None:
    titles = [_("CT"), _("Slices"), _("Spacing (mm)"), _("State")]
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(titles)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(24)
    header = table.horizontalHeader()
    for column in range(1, len(titles)):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    header.setHighlightSections(False)


def _fit_height(table: Any) -> None:
    """As high as its rows, of which it shows at most eight at once."""
    rows = min(max(table.rowCount, 1), _MOST_ROWS)
    table.setFixedHeight(24 * rows + table.horizontalHeader().sizeHint.height() + 4)


def _length(millimetres: float | None) -> str:
    return "?" if millimetres is None else f"{millimetres:.3g}"


def _state_text(state: WorkState) -> str:
    if state.stage is Stage.DONE and state.probability is not None:
        return _("done, {probability}").format(probability=f"{state.probability:.0%}")
    return {
        Stage.NEW: _("not analysed"),
        Stage.WAITING: _("waiting"),
        Stage.RUNNING: _("running"),
        Stage.DONE: _("done"),
        Stage.FAILED: _("failed"),
    }[state.stage]
