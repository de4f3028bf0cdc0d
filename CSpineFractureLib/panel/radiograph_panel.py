"""The section "Radiograph": one picture to a class, confidences and a saliency map."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.display import NOTHING, show_study
from CSpineFractureLib.panel.radiograph_input import radiograph_file
from CSpineFractureLib.panel.radiograph_session import RadiographSession, radiograph_command
from CSpineFractureLib.panel.radiograph_view import RedView
from CSpineFractureLib.panel.stage_clock import Progress
from CSpineFractureLib.scene.radiograph_nodes import RadiographNodes, radiograph_of_scene


class RadiographPanel:
    """Ties the widgets of the section to a session and to the radiograph that the scene holds.

    Parameters
    ----------
    ui, scene
        The widgets by name, and the scene.
    device
        Gives the name of the device that is chosen now.
    show_ct
        Shows the CT's findings in the views again, once the radiograph gives way.
    """

    def __init__(
        self,
        ui: Any,
        scene: slicer.vtkMRMLScene,
        device: Callable[[], str],
        show_ct: Callable[[], None],
        command: Callable[[str], Sequence[str]] = radiograph_command,
    ) -> None:
        self._ui, self._scene, self._device, self._show_ct = ui, scene, device, show_ct
        self.session = RadiographSession(self, scene, command)
        self._view = RedView(scene)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._apply_text = ui.radiographButton.text
        ui.radiographSelector.setMRMLScene(scene)
        ui.radiographProgress.setVisible(False)
        ui.radiographStatus.setVisible(False)
        ui.radiographButton.connect("clicked(bool)", self._on_button)
        ui.radiographPath.connect("currentPathChanged(QString)", self._on_path)
        ui.radiographSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_node)
        ui.radiographShow.connect("toggled(bool)", self._on_show)
        ui.saliencyOpacity.connect("valueChanged(double)", self._on_opacity)
        self.refresh()

    def refresh(self) -> None:
        """Bring the section up to date with the scene: its latest radiograph, and whether the red view shows it."""
        nodes = radiograph_of_scene(self._scene)
        self._ui.radiographResult.setVisible(nodes is not None)
        if nodes is None:
            self._set_shown(False)
        else:
            self._fill(nodes)
            if self._ui.radiographShow.checked and self._view.shows(nodes):
                show_study(self._scene, None, NOTHING)  # the boxes of a CT would lie over the picture
                self._view.show(nodes, self._ui.saliencyOpacity.value)
            else:
                self._set_shown(False)
        chosen = bool(self._ui.radiographPath.currentPath) or self._ui.radiographSelector.currentNode() is not None
        self._ui.radiographButton.enabled = chosen or self.session.is_busy

    def close(self) -> None:
        """End the child process."""
        self.session.close()
        self._forget_folder()

    def on_progress(self, progress: Progress) -> None:
        if self._ui.radiographButton.enabled:
            self._say(progress.text)

    def on_nodes(self, nodes: RadiographNodes) -> None:
        self._set_running(False)
        self._say("")
        self._set_shown(True)
        self._view.show(nodes, self._ui.saliencyOpacity.value)
        self.refresh()

    def on_end(self, message: str) -> None:
        self._set_running(False)
        self._say(message or _("Cancelled. The scene is as it was."))

    def _on_button(self) -> None:
        if self.session.is_busy:
            self._ui.radiographButton.enabled = False
            self._say(_("Cancelling ..."))
            self.session.cancel()
            return
        try:
            path, name = self._chosen()
            self.session.start(path, name, self._device())
        except UserError as error:
            self.on_end(str(error))
        except OSError as error:
            told = _("The picture could not be handed over ({reason}): check the temporary folder.")
            self.on_end(told.format(reason=error.strerror or error))
        else:
            self._set_running(True)
            self._say(_("Starting ..."))

    def _chosen(self) -> tuple[Path, str]:
        """The file to read, and what to call it."""
        node = self._ui.radiographSelector.currentNode()
        if node is None:
            path = Path(self._ui.radiographPath.currentPath)
            return path, path.stem
        self._forget_folder()
        self._folder = tempfile.TemporaryDirectory(prefix="cspine-")
        return radiograph_file(node, Path(self._folder.name)), node.GetName()

    def _on_path(self, path: str) -> None:
        if path:
            self._ui.radiographSelector.setCurrentNode(None)
        self.refresh()

    def _on_node(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not None:
            self._ui.radiographPath.currentPath = ""
        self.refresh()

    def _on_show(self, on: bool) -> None:
        nodes = radiograph_of_scene(self._scene)
        if on and nodes is not None:
            self._view.show(nodes, self._ui.saliencyOpacity.value)
            self.refresh()
        else:
            self._view.give_back()
            self._show_ct()

    def _on_opacity(self, opacity: float) -> None:
        nodes = radiograph_of_scene(self._scene)
        if nodes is not None and self._view.shows(nodes):
            self._view.show(nodes, opacity)

    def _fill(self, nodes: RadiographNodes) -> None:
        try:
            result = nodes.result
        except UserError as error:
            self._ui.radiographClass.setText(str(error))
            return
        found, names = result.radiograph, _class_names()
        confidence = found.probabilities[found.kind]
        text = _("{name}: {kind}, confidence {confidence:.2f}")
        lines = [text.format(name=nodes.picture.GetName(), kind=names[found.kind].lower(), confidence=confidence)]
        lines += [notice.message for notice in result.warnings]
        if any("synthetic" in model.trained_on.lower() for model in result.models):
            lines.append(_("The network was trained on synthetic radiographs."))
        self._ui.radiographClass.setText("\n".join(lines))
        bars = (self._ui.radiographNormal, self._ui.radiographFracture, self._ui.radiographDislocation)
        for kind, bar in zip(names, bars, strict=True):
            bar.setValue(round(100 * found.probabilities[kind]))

    def _say(self, text: str) -> None:
        self._ui.radiographStatus.setText(text)
        self._ui.radiographStatus.setVisible(bool(text))

    def _set_shown(self, on: bool) -> None:
        """Set the check mark without acting on it."""
        self._ui.radiographShow.blockSignals(True)
        self._ui.radiographShow.checked = on
        self._ui.radiographShow.blockSignals(False)

    def _set_running(self, running: bool) -> None:
        self._ui.radiographButton.setText(_("Cancel") if running else self._apply_text)
        self._ui.radiographProgress.setVisible(running)
        for widget in (self._ui.radiographPath, self._ui.radiographSelector):
            widget.enabled = not running
        self._ui.radiographButton.enabled = True
        if not running:
            self._forget_folder()

    def _forget_folder(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = None


def _class_names() -> dict[str, str]:
    """The classes in words."""
    return {"normal": _("Normal"), "fracture": _("Fracture"), "dislocation": _("Dislocation")}
