"""The section "Correcting" where something is missing, hidden, deleted or left."""

from __future__ import annotations

import sys

import psutil
import pytest

pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")

from correcting_hands import events, open_panel, said, show_study

from CSpineFractureLib.scene.read_back import nodes_of_scene


@pytest.fixture
def panel(slicer_program):
    """A panel without any study."""
    yield from open_panel(slicer_program, with_study=False)


@pytest.fixture
def correcting(slicer_program):
    """The panel with a study of C2 to C6 and a suspected fracture of C4."""
    yield from open_panel(slicer_program)


def test_a_study_whose_segmentation_was_deleted_is_told_in_one_sentence(correcting):
    correcting.ui.editButton.click()
    boxes = nodes_of_scene(correcting.scene).boxes
    correcting.scene.RemoveNode(nodes_of_scene(correcting.scene).segmentation)
    assert said(correcting).startswith("The results are no longer in the scene")
    assert said(correcting).count(". ") == 0
    assert not correcting.ui.correctContents.enabled
    assert all(box.GetLocked() for box in boxes)
    events(correcting)


def test_a_segmentation_deleted_while_its_segments_are_edited_puts_the_editor_away(correcting):
    correcting.ui.segmentsButton.click()
    correcting.scene.RemoveNode(nodes_of_scene(correcting.scene).segmentation)
    assert not correcting.panel.correct.segments.is_open
    assert said(correcting).startswith("The results are no longer in the scene")


def test_a_study_without_its_ct_can_be_corrected_but_its_segments_not_edited(correcting):
    correcting.scene.RemoveNode(nodes_of_scene(correcting.scene).volume)
    correcting.ui.shiftUpButton.click()
    assert said(correcting) == "All levels shifted up by one."
    correcting.ui.segmentsButton.click()
    assert "The CT of the study is no longer in the scene" in said(correcting)
    assert not correcting.ui.segmentsButton.checked


def test_results_of_an_older_version_are_told_and_not_corrected(correcting):
    correcting.scene.RemoveNode(nodes_of_scene(correcting.scene).result)
    correcting.panel.results.refresh()
    assert "come from an older version" in said(correcting)
    assert not correcting.ui.correctContents.enabled


def test_nothing_can_be_pressed_without_a_study_or_while_the_findings_are_hidden(panel):
    steps = ["edit", "undo", "redo", "accept", "reject", "delete", "changeLevel", "segments", "exportCorrections"]
    steps += ["addFracture", "addVertebra", "shiftUp", "shiftDown", "importCorrections"]
    names = [*(f"{step}Button" for step in steps), "commentLine"]

    def enabled():
        return [name for name in names if getattr(panel.ui, name).enabled]

    assert enabled() == []
    panel.ui.hideUntilRead.checked = True
    show_study(panel)
    assert enabled() == []
    assert panel.ui.correctionBox.count == 0
    panel.ui.readButton.click()
    assert set(enabled()) == set(names) - {"undoButton", "redoButton", "acceptButton", "rejectButton", "commentLine"}


def test_leaving_the_module_keeps_the_steps_and_locks_the_boxes(correcting):
    correcting.ui.shiftUpButton.click()
    correcting.ui.editButton.click()
    node = correcting.panel.parameters.parameterNode
    correcting.panel.detach()
    assert all(box.GetLocked() for box in nodes_of_scene(correcting.scene).boxes)
    correcting.panel.attach(node)
    correcting.ui.undoButton.click()
    assert said(correcting) == "Undone: All levels shifted up by one."


def test_a_training_goes_on_when_the_module_is_left_and_ends_with_the_panel(correcting, tmp_path):
    files = correcting.panel.correct.files
    files.choose_folder = lambda title: str(tmp_path)
    program = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import os, time; "
        "print(os.getpid(), flush=True); time.sleep(60)'])"
    )
    files.program = [sys.executable, "-c", program]
    correcting.ui.fineTuneButton.click()
    correcting.ui.trainButton.click()
    correcting.wait(lambda: correcting.ui.trainLabel.text.isdigit())
    correcting.panel.detach()
    assert files.child.is_running
    correcting.panel.close()
    assert not files.child.is_running
    child = int(correcting.ui.trainLabel.text)
    correcting.wait(lambda: not psutil.pid_exists(child), 5.0)


def test_a_training_can_be_cancelled_while_no_study_is_shown(correcting, tmp_path):
    files = correcting.panel.correct.files
    files.choose_folder = lambda title: str(tmp_path)
    files.program = [sys.executable, "-c", "import time; time.sleep(60)"]
    correcting.ui.fineTuneButton.click()
    correcting.ui.trainButton.click()
    correcting.ui.hideUntilRead.checked = True
    assert not correcting.ui.exportCorrectionsButton.enabled
    assert correcting.ui.trainButton.enabled
    correcting.ui.trainButton.click()
    assert not files.child.is_running
