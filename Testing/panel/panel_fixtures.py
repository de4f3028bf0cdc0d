"""What the panel's tests share: the desktop program's stand-in, a worker with the fake profile, and an open panel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PIPELINE_TESTS = HERE.parent / "pipeline"
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(PIPELINE_TESTS)!r}); import fake_profile; "
    "from CSpineFractureLib.pipeline.worker import main; main('cpu')"
)
COMMAND = [sys.executable, "-c", PROGRAM]


def fake_worker(_device: str) -> list[str]:
    """Starts a worker that knows the profile "fake"."""
    return COMMAND


@pytest.fixture
def slicer_program():
    """The module ``slicer`` with an empty scene that has the three slice nodes, a camera and a layout."""
    pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    sys.path.insert(0, str(HERE / "qt_stand_in"))
    import stand_in

    slicer = stand_in.start()
    slicer.mrmlScene.Clear(True)
    for name in ("Red", "Yellow", "Green"):
        node = slicer.vtkMRMLSliceNode()
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        slicer.mrmlScene.AddNode(node)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode")
    layout = slicer.vtkMRMLLayoutNode()
    layout.SetSingletonTag("vtkMRMLLayoutNode")
    slicer.mrmlScene.AddNode(layout)
    yield slicer
    slicer.mrmlScene.Clear(True)


@pytest.fixture
def a_panel(slicer_program):
    """The panel, open, with a block of bone chosen and the fake profile asked for."""
    from CSpineFractureLib.panel.self_test import OpenPanel, add_block

    node = add_block(slicer_program.mrmlScene)
    with OpenPanel(slicer_program.mrmlScene, fake_worker) as opened:
        opened.pretend("fake")
        opened.panel.parameters.inputVolume = node
        opened.node = node
        yield opened
