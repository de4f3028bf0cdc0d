"""Checks of the panel that run in 3D Slicer (Reload and Test, ctest) and in this project's own tests alike.

They use the real widgets, scene and worker protocol; the worker's profile is pretended and runs on the CPU, so neither
torch nor weights are needed. Each takes an empty scene and raises ``AssertionError``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import slicer

from CSpineFractureLib.panel.commands import python_program
from CSpineFractureLib.panel.panel import Panel
from CSpineFractureLib.panel.self_test_worker import NAME
from CSpineFractureLib.resources import resource_path
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result, studies_in
from CSpineFractureLib.scene.volume_node import add_volume_node
from CSpineFractureLib.volume.ct_volume import CTVolume

WAIT_S = 120.0


def worker(device: str) -> list[str]:
    """Starts the worker with the pretended profile."""
    return [python_program(), "-m", "CSpineFractureLib.panel.self_test_worker", "cpu"]


def no_device(device: str) -> list[str]:
    """Answers for the device line at once."""
    return [python_program(), "-c", 'print(\'{"usable": true, "text": "Will use cpu."}\')']


def add_block(scene: slicer.vtkMRMLScene, name: str = "neck") -> slicer.vtkMRMLScalarVolumeNode:
    """A CT of one block of bone in air, 28 slices."""
    hu = np.full((28, 24, 24), -1000, np.int16)
    hu[:, 6:18, 6:18] = 300
    return add_volume_node(scene, CTVolume(hu, np.diag([-1.0, -1.0, 3.0, 1.0])), name)


class OpenPanel:
    """The module's panel for the length of a ``with`` block, on a parameter node of its own."""

    def __init__(self, scene: slicer.vtkMRMLScene, command: Callable[[str], list[str]] = worker) -> None:
        self.form = slicer.util.loadUI(str(resource_path("UI/CSpineFracture.ui")))
        self.form.setMRMLScene(scene)
        self.ui = slicer.util.childWidgetVariables(self.form)
        self.scene = scene
        self.panel = Panel(self.ui, scene, command, no_device)

    def __enter__(self) -> OpenPanel:
        found = self.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode")
        node = found or self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "CSpineFracture self-test")
        self.panel.attach(node)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.panel.close()
        self.form.deleteLater()

    def pretend(self, profile: str = NAME, **thresholds: float) -> None:
        """Have Apply ask for a pretended profile, steered by its thresholds."""
        chosen = self.panel._request
        self.panel.run._request = lambda: {**chosen(), "profile": profile, "thresholds": thresholds}

    def wait(self, until: Callable[[], bool], seconds: float = WAIT_S) -> None:
        """Let the program work until something is so."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"It did not happen within {seconds} s: {self.ui.statusLabel.text}"
            slicer.app.processEvents()
            time.sleep(0.01)

    def analyse(self) -> None:
        """Press Apply and wait for the end."""
        self.ui.applyButton.click()
        self.wait(lambda: not self.panel.run.session.is_busy)


def check_analysis(scene: slicer.vtkMRMLScene) -> None:
    """A CT is analysed: nodes, table and views."""
    node = add_block(scene)
    with OpenPanel(scene) as opened:
        opened.pretend()
        opened.panel.parameters.inputVolume = node
        opened.analyse()
        assert len(studies_in(scene)) == 1, opened.ui.statusLabel.text
        nodes = nodes_of_scene(scene)
        assert nodes.volume.GetID() == node.GetID()
        assert opened.ui.findingsTable.rowCount == 7
        opened.panel.results.table.step(1)
        assert "C2" in opened.ui.findingLabel.text
        opened.ui.showSegments.checked = False
        assert not nodes.segmentation.GetDisplayNode().GetVisibility()


def check_cancel(scene: slicer.vtkMRMLScene) -> None:
    """A cancelled analysis leaves the scene as it was."""
    node = add_block(scene)
    with OpenPanel(scene) as opened:
        opened.pretend(steps=100, delay=0.1)
        opened.panel.parameters.inputVolume = node
        before = scene.GetNumberOfNodes()
        opened.ui.applyButton.click()
        opened.wait(lambda: "Pretending" in opened.ui.statusLabel.text)
        opened.ui.applyButton.click()
        opened.wait(lambda: not opened.panel.run.session.is_busy, 3.0)
        assert scene.GetNumberOfNodes() == before
        assert opened.ui.applyButton.enabled


def check_correcting(scene: slicer.vtkMRMLScene) -> None:
    """A verdict that is undone leaves the result as it was, and redone as it was after it."""
    node = add_block(scene)
    with OpenPanel(scene) as opened:
        opened.pretend()
        opened.panel.parameters.inputVolume = node
        opened.analyse()
        nodes = nodes_of_scene(scene)
        before = nodes.result.GetText()
        opened.panel.correct.choose_level("C2")
        opened.ui.acceptButton.click()
        after = nodes.result.GetText()
        assert [one.status for one in stored_result(nodes).fractures] == ["accepted"], opened.ui.correctLabel.text
        opened.ui.undoButton.click()
        assert nodes.result.GetText() == before
        opened.ui.redoButton.click()
        assert nodes.result.GetText() == after


def check_worklist(scene: slicer.vtkMRMLScene) -> None:
    """Two CTs chosen in the worklist are analysed one after the other."""
    names = ["neck", "neck again"]
    chosen = [add_block(scene, name) for name in names]
    with OpenPanel(scene) as opened:
        opened.pretend()
        opened.ui.worklistCollapsibleButton.collapsed = False
        opened.panel.worklist.look_anew()
        table = opened.ui.worklistTable
        table.clearSelection()
        for row in range(table.rowCount):
            if table.item(row, 0).text() in names:
                for column in range(table.columnCount):
                    table.item(row, column).setSelected(True)
        opened.ui.worklistButton.click()
        opened.wait(lambda: len(studies_in(scene)) == len(chosen))
        found = [nodes_of_scene(scene, study).volume for study in studies_in(scene)]
        assert [volume.GetID() for volume in found] == [node.GetID() for node in chosen]
        opened.wait(lambda: "ended" in opened.ui.worklistStatus.text)


CHECKS = (check_analysis, check_cancel, check_correcting, check_worklist)
