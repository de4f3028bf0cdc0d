"""What the section "Correcting" writes and reads: scenes, exports, and networks trained further on them."""

from __future__ import annotations

import shlex
import sys

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")

from correcting_hands import box_named, choose, open_panel, said, show_study, state
from scene_fingerprint import differences, fingerprint

from CSpineFractureLib.datasets.corrections import read_corrections
from CSpineFractureLib.scene.files import load_scene, save_scene
from CSpineFractureLib.scene.read_back import nodes_of_scene


@pytest.fixture
def correcting(slicer_program):
    """The panel with a study of C2 to C6 and a suspected fracture of C4."""
    yield from open_panel(slicer_program)


def test_a_saved_scene_is_reopened_corrected_and_saved_again(correcting, tmp_path):
    choose(correcting, "C4 fracture")
    correcting.ui.acceptButton.click()
    correcting.ui.editButton.click()
    box = box_named(correcting, "C3")
    box.SetCenter(*np.add(box.GetCenter(), [1, 2, 3]))  # not taken in when the scene is saved
    first = save_scene(correcting.scene, tmp_path / "first.mrb")
    saved = state(correcting)[1]
    correcting.scene.Clear(False)
    assert not correcting.ui.correctContents.enabled
    load_scene(correcting.scene, first)
    assert state(correcting)[1] == saved
    assert [one["status"] for one in saved["fractures"]] == ["accepted"]
    assert not correcting.ui.undoButton.enabled
    assert all(one.GetLocked() for one in nodes_of_scene(correcting.scene).boxes)
    choose(correcting, "C6")
    correcting.ui.deleteButton.click()
    again = fingerprint(correcting.scene, "study-1", with_ids=False)
    second = save_scene(correcting.scene, tmp_path / "second.mrb")
    correcting.scene.Clear(False)
    load_scene(correcting.scene, second)
    correcting.panel.correct.corrections_of("study-1")
    assert differences(fingerprint(correcting.scene, "study-1", with_ids=False), again) == []
    assert said(correcting) == ""


def test_an_export_read_again_gives_the_identical_study(correcting, tmp_path):
    correcting.panel.correct.files.choose_folder = lambda title: str(tmp_path / "reviewed")
    ui = correcting.ui
    choose(correcting, "C4 fracture")
    ui.exportCorrectionsButton.click()
    assert "Accept or reject 1 more suspected" in said(correcting)
    ui.acceptButton.click()
    ui.shiftDownButton.click()
    ui.exportCorrectionsButton.click()
    assert said(correcting) == f"Exported to {tmp_path / 'reviewed' / 'study-1'}."
    corrected = state(correcting)
    ui.importCorrectionsButton.click()
    assert said(correcting) == "The study is already as it was exported."
    ui.undoButton.click()
    ui.undoButton.click()
    before = state(correcting)
    assert before[1] != corrected[1]
    ui.importCorrectionsButton.click()
    assert said(correcting) == "Read what was exported."
    now = state(correcting)
    assert now[1] == corrected[1]
    ui.undoButton.click()  # reading is a step, too
    assert state(correcting)[1] == before[1]
    assert differences(state(correcting)[0], before[0]) == []
    now[0].pop("corrections"), corrected[0].pop("corrections")  # the log names another step
    assert differences(now[0], corrected[0]) == []
    assert read_corrections(tmp_path / "reviewed")[0].fractured["C5"]


def test_the_export_of_another_study_is_refused(correcting, tmp_path):
    correcting.panel.correct.files.choose_folder = lambda title: str(tmp_path)
    correcting.ui.exportCorrectionsButton.click()
    show_study(correcting, "study-2")
    correcting.panel.correct.files.choose_folder = lambda title: str(tmp_path / "study-1")
    correcting.ui.importCorrectionsButton.click()
    assert "holds another study" in said(correcting)


def test_fine_tuning_shows_its_command_runs_it_and_installs_what_it_made(correcting, slicer_program, tmp_path):
    files, ui = correcting.panel.correct.files, correcting.ui
    reviewed = tmp_path / "reviewed studies"
    files.choose_folder = lambda title: str(reviewed)
    ui.exportCorrectionsButton.click()
    ui.fineTuneButton.click()
    out = tmp_path / "reviewed studies-networks"
    expected = ["cspine", "train", "two-stage", "--source", "corrections", "--data", str(reviewed)]
    expected += ["--fine-tune", "--effort", "0.4", "-o", str(out)]
    assert shlex.split(ui.trainCommand.plainText) == expected
    ui.copyCommandButton.click()
    assert slicer_program.app.clipboard().text() == ui.trainCommand.plainText
    program = (
        "import sys, pathlib; words = sys.argv[1:]; print('told', words[0], words[-1].rpartition('/')[2])\n"
        "if words[0] == 'train': out = pathlib.Path(words[-1]); out.mkdir(); (out / 'net.safetensors').touch()"
    )
    files.program = [sys.executable, "-c", program]
    ui.trainButton.click()
    assert ui.trainButton.text == "Cancel"
    correcting.wait(lambda: not files.child.is_running)
    assert "installed: the next analysis uses them" in ui.trainLabel.text
    log = ui.logText.plainText
    assert log.index("told train") < log.index("told models net.safetensors")


def test_a_training_is_cancelled_and_a_failed_one_says_why(correcting, tmp_path):
    files, ui = correcting.panel.correct.files, correcting.ui
    files.choose_folder = lambda title: str(tmp_path)
    ui.fineTuneButton.click()
    files.program = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
    ui.trainButton.click()
    correcting.wait(lambda: ui.trainLabel.text == "begun")
    ui.trainButton.click()
    assert (ui.trainLabel.text, files.child.is_running) == ("Cancelled.", False)
    files.program = [sys.executable, "-c", "import sys; sys.exit('There are no reviewed studies.')"]
    ui.trainButton.click()
    correcting.wait(lambda: not files.child.is_running)
    assert ui.trainLabel.text == "There are no reviewed studies."
    files.program = ["no-such-program"]
    ui.trainButton.click()
    assert "could not be started" in ui.trainLabel.text
    assert ui.trainButton.text == "Train and install"


def test_a_missing_package_is_told_and_not_needed_before(correcting, tmp_path, monkeypatch):
    for name in [one for one in sys.modules if one.startswith(("CSpineFractureLib.panel.corrections_export", "yaml"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "CSpineFractureLib.datasets.yolo", None)
    correcting.panel.correct.files.choose_folder = lambda title: str(tmp_path)
    correcting.ui.exportCorrectionsButton.click()
    assert "install what is missing in the section Setup" in said(correcting)
    assert list(tmp_path.iterdir()) == []
