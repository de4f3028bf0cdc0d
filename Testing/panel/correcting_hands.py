"""A user's hands on the section "Correcting": what the panel's tests press, drag and look at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "scene"))

from scene_fingerprint import fingerprint
from scene_study import GRIDS, make_study

from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.scene.arrays import image_array
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result


def open_panel(slicer_program, with_study: bool = True) -> Iterator:
    """The panel; with a study of C2 to C6, of which C4 has a suspected fracture."""
    from CSpineFractureLib.panel.self_test_panel import OpenPanel

    with OpenPanel(slicer_program.mrmlScene) as opened:
        if with_study:
            show_study(opened)
        yield opened


def show_study(panel, study="study-1", grid="axial", levels=LEVELS[1:6]):
    volume, output = make_study(GRIDS[grid], levels=levels, cam=False)
    output.result.id = study
    volume.hu[:, :, :6] = -1000
    build_scene(panel.scene, volume, output)
    panel.panel.results.show(study)


def state(panel, study="study-1"):
    """All that a study is in the scene, and its result as JSON."""
    return fingerprint(panel.scene, study), stored_result(nodes_of_scene(panel.scene, study)).to_dict()


def choose(panel, text):
    """Take the finding whose line in the list begins so."""
    lines = [panel.ui.correctionBox.itemText(n) for n in range(panel.ui.correctionBox.count)]
    panel.ui.correctionBox.setCurrentIndex(next(n for n, line in enumerate(lines) if line.startswith(text)))


def said(panel):
    return panel.ui.correctLabel.text


def events(panel):
    """Let the program do what waits for it to be idle."""
    from CSpineFractureLib.panel.self_test_panel import slicer

    for _ in range(3):
        slicer.app.processEvents()


def box_named(panel, name, study="study-1"):
    return next(box for box in nodes_of_scene(panel.scene, study).boxes if box.GetName().startswith(name))


def drag(panel, name, by, study="study-1"):
    """What the mouse does to a box: it moves, then the interaction ends."""
    box = box_named(panel, name, study)
    box.SetCenter(*(np.array(box.GetCenter()) + by))
    box.InvokeEvent(box.PointEndInteractionEvent)


def erase(panel, level="C3", study="study-1"):
    """What the Segment Editor does at the end of a stroke."""
    from CSpineFractureLib.panel.self_test_panel import slicer

    node = nodes_of_scene(panel.scene, study).segmentation
    mask = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(level, mask)
    values = image_array(mask)
    k, j, i = np.argwhere(values).mean(axis=0).astype(int)
    values[k : k + 2, j : j + 3, i : i + 3] = 0
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(mask, node, level, logic.MODE_REPLACE)


def look_at(panel, level):
    """Bring a level into the middle of every slice view, as a click on its row does."""
    table = panel.ui.findingsTable
    table.setCurrentCell(next(row for row in range(7) if table.item(row, 0).text() == level), 0)


def press_enter(panel):
    """Enter in the comment line."""
    from PySide6.QtCore import QEvent, Qt
    from PySide6.QtGui import QKeyEvent
    from PySide6.QtWidgets import QApplication

    line = panel.ui.commentLine._object
    QApplication.sendEvent(line, QKeyEvent(QEvent.KeyPress, Qt.Key_Return, Qt.NoModifier, "\r"))
