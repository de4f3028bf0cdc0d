"""The section "Correcting" driven as a user drives it: the real .ui, real MRML, a small synthetic study."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")

from correcting_hands import (
    box_named,
    choose,
    drag,
    erase,
    events,
    look_at,
    open_panel,
    press_enter,
    said,
    show_study,
    state,
)
from scene_fingerprint import differences

from CSpineFractureLib.scene.boxes_node import box_of_node
from CSpineFractureLib.scene.read_back import nodes_of_scene, stored_result


@pytest.fixture
def correcting(slicer_program):
    """The panel with a study of C2 to C6 and a suspected fracture of C4."""
    yield from open_panel(slicer_program)


def press(name):
    return lambda panel: getattr(panel.ui, name).click()


def on_vertebra(level, name):
    return lambda panel: (choose(panel, level), getattr(panel.ui, name).click())


def at_level(level, name):
    def correct(panel):
        look_at(panel, level)
        panel.ui.levelBox.setCurrentText("C7")
        getattr(panel.ui, name).click()

    return correct


def change_level(finding, level):
    def correct(panel):
        choose(panel, finding)
        panel.ui.levelBox.setCurrentText(level)
        panel.ui.changeLevelButton.click()

    return correct


def comment(panel):
    panel.ui.commentLine.setText(" on two slices ")
    press_enter(panel)


def move_box(panel):
    drag(panel, "C3", [2, 1, 0])
    events(panel)


def resize_box(panel):
    box = box_named(panel, "C5")
    box.SetSize(*np.add(box.GetSize(), [4, 0, 2]))
    box.InvokeEvent(box.PointEndInteractionEvent)
    events(panel)


def delete_in_scene(panel):
    panel.scene.RemoveNode(box_named(panel, "C6"))
    events(panel)


def edit_segments(panel):
    panel.ui.segmentsButton.click()
    erase(panel)
    erase(panel, "C5")
    panel.ui.segmentsButton.click()


CORRECTIONS = (
    (press("acceptButton"), "Fracture of C4 accepted"),
    (press("rejectButton"), "Fracture of C4 rejected"),
    (press("deleteButton"), "Fracture of C4 deleted"),
    (on_vertebra("C5", "deleteButton"), "C5 deleted"),
    (at_level("C5", "addFractureButton"), "Fracture of C7 added"),
    (at_level("C6", "addVertebraButton"), "C7 added"),
    (change_level("C4 fracture", "unknown"), "Fracture of C4 changed to unknown"),
    (change_level("C6", "C7"), "C6 changed to C7"),
    (press("shiftUpButton"), "All levels shifted up by one"),
    (press("shiftDownButton"), "All levels shifted down by one"),
    (comment, "Comment changed"),
    (move_box, "Box of C3 moved or resized"),
    (resize_box, "Box of C5 moved or resized"),
    (delete_in_scene, "Box of C6 removed"),
    (edit_segments, "Segments edited: C3 C5"),
)


def test_a_correction_undone_and_redone_leaves_no_trace(correcting):
    ui = correcting.ui
    ui.editButton.click()
    before = state(correcting)
    for correct, text in CORRECTIONS:
        choose(correcting, "C4 fracture")
        correct(correcting)
        ui.editButton.checked or ui.editButton.click()  # editing segments has locked the boxes
        after = state(correcting)
        assert ui.undoButton.toolTip == f"Undo: {text} (Ctrl+Z)"
        assert before[1] != after[1], text
        assert after[0]["result"]["json"] == after[1], text
        ui.undoButton.click()
        assert said(correcting) == f"Undone: {text}."
        assert differences(state(correcting)[0], before[0]) == [], text
        assert state(correcting)[1] == before[1], text
        assert not ui.undoButton.enabled
        ui.redoButton.click()
        assert said(correcting) == f"Redone: {text}."
        assert differences(state(correcting)[0], after[0]) == [], text
        assert state(correcting)[1] == after[1], text
        assert not ui.redoButton.enabled
        ui.undoButton.click()
    assert differences(state(correcting)[0], before[0]) == []


def test_a_verdict_pressed_again_is_withdrawn_and_the_table_follows_every_step(correcting):
    ui = correcting.ui
    choose(correcting, "C4 fracture")
    ui.acceptButton.click()
    assert ui.acceptButton.checked
    assert ui.correctionBox.currentText == "C4 fracture 0.83, accepted"
    ui.acceptButton.click()
    assert not ui.acceptButton.checked
    assert ui.correctionBox.currentText == "C4 fracture 0.83, suggested"
    ui.shiftDownButton.click()
    rows = {ui.findingsTable.item(row, 0).text(): ui.findingsTable.item(row, 3).text() for row in range(7)}
    assert (rows["C2"], rows["C7"]) == ("no", "whole")


def test_boxes_are_locked_until_edit_is_pressed_and_no_other_study_is_unlocked(correcting):
    show_study(correcting, "study-2", "oblique")
    other = state(correcting, "study-1")
    boxes = nodes_of_scene(correcting.scene, "study-2").boxes
    assert all(box.GetLocked() and not box.GetDisplayNode().GetHandlesInteractive() for box in boxes)
    correcting.ui.editButton.click()
    assert not any(box.GetLocked() for box in boxes)
    assert all(box.GetDisplayNode().GetHandlesInteractive() for box in boxes)
    assert differences(state(correcting, "study-1")[0], other[0]) == []
    correcting.ui.editButton.click()
    assert all(box.GetLocked() for box in boxes)
    assert not correcting.ui.undoButton.enabled


def test_two_boxes_dragged_before_the_program_is_idle_are_one_step(correcting):
    before = state(correcting)
    correcting.ui.editButton.click()
    drag(correcting, "C3", [1, 0, 0])
    drag(correcting, "C5", [0, 2, 0])
    events(correcting)
    assert said(correcting) == "Box of C3 moved or resized; Box of C5 moved or resized."
    correcting.ui.undoButton.click()
    correcting.ui.editButton.click()
    assert differences(state(correcting)[0], before[0]) == []


def test_a_box_deleted_in_the_scene_is_a_step(correcting):
    correcting.ui.editButton.click()
    correcting.scene.RemoveNode(box_named(correcting, "C4 fracture"))
    events(correcting)
    assert said(correcting) == "Box of C4 removed."
    correcting.scene.RemoveNode(correcting.scene.AddNewNodeByClass("vtkMRMLTextNode"))
    events(correcting)
    assert said(correcting) == "Box of C4 removed."
    correcting.ui.undoButton.click()
    assert box_named(correcting, "C4 fracture").GetScene() is not None


def test_another_study_is_chosen_with_changes_that_were_not_taken_in(correcting):
    show_study(correcting, "study-2", "mirrored")
    correcting.ui.editButton.click()
    choose(correcting, "C4 fracture")
    correcting.ui.commentLine.setText("below the pedicle")
    box = box_named(correcting, "C3", "study-2")
    box.SetCenter(*np.add(box.GetCenter(), [1, 2, 3]))
    where = box_of_node(box).center_ras
    correcting.ui.studyBox.setCurrentIndex(1)
    result = stored_result(nodes_of_scene(correcting.scene, "study-2"))
    moved = next(one.box.center_ras for one in result.vertebrae if one.level == "C3")
    assert moved == pytest.approx(where, abs=1e-4)
    assert result.fractures[0].comment == "below the pedicle"
    assert all(box.GetLocked() for box in nodes_of_scene(correcting.scene, "study-2").boxes)
    assert not correcting.ui.editButton.checked
    choose(correcting, "C4 fracture")
    assert correcting.ui.commentLine.text == ""
    assert not correcting.ui.undoButton.enabled
    correcting.ui.studyBox.setCurrentIndex(0)
    assert correcting.ui.undoButton.enabled
    correcting.ui.undoButton.click()
    correcting.ui.undoButton.click()
    assert stored_result(nodes_of_scene(correcting.scene, "study-2")).fractures[0].comment == ""


def test_the_segment_editor_works_on_this_study_and_leaves_no_node_behind(correcting):
    ui, before = correcting.ui, correcting.scene.GetNumberOfNodes()
    nodes = nodes_of_scene(correcting.scene)
    ui.segmentsButton.click()
    editor = correcting.panel.correct.segments._widget._object
    assert editor.segmentationNode() is nodes.segmentation
    assert editor.sourceVolumeNode() is nodes.volume
    assert not any(
        one.enabled for one in (ui.deleteButton, ui.shiftUpButton, ui.editButton, ui.exportCorrectionsButton)
    )
    correcting.panel.correct._shortcuts[0]._object.activated.emit()
    assert editor.calls[-1] == "undo"
    erase(correcting)
    correcting.ui.segmentsButton.click()
    assert said(correcting) == "Segments edited: C3."
    assert editor.calls[-2:] == ["effect None", "let go"]
    assert correcting.scene.GetNumberOfNodes() == before
    assert ui.deleteButton.enabled


def test_a_row_of_the_table_and_the_list_choose_the_finding(correcting):
    look_at(correcting, "C5")
    assert (correcting.ui.correctionBox.currentText, correcting.ui.levelBox.currentText) == ("C5", "C5")
    assert not correcting.ui.acceptButton.enabled
    look_at(correcting, "C4")
    assert correcting.ui.correctionBox.currentText == "C4 fracture 0.83, suggested"
    assert correcting.ui.acceptButton.enabled
    choose(correcting, "C2")
    matrix = correcting.scene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetSliceToRAS()
    middle = [matrix.GetElement(row, 3) for row in range(3)]
    assert middle == pytest.approx(box_of_node(box_named(correcting, "C2")).center_ras, abs=1e-3)


def test_a_new_box_lies_where_the_views_meet_or_at_the_crosshair(correcting, slicer_program):
    look_at(correcting, "C5")
    correcting.ui.addFractureButton.click()
    added = stored_result(nodes_of_scene(correcting.scene)).fractures[-1]
    assert correcting.ui.correctionBox.currentText.startswith("C5 fracture 1.00, added")
    assert added.box.center_ras == pytest.approx(box_of_node(box_named(correcting, "C5")).center_ras, abs=1e-3)
    crosshair = correcting.scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(slicer_program.vtkMRMLCrosshairNode.ShowBasic)
    crosshair.SetCrosshairRAS(added.box.center_ras[0] + 5, *added.box.center_ras[1:])
    correcting.ui.addFractureButton.click()
    further = stored_result(nodes_of_scene(correcting.scene)).fractures[-1]
    assert further.box.center_ras[0] == pytest.approx(added.box.center_ras[0] + 5, abs=1e-3)
    crosshair.SetCrosshairRAS(1000.0, 0.0, 0.0)
    correcting.ui.addFractureButton.click()
    assert "outside the CT" in said(correcting)
    assert len(stored_result(nodes_of_scene(correcting.scene)).fractures) == 3


def test_a_new_box_of_a_ct_under_a_transform_is_in_the_own_frame_of_the_study(correcting):
    nodes = nodes_of_scene(correcting.scene)
    transform = correcting.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = transform.GetMatrixTransformToParent()
    matrix.SetElement(0, 3, 40.0)
    transform.SetMatrixTransformToParent(matrix)
    for node in (nodes.volume, nodes.segmentation, *nodes.boxes):
        node.SetAndObserveTransformNodeID(transform.GetID())
    look_at(correcting, "C5")
    correcting.ui.addFractureButton.click()
    added = stored_result(nodes_of_scene(correcting.scene)).fractures[-1]
    assert added.box.center_ras == pytest.approx(box_of_node(box_named(correcting, "C5")).center_ras, abs=1e-3)
    assert box_named(correcting, "C5 fracture").GetTransformNodeID() == transform.GetID()


def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(correcting):
    before = state(correcting)
    choose(correcting, "C2")
    correcting.ui.levelBox.setCurrentText("C3")
    correcting.ui.changeLevelButton.click()
    assert "C3 is taken by another vertebra" in said(correcting)
    look_at(correcting, "C5")
    correcting.ui.levelBox.setCurrentText("unknown")
    correcting.ui.addVertebraButton.click()
    assert "is no level" in said(correcting)
    for _ in range(3):
        correcting.ui.shiftUpButton.click()
    assert "delete C1 first" in said(correcting)
    correcting.ui.undoButton.click()
    assert differences(state(correcting)[0], before[0]) == []


def test_who_and_when_are_logged_with_consent_only(correcting):
    ui, log = correcting.ui, nodes_of_scene(correcting.scene).corrections
    choose(correcting, "C4 fracture")
    assert not ui.authorLine.enabled
    ui.authorLine.setText("Dr Holmes")
    ui.rejectButton.click()
    assert "Holmes" not in log.GetText()
    ui.authorCheck.click()
    assert ui.authorLine.enabled
    ui.acceptButton.click()
    assert '"author": "Dr Holmes", "time": "' in log.GetText()
