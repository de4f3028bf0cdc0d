"""The scripted module itself, in the stand-in: it sets up, follows the scene, and its self-tests pass."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "CSpineFracture" / "CSpineFracture.py"


@pytest.fixture
def module(slicer_program, monkeypatch):
    monkeypatch.setattr("CSpineFractureLib.panel.panel.device_command", lambda device: [sys.executable, "-c", ""])
    spec = importlib.util.spec_from_file_location("CSpineFracture", SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_widget_sets_up_and_survives_a_closed_scene(module, slicer_program):
    widget = module.CSpineFractureWidget()
    widget.setup()
    assert not widget.ui.applyButton.enabled
    assert "Research use only" in widget.ui.bannerLabel.text
    from CSpineFractureLib.panel.self_test_panel import add_block

    node = add_block(slicer_program.mrmlScene)
    widget.ui.inputSelector.setCurrentNode(node)
    assert widget.ui.applyButton.enabled
    slicer_program.mrmlScene.Clear(False)
    assert not widget.ui.applyButton.enabled
    widget.cleanup()


def test_choices_survive_leaving_the_module_and_a_closed_scene_starts_anew(module, slicer_program):
    widget = module.CSpineFractureWidget()
    widget.setup()
    ui = widget.ui
    for box in (ui.profileBox, ui.deviceBox, ui.windowBox):
        box.setCurrentIndex(1)
    ui.camOpacity.setValue(0.7)
    for _ in range(2):
        widget.exit()
        widget.enter()
    assert [box.currentIndex for box in (ui.profileBox, ui.deviceBox, ui.windowBox)] == [1, 1, 1]
    slicer_program.mrmlScene.Clear(False)
    assert [box.currentIndex for box in (ui.profileBox, ui.deviceBox, ui.windowBox)] == [0, 0, 0]
    assert ui.camOpacity.value == 0.45
    widget.cleanup()


def test_a_closed_scene_does_not_wake_a_module_that_is_not_shown(module, slicer_program):
    widget = module.CSpineFractureWidget()
    widget.setup()
    widget.exit()
    slicer_program.mrmlScene.Clear(False)
    assert widget.panel.parameters is None
    widget.enter()
    slicer_program.mrmlScene.Clear(False)
    assert widget.panel.parameters is not None
    widget.cleanup()


def test_a_ct_that_is_loaded_later_is_chosen_by_itself_and_a_choice_stays(module, slicer_program):
    from CSpineFractureLib.panel.self_test_panel import OpenPanel, add_block

    with OpenPanel(slicer_program.mrmlScene) as opened:
        assert opened.panel.parameters.inputVolume is None
        slicer_program.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "no CT")
        first = add_block(slicer_program.mrmlScene, "first")
        opened.wait(lambda: opened.panel.parameters.inputVolume is first, 5.0)
        assert opened.ui.applyButton.enabled
        add_block(slicer_program.mrmlScene, "second")
        opened.panel.detach()
        opened.panel.attach(slicer_program.mrmlScene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
        assert opened.panel.parameters.inputVolume is first


def test_a_scene_with_choices_of_another_version_opens(slicer_program):
    from CSpineFractureLib.panel.self_test_panel import PARAMETERS, OpenPanel

    node = slicer_program.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", PARAMETERS)
    for name, value in (("profile", "OF_NEXT_YEAR"), ("device", "CUDA"), ("window", "")):
        node.SetParameter(name, value)
    with OpenPanel(slicer_program.mrmlScene) as opened:
        assert opened.panel.parameters.profile.name == "TWO_STAGE"
        assert opened.panel.parameters.device.name == "CUDA"
        assert opened.panel.parameters.window.name == "BONE"


def test_a_scene_with_choices_of_another_version_may_be_imported_while_the_panel_is_open(module, slicer_program):
    widget, scene = module.CSpineFractureWidget(), slicer_program.mrmlScene
    widget.setup()
    scene.StartState(scene.ImportState)
    node = widget.logic.getParameterNode()
    node.SetParameter("profile", "OF_NEXT_YEAR")
    scene.EndState(scene.ImportState)
    assert node.GetParameter("profile") != "OF_NEXT_YEAR"
    assert widget.panel.parameters.profile.name == "TWO_STAGE"
    assert widget.ui.profileBox.currentIndex == 0
    widget.cleanup()


def test_the_start_of_slicer_imports_nothing_slow():
    """Slicer makes each module's class when it starts, whether the module is opened or not."""
    program = f"""
import sys, types
sys.path.insert(0, {str(SCRIPT.parents[1])!r})
sys.modules["slicer"] = types.ModuleType("slicer")
from CSpineFractureLib.panel.sample_data import register_sample_data
from CSpineFractureLib.resources import resource_path
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{"numpy", "scipy", "vtk", "torch", "SimpleITK"}}))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert run.stdout == "[]\n", run.stderr


def test_the_sample_is_shown_when_it_is_loaded(slicer_program, tmp_path):
    import numpy as np

    from CSpineFractureLib.panel.sample_ct import SHA256
    from CSpineFractureLib.panel.sample_data import NAME, load_sample

    scene = slicer_program.mrmlScene
    cache = slicer_program.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(tmp_path))
    before = scene.GetCacheManager()
    scene.SetCacheManager(cache)
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    np.savez(tmp_path / f"cspine-{SHA256[:8]}.npz", hu=np.zeros((9, 8, 7), np.int16), ijk_to_ras=np.eye(4))
    try:
        node = load_sample()
    finally:
        scene.SetCacheManager(before)
    assert node.GetName() == NAME
    assert composite.GetBackgroundVolumeID() == node.GetID()


def test_reload_reads_the_library_anew(module, slicer_program):
    widget = module.CSpineFractureWidget()
    widget.setup()
    kept = {name: one for name, one in sys.modules.items() if name.partition(".")[0] == "CSpineFractureLib"}
    try:
        widget.onReload()
        assert not [name for name in sys.modules if name.startswith("CSpineFractureLib")]
    finally:
        sys.modules.update(kept)
        widget.cleanup()


def test_the_self_tests_that_run_in_slicer_pass_here(module, caplog):
    module.CSpineFractureTest().runTest()
    assert "was left out" not in caplog.text


def test_a_self_test_whose_package_is_missing_is_left_out_visibly(module, monkeypatch, caplog):
    from CSpineFractureLib.panel import self_test, self_test_files

    find = self_test_files.importlib.util.find_spec
    lacks = lambda name: None if name == "highdicom" else find(name)  # noqa: E731
    monkeypatch.setattr(self_test_files.importlib.util, "find_spec", lacks)
    monkeypatch.setattr(self_test, "CHECKS", (self_test.check_dicom_export, self_test.check_report))
    module.CSpineFractureTest().runTest()
    assert "check_dicom_export was left out: The Python package highdicom is not installed." in caplog.text
    assert "check_report" not in caplog.text


def test_the_module_registers_its_sample_when_the_program_has_started(module, slicer_program):
    class Parent:
        pass

    registered = {}
    slicer_program.app.connected.clear()
    module.CSpineFracture(Parent())
    sys.modules["SampleData"] = type("SampleData", (), {})
    sys.modules["SampleData"].SampleDataLogic = type(
        "Logic", (), {"registerCustomSampleDataSource": staticmethod(lambda **source: registered.update(source))}
    )
    for signal, target in slicer_program.app.connected:
        assert signal == "startupCompleted()"
        target()
    assert Path(registered["thumbnailFileName"]).is_file()
    assert callable(registered["customDownloader"])


def test_the_stand_in_refuses_what_the_program_does_not_have(slicer_program):
    import inventory
    import qt

    if not inventory.FILE.is_file():
        pytest.skip("no list of what the program has at ../shared/slicer-api/slicer_api.json")

    with pytest.raises(AttributeError, match="no frobnicate"):
        qt.QPushButton().frobnicate()
    with pytest.raises(AttributeError, match="no signal"):
        qt.QPushButton().connect("pushed()", print)
