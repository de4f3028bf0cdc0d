"""The scripted module itself, in the stand-in: it sets up, follows the scene, and its self-tests pass."""

from __future__ import annotations

import importlib.util
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
    from CSpineFractureLib.panel.self_test import add_block

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


def test_the_self_tests_that_run_in_slicer_pass_here(module):
    module.CSpineFractureTest().runTest()


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
