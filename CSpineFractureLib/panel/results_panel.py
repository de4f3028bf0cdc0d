"""The sections that show findings: a study's table and curve, what is visible, and hiding until the reader has read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_rows import DEFAULT_LEVEL_THRESHOLD, LEVEL_THRESHOLD
from CSpineFractureLib.panel.display import Shown, set_window, show_study, show_volume
from CSpineFractureLib.panel.findings_rows import PanelRow, level_rows
from CSpineFractureLib.panel.findings_table import FindingsTable
from CSpineFractureLib.panel.jump import jump_to, place_of_level
from CSpineFractureLib.panel.parameters import PanelParameters, shown_of
from CSpineFractureLib.panel.probability_bar import curve_picture
from CSpineFractureLib.panel.sagittal_layout import show_sagittal_first
from CSpineFractureLib.panel.slice_probabilities import slice_curve
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result, studies_in
from CSpineFractureLib.volume.windows import Window

READ = "CSpineFracture.Read"
"""Attribute of a study's table: "yes" once the reader has read the CT without the findings."""
_CURVE_HEIGHT = 96


class ResultsPanel:
    """Ties the widgets of the sections "Findings" and "Display" to the studies in a scene."""

    def __init__(self, ui: Any, scene: slicer.vtkMRMLScene) -> None:
        self._ui, self._scene = ui, scene
        self.parameters: PanelParameters | None = None
        self.table = FindingsTable(ui.findingsTable, ui.filterBox, ui.findingLabel, self._on_row)
        self._studies: list[str] = []
        self._observed: tuple[slicer.vtkMRMLTableNode, int] | None = None
        self._hides = False
        self._windowed: dict[str, Window] = {}
        self.on_study: Callable[[str | None], None] = lambda study: None
        """Gets the study whenever the findings are shown anew; ``None`` where there is none or it waits to be read."""
        self.on_level: Callable[[str], None] = lambda level: None
        """Gets the level of the row that the reader chose."""
        ui.studyBox.connect("currentIndexChanged(int)", self._on_study)
        ui.readButton.connect("clicked(bool)", self._on_read)
        ui.previousButton.connect("clicked(bool)", lambda: self.table.step(-1))
        ui.nextButton.connect("clicked(bool)", lambda: self.table.step(1))
        ui.layoutButton.connect("clicked(bool)", lambda: show_sagittal_first(self._scene))
        self._shortcuts = [self._shortcut("N", 1), self._shortcut("P", -1)]

    @property
    def study(self) -> str | None:
        """The study that is shown."""
        index = self._ui.studyBox.currentIndex
        return self._studies[index] if 0 <= index < len(self._studies) else None

    @property
    def is_hidden(self) -> bool:
        """Whether the study's findings wait until the reader has read."""
        if self.parameters is not None:  # without it the module was left: what was chosen there still holds
            self._hides = self.parameters.hideUntilRead
        table = self._table_node()
        return table is not None and self._hides and table.GetAttribute(READ) != "yes"

    def show(self, study: str) -> None:
        """Choose a study, with its CT in the slice views, and look at its most suspected level."""
        self.list_studies()
        self._ui.studyBox.setCurrentIndex(self._studies.index(study))
        show_volume(self._scene, nodes_of_scene(self._scene, study).volume)
        self.refresh()
        if self.parameters is not None and not self.is_hidden:
            self.table.look_at_worst()

    def list_studies(self) -> None:
        """Offer the studies that are in the scene now, the latest first; the chosen one stays chosen, until one comes.

        A study that has come with a file is shown with its CT: the file has put that CT into the slice views.
        """
        chosen, found = self.study, studies_in(self._scene)[::-1]
        if not found:
            self._windowed = {}  # another scene: its volumes may have the same IDs
        if found == self._studies:
            return
        if any(one not in self._studies for one in found):
            chosen = None
        self._studies = found
        box = self._ui.studyBox
        box.blockSignals(True)
        box.clear()
        for number, study in zip(range(len(found), 0, -1), found, strict=True):
            nodes = nodes_of_scene(self._scene, study)
            name = _("CT no longer here") if nodes.volume is None else nodes.volume.GetName()
            box.addItem(_("{number}: {name}{when}").format(number=number, name=name, when=_when(nodes)))
        if found:
            box.setCurrentIndex(found.index(chosen) if chosen in found else 0)
        box.blockSignals(False)
        if self.study is not None and self.study != chosen:
            self._on_study(0)
        else:
            self.refresh()

    def refresh(self) -> None:
        """Bring table, curve and views up to date with scene and choices."""
        study, hidden = self.study, self.is_hidden
        if self.parameters is None:
            if hidden:
                show_study(self._scene, None, Shown())
            return
        table = self._table_node()
        self._observe(table)
        self._ui.readButton.setVisible(hidden)
        self._ui.studyBox.enabled = study is not None
        for widget in (self._ui.findingsTable, self._ui.filterBox, self._ui.previousButton, self._ui.nextButton):
            widget.enabled = study is not None and not hidden
        nothing = study is None or hidden
        self.table.fill([] if nothing or table is None else level_rows(table))
        self._draw_curve(None if nothing else study)
        self.on_study(None if nothing else study)
        self.refresh_views()
        if hidden:
            self._ui.findingLabel.setText(_("The findings wait until you have read the CT."))
        elif study is None:
            self._ui.findingLabel.setText(_("No findings yet."))

    def refresh_views(self) -> None:
        """Bring the views alone up to date: visibility, Grad-CAM and window."""
        show_study(self._scene, None if self.is_hidden else self.study, shown_of(self.parameters))
        volume = self.parameters.inputVolume
        window = self.parameters.window.window()
        if volume is not None and self._windowed.get(volume.GetID()) != window:  # else the reader's own window stays
            set_window(volume, window)
            self._windowed[volume.GetID()] = window

    def close(self) -> None:
        """Let go of the scene's nodes."""
        self._observe(None)

    def _table_node(self) -> slicer.vtkMRMLTableNode | None:
        """The findings table of the study that is shown; ``None`` too where the user has deleted it."""
        return None if self.study is None else nodes_of_scene(self._scene, self.study).table

    def _shortcut(self, key: str, direction: int) -> Any:
        shortcut = qt.QShortcut(self._ui.resultsCollapsibleButton)
        shortcut.setKey(qt.QKeySequence(key))
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.connect("activated()", lambda: self.table.step(direction))
        return shortcut

    def _on_row(self, row: PanelRow) -> None:
        self.on_level(row.level)
        place = place_of_level(nodes_of_scene(self._scene, self.study), row.level)
        if place is not None:
            jump_to(self._scene, place)

    def _on_study(self, _index: int) -> None:
        if self.study is not None:
            volume = nodes_of_scene(self._scene, self.study).volume
            if volume is not None:
                show_volume(self._scene, volume)
        self.refresh()

    def _on_read(self) -> None:
        self._table_node().SetAttribute(READ, "yes")
        self.refresh()

    def _observe(self, table: slicer.vtkMRMLTableNode | None) -> None:
        """Follow corrections: they change the table in the scene."""
        if self._observed is not None:
            if self._observed[0] is table:
                return
            self._observed[0].RemoveObserver(self._observed[1])
        self._observed = None
        if table is not None:
            self._observed = (table, table.AddObserver("ModifiedEvent", self._on_table))

    def _on_table(self, *_event: object) -> None:
        table = self._observed[0]
        if not self.is_hidden and table.GetAttribute(roles.STUDY) == self.study and level_rows(table):
            self.table.fill(level_rows(table))

    def _threshold_of(self, study: str) -> float:
        """From which probability on this study's levels count as suspected, whatever is chosen for the next one."""
        try:
            thresholds = stored_result(nodes_of_scene(self._scene, study)).thresholds
        except UserError:
            thresholds = {}
        return thresholds.get(LEVEL_THRESHOLD, DEFAULT_LEVEL_THRESHOLD)

    def _draw_curve(self, study: str | None) -> None:
        label = self._ui.plotLabel
        curve = None if study is None else slice_curve(self._scene, study)
        label.setVisible(curve is not None)
        if curve is not None:
            ink = label.palette.color(qt.QPalette.WindowText)
            width = max(200, self._ui.findingsTable.width - 2)
            ratio = label.devicePixelRatioF()
            threshold = self._threshold_of(study)
            label.setPixmap(curve_picture(curve, threshold, width, _CURVE_HEIGHT, ratio, ink))


def _when(nodes: SceneNodes) -> str:
    """When a study was analysed, in local time and in parentheses; empty where its result is gone or damaged."""
    try:
        created = datetime.fromisoformat(stored_result(nodes).created)
    except (UserError, ValueError):
        return ""
    return f" ({created.astimezone():%Y-%m-%d %H:%M})"
