"""The whole panel: the widgets of the .ui file, the parameter node and the scene, tied together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import read_result
from CSpineFractureLib.panel.commands import device_command, worker_command
from CSpineFractureLib.panel.correct_panel import CorrectPanel
from CSpineFractureLib.panel.device_line import DeviceLine
from CSpineFractureLib.panel.export_panel import ExportPanel
from CSpineFractureLib.panel.followed_run import FollowedRun
from CSpineFractureLib.panel.parameters import PanelParameters, connect, drop_unknown_choices
from CSpineFractureLib.panel.radiograph_panel import RadiographPanel
from CSpineFractureLib.panel.results_panel import ResultsPanel
from CSpineFractureLib.panel.setup_panel import SetupPanel
from CSpineFractureLib.panel.slice_probabilities import add_slice_table, slice_curve
from CSpineFractureLib.panel.worklist import scene_items
from CSpineFractureLib.panel.worklist_panel import WorklistPanel
from CSpineFractureLib.scene.files import load_scene
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result, studies_in

Command = Callable[[str], Sequence[str]]
_SETTLE_MS = 200


class Panel:
    """What the module's widget shows. ``attach`` ties it to a parameter node, ``detach`` unties it.

    Parameters
    ----------
    ui
        The widgets of ``CSpineFracture.ui`` by name.
    scene
        The application's scene.
    worker, device
        How to start the two child processes, given the device's name; tests give their own.
    """

    def __init__(
        self, ui: Any, scene: slicer.vtkMRMLScene, worker: Command = worker_command, device: Command = device_command
    ) -> None:
        self.ui, self._scene = ui, scene
        self.parameters: PanelParameters | None = None
        self._tags: list[tuple[Any, int]] = []
        self._seen: tuple = ()
        self._asked: str | None = None
        ui.inputSelector.setMRMLScene(scene)
        for path in (ui.dicomSourcePath, ui.radiographPath, ui.resultPath):
            path.currentPath = ""  # ctkPathLineEdit begins with the latest path of others that have no key either
        self._settle = qt.QTimer()  # a volume is added first and gets its voxels then
        self._settle.setSingleShot(True)
        self._settle.interval = _SETTLE_MS
        self._settle.connect("timeout()", self._choose_volume)
        self.results = ResultsPanel(ui, scene)
        self.correct = CorrectPanel(ui, scene, self.results.refresh)
        self.results.on_study, self.results.on_level = self.correct.show, self.correct.choose_level
        self.run = FollowedRun(ui, self._request, self._on_result, worker)
        self._device_line = DeviceLine(ui.deviceLine, device)
        self.export = ExportPanel(ui, scene, self.results, self.correct.corrections_of)
        self.radiograph = RadiographPanel(ui, scene, self._device, self._show_ct)
        self.worklist = WorklistPanel(ui, scene, self.run, self._hides)
        self.setup = SetupPanel(ui, self._start_children_anew)
        self.setup.open_where_needed()
        ui.openButton.connect("clicked(bool)", self._on_open)
        ui.openButton.enabled = False
        ui.resultPath.connect("currentPathChanged(QString)", self._on_result_path)

    def attach(self, parameter_node: slicer.vtkMRMLScriptedModuleNode) -> None:
        """Show and follow the choices in a parameter node, and the studies in the scene."""
        self.detach()
        drop_unknown_choices(parameter_node)
        self.parameters = self.results.parameters = PanelParameters(parameter_node)
        self._gui_tag = connect(self.parameters, self.ui)
        self._observe(parameter_node, "ModifiedEvent", self._on_parameters)
        for event in (self._scene.EndCloseEvent, self._scene.EndImportEvent, self._scene.NodeRemovedEvent):
            self._observe(self._scene, event, self._on_scene)
        self._observe(self._scene, self._scene.NodeAddedEvent, self._on_node_added)
        self._choose_volume()
        self.results.list_studies()
        self.results.refresh()
        self._on_parameters()
        self.worklist.attach()

    def detach(self) -> None:
        """Let go of parameter node and scene; a running analysis goes on."""
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags.clear()
        self._settle.stop()
        self.worklist.detach()
        self.correct.detach()
        self.results.close()
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
        self.parameters = self.results.parameters = None
        self._seen = ()

    def close(self) -> None:
        """End the child processes and let go of everything."""
        self.worklist.close()
        self.run.session.close()
        self.radiograph.close()
        self.correct.close()
        self._device_line.close()
        self.detach()

    def _observe(self, node: Any, event: Any, callback: Callable) -> None:
        self._tags.append((node, node.AddObserver(event, callback)))

    def _request(self) -> dict[str, Any]:
        if self.parameters is None:
            return {"node": None}
        return {
            "node": self.parameters.inputVolume,
            "profile": self.parameters.profile.value,
            "device": self.parameters.device.value,
            "thresholds": {"fracture": self.parameters.fractureThreshold},
        }

    def _choose_volume(self) -> None:
        """Choose the first CT where none is chosen: the usual case is one CT in the scene."""
        if self.parameters is None or self._scene.IsClosing() or self.parameters.inputVolume is not None:
            return
        found = scene_items(self._scene)
        if found:
            self.parameters.inputVolume = found[0].node

    def _on_node_added(self, *_event: object) -> None:
        if self.parameters is not None and self.parameters.inputVolume is None:
            self._settle.start()

    def _on_parameters(self, *_event: object) -> None:
        if self.parameters is None:
            return
        now = self.parameters
        if now.device.value != self._asked:
            self._asked = now.device.value
            self._device_line.ask(self._asked)
        whole = (now.hideUntilRead, now.fractureThreshold)
        if self._seen != whole:
            self._seen = whole
            self.results.refresh()
            self.worklist.refresh()
        else:
            self.results.refresh_views()
        self.run.refresh()
        self._refresh_sections()

    def _on_scene(self, *_event: object) -> None:
        if self.parameters is not None and not self._scene.IsClosing():
            self.results.list_studies()
            self.correct.notice()
            self.run.refresh()
            self._refresh_sections()

    def _on_result(self, study: str) -> None:
        self.results.show(study)
        self._refresh_sections()

    def _hides(self) -> bool:
        return self.parameters is None or self.parameters.hideUntilRead

    def _start_children_anew(self) -> None:
        """Other packages are installed now: a worker that waits has those from before."""
        if not self.run.session.is_busy:
            self.run.session.close()
        self._asked = None
        self._on_parameters()

    def _device(self) -> str:
        return "auto" if self.parameters is None else self.parameters.device.value

    def _show_ct(self) -> None:
        if self.parameters is not None:
            self.results.refresh_views()

    def _refresh_sections(self) -> None:
        if self.parameters is not None:
            self.export.refresh()
            self.radiograph.refresh()

    def _on_result_path(self, path: str) -> None:
        self.ui.openButton.enabled = bool(path)

    def _on_open(self) -> None:
        path = Path(self.ui.resultPath.currentPath) / "scene.mrb"
        before = studies_in(self._scene)
        try:
            known = path.with_name("result.json")
            study = read_result(known).id if before and known.is_file() else None
            if study in before:
                self.results.show(study)
                self.ui.statusLabel.setText(_("{path} is in the scene already.").format(path=path))
                return
            with slicer.util.WaitCursor():
                load_scene(self._scene, path)
                for one in studies_in(self._scene):
                    if one not in before and slice_curve(self._scene, one) is None:  # the command's scenes hold none
                        self._add_curve(one)
        except UserError as error:
            self.ui.statusLabel.setText(str(error))
            return
        self.results.list_studies()
        self.results.refresh()
        self.ui.statusLabel.setText(_("Opened {path}.").format(path=path))

    def _add_curve(self, study: str) -> None:
        nodes = nodes_of_scene(self._scene, study)
        with suppress(UserError):  # of an older version, which kept no result in the scene
            add_slice_table(self._scene, nodes, stored_result(nodes))
