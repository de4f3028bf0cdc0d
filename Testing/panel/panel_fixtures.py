"""What the panel's tests share: the desktop program's stand-in, a worker with the fake profile, and an open panel."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from CSpineFractureLib.pipeline.worker_client import WorkerClient

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


def scene_text(scene) -> str:
    """All nodes of a scene as MRML, as saving it would write them."""
    scene.SetSaveToXMLString(1)
    try:
        scene.Commit()
        return scene.GetSceneXMLString()
    finally:
        scene.SetSaveToXMLString(0)


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, folder: Path, file: str) -> None:
    """From now on ``file`` of each run does not fit on the disk; the other files of a run lie in ``folder``."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    make_folder = tempfile.mkdtemp

    def without_room(**options):
        made = Path(make_folder(dir=folder, **options))
        (made / file).symlink_to("/dev/full")
        return str(made)

    monkeypatch.setattr(tempfile, "mkdtemp", without_room)


def _empty(scene: Any) -> None:
    """Nothing of an earlier test stays, but Slicer's own colour tables do: other tests of this process need them.

    Slice nodes would be written into the scenes of those tests.
    """
    scene.Clear(False)
    for kind in ("vtkMRMLScriptedModuleNode", "vtkMRMLSliceNode"):
        for node in list(scene.GetNodesByClass(kind)):
            scene.RemoveNode(node)


@pytest.fixture
def slicer_program():
    """The module ``slicer`` with an empty scene that has the three slice nodes, a camera and a layout."""
    pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    sys.path.insert(0, str(HERE / "qt_stand_in"))
    import stand_in

    slicer = stand_in.start()
    _empty(slicer.mrmlScene)
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
    _empty(slicer.mrmlScene)


class KeptWorker(WorkerClient):
    """Serves one panel after the other: starting Python, or even torch, takes seconds."""

    def close(self, timeout: float = 0.0) -> None:
        """Drop the run of a panel that goes away, and stay."""
        if self.is_busy:
            self.kill()

    def serve(self, session) -> None:
        """Be the worker of a session from now on."""
        self._on_log = session._log.append if hasattr(session, "_log") else None
        session._client, session._device = self, "auto"


def kept_worker(command: list[str]) -> Iterator[KeptWorker]:
    """Such a worker, which really ends at the end."""
    client = KeptWorker(command)
    yield client
    WorkerClient.close(client)


@pytest.fixture(scope="session")
def the_worker():
    """A worker that knows the profile "fake", for all panels."""
    yield from kept_worker(COMMAND)


@pytest.fixture
def a_panel(slicer_program, the_worker):
    """The panel, open, with a block of bone chosen and the fake profile asked for."""
    from CSpineFractureLib.panel.self_test_panel import OpenPanel, add_block

    node = add_block(slicer_program.mrmlScene)
    with OpenPanel(slicer_program.mrmlScene, fake_worker) as opened:
        the_worker.serve(opened.panel.run.session)
        opened.pretend("fake")
        opened.panel.parameters.inputVolume = node
        opened.node = node
        yield opened
