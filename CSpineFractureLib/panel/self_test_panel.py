"""What the panel's self-tests share: the panel opened for a while, a CT to analyse, and a worker without networks."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import slicer

from CSpineFractureLib.panel.commands import python_program
from CSpineFractureLib.panel.panel import Panel
from CSpineFractureLib.panel.self_test_worker import NAME
from CSpineFractureLib.resources import resource_path
from CSpineFractureLib.scene.volume_node import add_volume_node
from CSpineFractureLib.volume.ct_volume import CTVolume

WAIT_S = 120.0
PARAMETERS = "CSpineFracture self-test"
"""Name of the parameter node."""
SHAPE_KJI = (28, 24, 24)
IJK_TO_RAS = np.diag([-1.0, -1.0, 3.0, 1.0])


def worker(device: str) -> list[str]:
    """Starts the worker with the pretended profile."""
    return [python_program(), "-m", "CSpineFractureLib.panel.self_test_worker", "cpu"]


def radiograph_worker(device: str) -> list[str]:
    """Starts the worker that reads radiographs and pretends what it finds."""
    return [*worker(device), "radiograph"]


def no_device(device: str) -> list[str]:
    """Answers for the device line at once."""
    return [python_program(), "-c", 'print(\'{"usable": true, "text": "Will use cpu."}\')']


def block_hu() -> np.ndarray:
    """One block of bone in air, int16 HU ``[k, j, i]``."""
    hu = np.full(SHAPE_KJI, -1000, np.int16)
    hu[:, 6:18, 6:18] = 300
    return hu


def add_block(scene: slicer.vtkMRMLScene, name: str = "neck") -> slicer.vtkMRMLScalarVolumeNode:
    """A CT of that block, 28 slices of 3 mm."""
    return add_volume_node(scene, CTVolume(block_hu(), IJK_TO_RAS), name)


class OpenPanel:
    """The module's panel for the length of a ``with`` block, on a parameter node of its own."""

    def __init__(self, scene: slicer.vtkMRMLScene, command: Callable[[str], list[str]] = worker) -> None:
        self.form = slicer.util.loadUI(str(resource_path("UI/CSpineFracture.ui")))
        self.form.setMRMLScene(scene)
        self.ui = slicer.util.childWidgetVariables(self.form)
        self.scene = scene
        self.panel = Panel(self.ui, scene, command, no_device)

    def __enter__(self) -> OpenPanel:
        found = self.scene.GetFirstNode(PARAMETERS, "vtkMRMLScriptedModuleNode")  # not that of another module
        node = found or self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", PARAMETERS)
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
