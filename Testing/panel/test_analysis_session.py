"""An analysis from the panel: its progress, its end, and everything that can go wrong; real MRML, real worker."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

import pytest
import vtk
from panel_fixtures import fill_the_disk, scene_text

from CSpineFractureLib.scene.read_back import nodes_of_scene, studies_in


def start(panel, **thresholds):
    panel.pretend("fake", **thresholds)
    panel.ui.applyButton.click()


def ended(panel):
    return lambda: not panel.panel.run.session.is_busy


def status(panel):
    return panel.ui.statusLabel.text


def test_an_analysis_tells_its_progress_and_shows_its_findings(a_panel):
    told = []
    on_progress = a_panel.panel.run.on_progress
    a_panel.panel.run.on_progress = lambda progress: (told.append(progress), on_progress(progress))
    start(a_panel, steps=5)
    assert a_panel.ui.applyButton.text == "Cancel"
    assert not a_panel.ui.inputSelector.enabled
    a_panel.wait(ended(a_panel))
    assert [one.done for one in told if one.stage == "fake"][:6] == [0, 1, 2, 3, 4, 5]
    assert any("(3 of 5)" in one.text for one in told)
    nodes = nodes_of_scene(a_panel.scene)
    assert nodes.volume.GetID() == a_panel.node.GetID()
    assert a_panel.ui.findingsTable.rowCount == 7
    assert "Find" in a_panel.ui.applyButton.text
    assert a_panel.ui.inputSelector.enabled
    composite = a_panel.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == a_panel.node.GetID()


@pytest.mark.parametrize("step", [1, 5, 9], ids=["10 %", "50 %", "90 %"])
def test_cancel_within_a_second_leaves_the_scene_as_it_was(a_panel, step):
    before = scene_text(a_panel.scene)
    start(a_panel, steps=10, delay=0.15)
    a_panel.wait(lambda: a_panel.ui.progressBar.value >= step)
    pressed = time.monotonic()
    a_panel.ui.applyButton.click()
    a_panel.wait(ended(a_panel))
    assert time.monotonic() - pressed < 1.5
    assert scene_text(a_panel.scene) == before
    assert "as it was" in status(a_panel)


def test_a_deaf_worker_is_ended_within_a_second(a_panel):
    start(a_panel, steps=200, delay=0.05, deaf=1)
    a_panel.wait(lambda: a_panel.ui.progressBar.value >= 2)
    pressed = time.monotonic()
    a_panel.ui.applyButton.click()
    a_panel.wait(ended(a_panel))
    assert time.monotonic() - pressed < 2.0
    assert studies_in(a_panel.scene) == []


def test_a_worker_killed_from_outside_is_told_and_the_next_apply_works(a_panel):
    start(a_panel, steps=100, delay=0.05)
    a_panel.wait(lambda: a_panel.ui.progressBar.value >= 2)
    os.kill(a_panel.panel.run.session.worker_pid, signal.SIGKILL)
    a_panel.wait(ended(a_panel))
    assert "ended unexpectedly" in status(a_panel)
    assert studies_in(a_panel.scene) == []
    start(a_panel)
    a_panel.wait(ended(a_panel))
    assert len(studies_in(a_panel.scene)) == 1


def test_a_second_apply_keeps_the_worker_and_both_results_apart(a_panel):
    a_panel.analyse()
    pid, first = a_panel.panel.run.session.worker_pid, studies_in(a_panel.scene)[0]
    a_panel.analyse()
    assert a_panel.panel.run.session.worker_pid == pid
    assert len(studies_in(a_panel.scene)) == 2
    assert a_panel.panel.results.study != first
    old, new = nodes_of_scene(a_panel.scene, first), nodes_of_scene(a_panel.scene, a_panel.panel.results.study)
    assert not any(box.GetDisplayNode().GetVisibility() for box in old.boxes)
    assert all(box.GetDisplayNode().GetVisibility() for box in new.boxes)


def test_a_scene_closed_during_a_run_gets_nothing(a_panel):
    start(a_panel, steps=60, delay=0.05)
    a_panel.wait(lambda: a_panel.ui.progressBar.value >= 2)
    a_panel.scene.Clear(False)
    a_panel.wait(ended(a_panel), 5.0)
    assert studies_in(a_panel.scene) == []
    assert "removed from the scene" in status(a_panel)


def test_a_ct_deleted_during_a_run_ends_it(a_panel):
    start(a_panel, steps=60, delay=0.05)
    a_panel.wait(lambda: a_panel.ui.progressBar.value >= 2)
    a_panel.scene.RemoveNode(a_panel.node)
    a_panel.wait(ended(a_panel), 5.0)
    assert studies_in(a_panel.scene) == []
    assert not a_panel.ui.applyButton.enabled


def test_results_of_a_ct_under_a_linear_transform_move_with_it(a_panel):
    transform = a_panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    a_panel.node.SetAndObserveTransformNodeID(transform.GetID())
    a_panel.analyse()
    nodes = nodes_of_scene(a_panel.scene)
    assert {node.GetTransformNodeID() for node in (nodes.segmentation, *nodes.boxes)} == {transform.GetID()}


def test_a_ct_under_a_non_linear_transform_is_refused_with_the_remedy(a_panel, slicer_program):
    grid = slicer_program.vtkOrientedGridTransform()
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 2)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    grid.SetDisplacementGridData(image)
    transform = a_panel.scene.AddNewNodeByClass("vtkMRMLTransformNode", "tilt")
    transform.SetAndObserveTransformToParent(grid)
    a_panel.node.SetAndObserveTransformNodeID(transform.GetID())
    a_panel.ui.applyButton.click()
    assert "non-linear transform" in status(a_panel)
    assert "Harden" in status(a_panel)
    assert not a_panel.panel.run.session.is_busy


@pytest.fixture
def without_torch(slicer_program):
    """A panel whose worker, the given program, finds no torch."""

    def opened(program, profile):
        block = "\n".join(
            (
                "import sys",
                "class NoTorch:",
                "    def find_spec(self, name, path=None, target=None):",
                "        if name.partition('.')[0] == 'torch':",
                "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)",
                "sys.meta_path.insert(0, NoTorch())",
            )
        )
        panel = OpenPanel(slicer_program.mrmlScene, lambda device: [sys.executable, "-c", f"{block}\n{program}"])
        panels.enter_context(panel)
        panel.pretend(profile)
        panel.panel.parameters.inputVolume = add_block(slicer_program.mrmlScene)
        panel.analyse()
        return panel

    from CSpineFractureLib.panel.self_test_panel import OpenPanel, add_block

    with contextlib.ExitStack() as panels:
        yield opened


def test_a_missing_torch_is_told_in_plain_words(without_torch):
    panel = without_torch("from CSpineFractureLib.pipeline.worker import main; main('auto')", "two-stage")
    assert status(panel) == "torch is not installed in Slicer: press Install in the section Setup, then Apply again."


def test_the_self_tests_need_no_torch(without_torch):
    module = "CSpineFractureLib.panel.self_test_worker"
    program = f"import runpy; sys.argv = ['', 'cpu']; runpy.run_module({module!r}, run_name='__main__')"
    panel = without_torch(program, "pretend")
    assert status(panel) == "Done. The findings are below."


@pytest.mark.parametrize("file", ["input.npy", "labels.npy"], ids=["for the CT", "for the results"])
def test_a_full_disk_is_told_in_plain_words(a_panel, monkeypatch, tmp_path, file):
    before = scene_text(a_panel.scene)
    fill_the_disk(monkeypatch, tmp_path, file)
    a_panel.analyse()
    assert status(a_panel) == "The disk for temporary files is full: free some space and press Apply again."
    assert scene_text(a_panel.scene) == before
    monkeypatch.undo()
    a_panel.analyse()
    assert len(studies_in(a_panel.scene)) == 1
    assert list(tmp_path.iterdir()) == []


def test_findings_that_cannot_be_added_leave_the_scene_as_it_was(a_panel, monkeypatch):
    before = {a_panel.scene.GetNthNode(n).GetID() for n in range(a_panel.scene.GetNumberOfNodes())}

    def fails(*_nodes):
        raise MemoryError

    monkeypatch.setattr("CSpineFractureLib.panel.session.add_slice_table", fails)
    a_panel.analyse()
    assert "could not be added to the scene" in status(a_panel)
    assert a_panel.ui.applyButton.text != "Cancel"
    after = {a_panel.scene.GetNthNode(n).GetID() for n in range(a_panel.scene.GetNumberOfNodes())}
    assert after == before
    monkeypatch.undo()
    a_panel.analyse()
    assert len(studies_in(a_panel.scene)) == 1


def test_a_fault_of_the_program_reaches_status_and_log(a_panel):
    start(a_panel, crash=1)
    a_panel.wait(ended(a_panel))
    assert "something broke" in status(a_panel)
    assert "something broke" in a_panel.ui.logText.toPlainText()
    assert a_panel.ui.applyButton.enabled
