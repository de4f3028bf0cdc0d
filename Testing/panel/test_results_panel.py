"""The findings in the panel: table, filter, jumps, display choices, hiding until read, two studies, save and load."""

from __future__ import annotations

import re
import sys
import time

import numpy as np
import pytest

from CSpineFractureLib.findings.result_file import write_result
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.panel.self_test_worker import run as pretended
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.cam_node import volume_rendering_of
from CSpineFractureLib.scene.files import load_scene, save_scene
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result, studies_in
from CSpineFractureLib.scene.roles import marked_nodes
from CSpineFractureLib.scene.volume_node import volume_of_node


@pytest.fixture
def shown(a_panel):
    """A panel with the findings of a study, made in this process: how they come is tested elsewhere."""
    return with_findings(a_panel, a_panel.node)


def with_findings(panel, node):
    from CSpineFractureLib.panel.slice_probabilities import add_slice_table

    volume = volume_of_node(node)
    output = pretended(volume, RunContext())
    panel.nodes = build_scene(panel.scene, volume, output, node)
    add_slice_table(panel.scene, panel.nodes, output.result)
    panel.panel.run.on_result(output.result.id)
    return panel


def cell(panel, row, column):
    return panel.ui.findingsTable.item(row, column).text()


def slice_centre(scene, name):
    node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
    matrix = node.GetSliceToRAS()
    return [matrix.GetElement(row, 3) for row in range(3)]


def test_the_table_has_a_row_per_level_that_sorts_by_probability(shown, slicer_program):
    import qt

    table = shown.ui.findingsTable
    assert [cell(shown, row, 0) for row in range(7)] == list(LEVELS)
    assert [cell(shown, 1, column).strip() for column in (1, 2, 3)] == ["90%", "0.90", "whole"]
    table.sortItems(1, qt.Qt.DescendingOrder)
    assert cell(shown, 0, 0) == "C2"
    shown.ui.filterBox.setCurrentIndex(1)
    assert shown.panel.results.table.shown_levels() == ["C2"]
    shown.ui.filterBox.setCurrentIndex(2)
    assert shown.panel.results.table.shown_levels() == []


def test_a_click_on_a_row_centres_every_view_on_the_level(shown):
    shown.ui.findingsTable.setCurrentCell(5, 0)
    box = next(box for box in shown.nodes.vertebra_boxes if box.GetName() == "C6")
    bounds = [0.0] * 6
    box.GetRASBounds(bounds)
    middle = np.array(bounds).reshape(3, 2).mean(axis=1)
    for name in ("Red", "Yellow", "Green"):
        np.testing.assert_allclose(slice_centre(shown.scene, name), middle, atol=1e-6)
    camera = shown.scene.GetFirstNodeByClass("vtkMRMLCameraNode")
    np.testing.assert_allclose(camera.GetFocalPoint(), middle, atol=1e-6)
    assert shown.ui.findingLabel.text == "C6: no fracture suspected."


def test_new_findings_are_looked_at_where_the_suspicion_is_highest(shown):
    assert cell(shown, shown.ui.findingsTable.currentRow(), 0) == "C2"
    bounds = [0.0] * 6
    shown.nodes.fracture_boxes[0].GetRASBounds(bounds)
    middle = np.array(bounds).reshape(3, 2).mean(axis=1)
    np.testing.assert_allclose(slice_centre(shown.scene, "Yellow"), middle, atol=1e-6)


def test_the_line_in_the_curve_is_the_threshold_of_the_study_that_is_shown(shown):
    study = shown.panel.results.study
    shown.ui.fractureThreshold.setValue(0.9)
    assert shown.panel.results._threshold_of(study) == 0.5


def test_the_device_line_says_what_is_used_and_how_much_memory_is_free(slicer_program):
    import qt

    from CSpineFractureLib.panel.commands import device_command
    from CSpineFractureLib.panel.device_line import DeviceLine

    def answer(command):
        label = qt.QLabel()
        line = DeviceLine(label, command)
        line.ask("cpu")
        end = time.monotonic() + 120
        while label.text.startswith("Looking") and time.monotonic() < end:
            slicer_program.app.processEvents()
            time.sleep(0.02)
        line.close()
        return label.text

    assert re.fullmatch(r"Will use .*\d.* free.*\.", answer(device_command))
    broken = "raise ModuleNotFoundError(\"No module named 'torch'\")"
    assert answer(lambda device: [sys.executable, "-c", broken]).startswith("torch is not installed in Slicer")
    assert answer(lambda device: ["/no/such/program"]).startswith("The device could not be asked")


def test_a_device_line_does_not_wait_for_the_child_of_a_launcher(slicer_program, tmp_path):
    import qt

    from CSpineFractureLib.panel.device_line import DeviceLine

    ready = tmp_path / "ready"
    child = f"import pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    line = DeviceLine(qt.QLabel(), lambda device: [sys.executable, "-c", launcher])
    line.ask("cpu")
    end = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < end:
        time.sleep(0.02)
    start = time.monotonic()
    line.close()
    assert time.monotonic() - start < 10


def test_next_and_previous_go_round_the_suspected_levels(shown):
    for button in (shown.ui.nextButton, shown.ui.nextButton, shown.ui.previousButton):
        button.click()
        assert cell(shown, shown.ui.findingsTable.currentRow(), 0) == "C2"
    assert [shortcut.key.toString() for shortcut in shown.panel.results._shortcuts] == ["N", "P"]


def test_display_choices_reach_the_scene(shown):
    composite = shown.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetForegroundVolumeID() == shown.nodes.cam.GetID()
    shown.ui.camOpacity.setValue(0.8)
    shown.ui.camThreshold.setValue(0.4)
    assert composite.GetForegroundOpacity() == pytest.approx(0.8)
    assert shown.nodes.cam.GetDisplayNode().GetLowerThreshold() == pytest.approx(102.0)
    shown.ui.showCam.checked = False
    assert composite.GetForegroundVolumeID() is None
    assert not volume_rendering_of(shown.nodes.cam).GetVisibility()
    shown.ui.showVertebraBoxes.checked = False
    assert not any(box.GetDisplayNode().GetVisibility() for box in shown.nodes.vertebra_boxes)
    assert all(box.GetDisplayNode().GetVisibility() for box in shown.nodes.fracture_boxes)
    shown.ui.windowBox.setCurrentIndex(2)
    display = shown.node.GetDisplayNode()
    assert (display.GetLevel(), display.GetWindow()) == (700, 4000)


def test_the_sagittal_layout_is_known_to_the_scene(shown, slicer_program):
    shown.ui.layoutButton.click()
    layout = shown.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.IsLayoutDescription(layout.GetViewArrangement())
    first = layout.GetLayoutDescription(layout.GetViewArrangement()).index("singletontag")
    assert '"Yellow"' in layout.GetLayoutDescription(layout.GetViewArrangement())[first : first + 25]


def test_the_curve_has_a_point_per_slice_and_lies_under_the_levels(shown):
    from CSpineFractureLib.panel.slice_probabilities import SLICE_CHART, slice_curve

    curve = slice_curve(shown.scene, shown.panel.results.study)
    assert len(curve.heights) == 28
    assert curve.heights == sorted(curve.heights)
    assert set(curve.levels) == set(LEVELS)
    low, high = curve.heights[0], curve.heights[-1]
    assert all(low - 2 <= below < above <= high + 2 for below, above in curve.levels.values())
    assert not shown.ui.plotLabel.pixmap.isNull()
    assert len(marked_nodes(shown.scene, SLICE_CHART)) == 1


def test_the_findings_wait_until_the_reader_has_read(a_panel):
    a_panel.ui.hideUntilRead.checked = True
    nodes = with_findings(a_panel, a_panel.node).nodes
    assert a_panel.ui.findingsTable.rowCount == 0
    assert not any(node.GetDisplayNode().GetVisibility() for node in (nodes.segmentation, *nodes.boxes))
    assert a_panel.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode").GetForegroundVolumeID() is None
    a_panel.ui.showSegments.checked = False  # no choice may give them away
    a_panel.ui.showSegments.checked = True
    assert not nodes.segmentation.GetDisplayNode().GetVisibility()
    a_panel.ui.readButton.click()
    assert a_panel.ui.findingsTable.rowCount == 7
    assert nodes.segmentation.GetDisplayNode().GetVisibility()


def test_the_findings_wait_too_when_the_run_ends_after_the_module_was_left(a_panel):
    a_panel.ui.hideUntilRead.checked = True
    a_panel.panel.detach()
    nodes = with_findings(a_panel, a_panel.node).nodes
    assert not any(node.GetDisplayNode().GetVisibility() for node in (nodes.segmentation, *nodes.boxes))
    assert a_panel.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode").GetForegroundVolumeID() is None


@pytest.mark.parametrize("curve", [True, False])
def test_a_result_of_the_command_is_opened_with_a_curve(a_panel, tmp_path, curve):
    from CSpineFractureLib.panel.slice_probabilities import SLICE_CHART, add_slice_table

    volume = volume_of_node(a_panel.node)
    output = pretended(volume, RunContext())
    nodes = build_scene(a_panel.scene, volume, output, a_panel.node)
    if curve:
        add_slice_table(a_panel.scene, nodes, output.result)
    save_scene(a_panel.scene, tmp_path / "scene.mrb")
    a_panel.panel.detach()
    a_panel.scene.Clear(False)
    a_panel.panel.attach(a_panel.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    a_panel.ui.resultPath.currentPath = str(tmp_path)
    a_panel.ui.openButton.click()
    assert a_panel.ui.plotLabel.pixmap.width() > 0
    assert len(marked_nodes(a_panel.scene, SLICE_CHART)) == 1
    assert "Opened" in a_panel.ui.statusLabel.text


def test_copies_wait_to_be_read_too(a_panel):
    a_panel.ui.hideUntilRead.checked = True
    box = with_findings(a_panel, a_panel.node).nodes.vertebra_boxes[0]
    copy = a_panel.scene.AddNewNodeByClass(box.GetClassName(), "copy")
    copy.Copy(box)
    copy.CreateDefaultDisplayNodes()
    copy.GetDisplayNode().SetVisibility(True)
    a_panel.panel.results.refresh()
    assert not copy.GetDisplayNode().GetVisibility()


def test_the_readers_own_window_stays_until_another_is_chosen(shown):
    display = shown.node.GetDisplayNode()
    display.SetWindowLevel(350, 40)
    shown.ui.showSegments.checked = False
    shown.ui.camOpacity.setValue(0.8)
    shown.panel.results.refresh()
    assert (display.GetLevel(), display.GetWindow()) == (40, 350)
    shown.ui.windowBox.setCurrentIndex(2)
    assert (display.GetLevel(), display.GetWindow()) == (700, 4000)


def test_a_result_that_is_opened_is_shown_on_its_own_ct_and_opens_once(shown, tmp_path):
    from CSpineFractureLib.panel.self_test_panel import add_block
    from CSpineFractureLib.panel.slice_probabilities import SLICE_CHART

    first = shown.panel.results.study
    result = stored_result(shown.nodes)
    save_scene(shown.scene, tmp_path / "scene.mrb")
    write_result(result, tmp_path / "result.json")
    shown.scene.Clear(False)
    shown.panel.attach(shown.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    other = add_block(shown.scene, "other neck")
    with_findings(shown, other)
    second = shown.panel.results.study
    assert second != first
    shown.ui.resultPath.currentPath = str(tmp_path)
    shown.ui.openButton.click()
    composite = shown.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert shown.panel.results.study == first
    assert len(marked_nodes(shown.scene, SLICE_CHART)) == 2
    opened = nodes_of_scene(shown.scene, first)
    assert composite.GetBackgroundVolumeID() == opened.volume.GetID() != other.GetID()
    assert opened.segmentation.GetDisplayNode().GetVisibility()
    assert not nodes_of_scene(shown.scene, second).segmentation.GetDisplayNode().GetVisibility()
    shown.ui.studyBox.setCurrentIndex(1)
    shown.ui.openButton.click()
    assert "in the scene already" in shown.ui.statusLabel.text
    assert shown.panel.results.study == first
    assert shown.ui.studyBox.count == 2


def test_two_volumes_do_not_mix(shown):
    from CSpineFractureLib.panel.self_test_panel import add_block

    first = shown.panel.results.study
    other = add_block(shown.scene, "other neck")
    with_findings(shown, other)
    old, new = (nodes_of_scene(shown.scene, study) for study in (first, shown.panel.results.study))
    assert (old.volume.GetName(), new.volume.GetName()) == ("neck", "other neck")
    assert re.fullmatch(r"2: other neck \(20\d\d-\d\d-\d\d \d\d:\d\d\)", shown.ui.studyBox.itemText(0))
    composite = shown.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == other.GetID()
    shown.ui.studyBox.setCurrentIndex(1)
    assert composite.GetBackgroundVolumeID() == old.volume.GetID()
    assert old.segmentation.GetDisplayNode().GetVisibility()
    assert not new.segmentation.GetDisplayNode().GetVisibility()


def test_a_change_of_the_findings_table_is_shown(shown):
    table = shown.nodes.table
    table.SetCellText(3, table.GetColumnIndex("fracture probability"), "0.770")
    table.Modified()
    assert cell(shown, 3, 1).strip() == "77%"


def test_a_deleted_findings_table_or_study_leaves_the_panel_usable(shown):
    shown.scene.RemoveNode(shown.nodes.table)
    shown.panel.results.refresh()
    assert shown.ui.findingsTable.rowCount == 0
    shown.ui.showSegments.checked = False
    shown.scene.RemoveNode(shown.nodes.segmentation)
    assert shown.ui.studyBox.count == 0
    assert not any(box.GetDisplayNode().GetVisibility() for box in shown.nodes.boxes)
    assert shown.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode").GetForegroundVolumeID() is None
    assert "No findings yet" in shown.ui.findingLabel.text


def test_a_saved_scene_reopens_with_findings_and_choices(shown, slicer_program, tmp_path):
    shown.ui.camOpacity.setValue(0.7)
    shown.ui.hideUntilRead.checked = True
    shown.ui.readButton.click()
    study = shown.panel.results.study
    path = save_scene(shown.scene, tmp_path / "scene.mrb")
    shown.panel.detach()
    shown.scene.Clear(False)
    shown.panel.attach(shown.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    assert shown.ui.findingsTable.rowCount == 0
    shown.panel.detach()
    shown.scene.Clear(False)
    load_scene(shown.scene, path)
    shown.panel.attach(shown.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
    assert studies_in(shown.scene) == [study]
    assert shown.ui.findingsTable.rowCount == 7
    assert shown.ui.camOpacity.value == pytest.approx(0.7)
    assert shown.ui.inputSelector.currentNode().GetName() == "neck"
    assert shown.ui.plotLabel.pixmap.width() > 0


def test_an_earlier_result_that_is_not_there_is_told(shown, tmp_path):
    shown.ui.resultPath.currentPath = str(tmp_path)
    shown.ui.openButton.click()
    assert "does not exist" in shown.ui.statusLabel.text


def test_every_control_has_a_tooltip(a_panel):
    controls = ("QPushButton", "QComboBox", "QCheckBox", "ctkSliderWidget", "qMRMLNodeComboBox", "QTableWidget")
    bare = [name for name, one in vars(a_panel.ui).items() if one.className() in controls and not one.toolTip]
    assert bare == []


def test_time_left_is_told_once_a_stage_is_under_way(slicer_program):
    from CSpineFractureLib.panel.messages import time_left
    from CSpineFractureLib.panel.stage_clock import StageClock

    now = [0.0]
    clock = StageClock(lambda: now[0])
    event = {"stage": "slices", "done": 0, "total": 100, "message": "Classifying"}
    assert clock.take(event).text == "Step 1: Classifying (0 of 100)"
    now[0] = 10.0
    assert clock.take({**event, "done": 25}).text == "Step 1: Classifying (25 of 100), about 30 s left"
    assert clock.take({**event, "stage": "boxes", "total": 0}).text == "Step 2: Classifying"
    assert time_left(190) == "about 3 min left"


def test_known_faults_are_told_in_plain_words(slicer_program):
    from CSpineFractureLib.panel.messages import plain_failure

    assert plain_failure("ModuleNotFoundError: No module named 'PIL.Image'").startswith("The Python package pillow")
    assert plain_failure("No module named 'torch'").endswith("press Install in the section Setup, then Apply again.")
    assert "only in part" in plain_failure("AttributeError: module 'torch' has no attribute '__version__'")
    assert "free some space" in plain_failure("OSError: [Errno 28] No space left on device")
    assert plain_failure("something else") == "something else"
