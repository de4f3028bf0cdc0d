"""Checks of the panel that run in 3D Slicer (Reload and Test, ctest) and in this project's own tests alike.

They use the real widgets, scene and worker protocol; the worker's profile is pretended and runs on the CPU, so neither
torch nor weights are needed. Each takes an empty scene and raises ``AssertionError``, or ``unittest.SkipTest`` where a
package that Slicer does not bring along is not installed.
"""

from __future__ import annotations

import logging
import unittest
from collections.abc import Callable

import slicer

from CSpineFractureLib.panel.self_test_files import check_dicom_export, check_radiograph, check_report
from CSpineFractureLib.panel.self_test_panel import OpenPanel, add_block
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result, studies_in


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


CHECKS = (
    check_analysis,
    check_cancel,
    check_correcting,
    check_worklist,
    check_dicom_export,
    check_report,
    check_radiograph,
)


def run_checks(scene: slicer.vtkMRMLScene, empty: Callable[[], None], say: Callable[[str], object]) -> None:
    """Run every check in a scene that ``empty`` has emptied; ``say`` tells which, and the log which were left out."""
    for check in CHECKS:
        empty()
        say(check.__doc__.splitlines()[0])
        try:
            check(scene)
        except unittest.SkipTest as reason:
            logging.warning("%s was left out: %s", check.__name__, reason)
            say(f"Left out: {reason}")
