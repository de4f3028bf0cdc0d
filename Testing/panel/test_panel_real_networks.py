"""The panel with the real worker and the networks that come with the program, on phantoms and real MRML.

The quick tests of ``test_analysis_session`` put the same questions, and more, to a worker with a made-up profile.
"""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from panel_fixtures import fill_the_disk, scene_text

from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.scene.files import load_scene, save_scene
from CSpineFractureLib.scene.read_back import labels_of_node, nodes_of_scene, stored_result, studies_in
from CSpineFractureLib.scene.volume_node import add_volume_node, volume_of_node
from CSpineFractureLib.volume.ct_volume import CTVolume

pytestmark = pytest.mark.slow
#: Seconds for one analysis, the start of the worker included, on a computer that is busy with other things.
PATIENCE_S = 900.0
#: After a second without an answer the worker is killed; the rest is for a computer that is busy with other things.
CANCEL_S = 3.0


@pytest.fixture(scope="module")
def small_ct() -> CTVolume:
    """48 slices of 2 mm with a burst fracture of C4, from the atlas to C6."""
    plan = StudyPlan(
        (0.8, 0.8, 2.0), parse_fractures(["C4:burst"]), width_mm=110.0, depth_mm=110.0, above_mm=12.0, below_mm=-24.0
    )
    study = make_study(5, plan)
    return CTVolume(study.hu, study.ijk_to_ras)


@pytest.fixture
def real_panel(slicer_program):
    """The panel as the program opens it, on the processor; what it tells of the progress is kept."""
    from CSpineFractureLib.panel.commands import worker_command
    from CSpineFractureLib.panel.parameters import DeviceChoice
    from CSpineFractureLib.panel.self_test_panel import OpenPanel

    with OpenPanel(slicer_program.mrmlScene, worker_command) as opened:
        opened.panel.parameters.device = DeviceChoice.CPU
        opened.told = []
        on_progress = opened.panel.run.on_progress
        opened.panel.run.on_progress = lambda progress: (opened.told.append(progress), on_progress(progress))
        yield opened


def busy(panel):
    return panel.panel.run.session.is_busy


def begin(panel, node, told=0):
    """Press Apply for a CT, and wait until that much of the progress was told."""
    panel.panel.parameters.inputVolume = node
    panel.told.clear()
    panel.ui.applyButton.click()
    panel.wait(lambda: len(panel.told) >= told or not busy(panel), PATIENCE_S)
    assert busy(panel), panel.ui.statusLabel.text


def end(panel, seconds=PATIENCE_S):
    panel.wait(lambda: not busy(panel), seconds)
    return panel.ui.statusLabel.text


def analyse(panel, node):
    begin(panel, node)
    assert end(panel) == "Done. The findings are below."
    return nodes_of_scene(panel.scene, panel.panel.results.study)


def test_the_sample_is_analysed_and_shown(real_panel):
    from CSpineFractureLib.panel.sample_data import load_sample

    node = load_sample()
    nodes = analyse(real_panel, node)
    stages = list(dict.fromkeys(one.stage for one in real_panel.told))
    assert len(stages) >= 4
    assert all(one.text.startswith("Step ") for one in real_panel.told)
    result = stored_result(nodes)
    assert {one.task for one in result.models} >= {"slice-classifier", "vertebra-detector"}
    assert {one.level for one in result.vertebrae if one.assessed} >= set(LEVELS[1:6])
    assert any(one.fracture_assessable is True for one in result.vertebrae)
    labels = labels_of_node(nodes.segmentation, volume_of_node(node).shape_kji, result.volume.ijk_to_ras)
    assert len(np.unique(labels)) > 5
    assert real_panel.ui.findingsTable.rowCount == 7
    composite = real_panel.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == node.GetID()
    assert composite.GetForegroundVolumeID() == nodes.cam.GetID()


def test_a_cancel_at_any_time_leaves_the_scene_as_it_was(real_panel, small_ct):
    node = add_volume_node(real_panel.scene, small_ct, "neck")
    analyse(real_panel, node)
    steps, before = len(real_panel.told), scene_text(real_panel.scene)
    for share in (0.1, 0.5, 0.9):
        begin(real_panel, node, told=round(share * steps))
        pressed = time.monotonic()
        real_panel.ui.applyButton.click()
        assert end(real_panel) == "Cancelled. The scene is as it was."
        took = time.monotonic() - pressed
        print(f"cancelled at {share:.0%} ({real_panel.told[-1].stage}) within {took:.2f} s")
        assert took < CANCEL_S
        assert scene_text(real_panel.scene) == before


def test_whatever_happens_during_a_real_run_the_next_one_works(real_panel, small_ct):
    scene = real_panel.scene
    node = add_volume_node(scene, small_ct, "neck")
    begin(real_panel, node, told=2)
    os.kill(real_panel.panel.run.session.worker_pid, signal.SIGKILL)
    assert "ended unexpectedly" in end(real_panel)
    begin(real_panel, node, told=2)
    scene.RemoveNode(node)
    assert "removed from the scene" in end(real_panel) or not real_panel.ui.applyButton.enabled
    assert studies_in(scene) == []
    node = add_volume_node(scene, small_ct, "neck")
    begin(real_panel, node, told=2)
    scene.Clear(False)
    end(real_panel)
    assert studies_in(scene) == []


def test_a_second_apply_keeps_the_worker_and_a_full_disk_leaves_the_scene(real_panel, small_ct, monkeypatch, tmp_path):
    node = add_volume_node(real_panel.scene, small_ct, "neck")
    first = analyse(real_panel, node)
    pid = real_panel.panel.run.session.worker_pid
    second = analyse(real_panel, node)
    assert real_panel.panel.run.session.worker_pid == pid
    assert stored_result(first).to_dict()["vertebrae"] == stored_result(second).to_dict()["vertebrae"]
    assert not any(box.GetDisplayNode().GetVisibility() for box in first.boxes)
    assert all(box.GetDisplayNode().GetVisibility() for box in second.boxes)
    before = scene_text(real_panel.scene)
    fill_the_disk(monkeypatch, tmp_path, "labels.npy")
    begin(real_panel, node)
    assert end(real_panel) == "The disk for temporary files is full: free some space and press Apply again."
    assert scene_text(real_panel.scene) == before


def test_two_cts_one_of_them_transformed_are_saved_corrected_and_saved_again(real_panel, small_ct, tmp_path):
    scene = real_panel.scene
    first = add_volume_node(scene, small_ct, "neck")
    second = add_volume_node(scene, small_ct, "moved neck")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    second.SetAndObserveTransformNodeID(transform.GetID())
    plain, moved = analyse(real_panel, first), analyse(real_panel, second)
    same, other = stored_result(plain).to_dict(), stored_result(moved).to_dict()
    assert [same[part] for part in ("vertebrae", "fractures")] == [other[part] for part in ("vertebrae", "fractures")]
    assert {one.GetTransformNodeID() for one in (moved.segmentation, *moved.boxes)} == {transform.GetID()}
    assert {one.GetTransformNodeID() for one in (plain.segmentation, *plain.boxes)} == {None}

    real_panel.ui.shiftDownButton.click()
    study = real_panel.panel.results.study
    corrected = nodes_of_scene(scene, study).result.GetText()
    for name in ("once.mrb", "twice.mrb"):
        path = save_scene(scene, tmp_path / name)
        real_panel.panel.detach()
        scene.Clear(False)
        load_scene(scene, path)
        real_panel.panel.attach(scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
        assert len(studies_in(scene)) == 2
        assert nodes_of_scene(scene, study).result.GetText() == corrected
        real_panel.panel.results.show(study)
        real_panel.panel.correct.choose_level("C4")
        real_panel.ui.deleteButton.click()
        corrected = nodes_of_scene(scene, study).result.GetText()
        real_panel.ui.undoButton.click()
        assert nodes_of_scene(scene, study).result.GetText() != corrected
        real_panel.ui.redoButton.click()
        assert nodes_of_scene(scene, study).result.GetText() == corrected
