"""From a CT volume node to findings shown in the scene, inside 3D Slicer. The networks run in a worker process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.pipeline.worker_client import WorkerClient
from CSpineFractureLib.scene.build import build_scene
from CSpineFractureLib.scene.volume_node import volume_of_node


def analyse(
    node: slicer.vtkMRMLScalarVolumeNode | None,
    profile: str,
    on_message: Callable[[str], None],
    command: Sequence[str] | None = None,
) -> StudyResult:
    """Analyse a CT volume node and show the results beside it: segments, boxes, Grad-CAM and table.

    Waits for the result and calls ``on_message`` with each progress message meanwhile. ``command`` starts the worker;
    by default the program's own Python. Raises ``UserError`` when there is no node or it holds no CT, and what
    ``WorkerClient.run`` raises; the scene is then as it was.
    """
    if node is None:
        message = "No CT is chosen: load one and choose it under 'CT volume'."
        raise UserError(message)
    volume = volume_of_node(node)

    def on_event(event: dict[str, Any]) -> None:
        on_message(event["message"])

    with WorkerClient(command or _worker_command()) as client:
        _grid, study = client.run(volume, profile, on_event=on_event)
    build_scene(node.GetScene(), volume, study, node)
    return study.result


def _worker_command() -> tuple[str, ...]:
    """Inside 3D Slicer ``sys.executable`` is the program itself, which is no Python; PythonSlicer is."""
    return (shutil.which("PythonSlicer") or sys.executable, "-m", "CSpineFractureLib.pipeline.worker", "auto")
