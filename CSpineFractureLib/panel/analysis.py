"""From a CT volume node to findings shown in the scene, inside 3D Slicer. The networks run in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer

from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.panel.commands import worker_command
from CSpineFractureLib.panel.input_check import checked_volume
from CSpineFractureLib.panel.slice_probabilities import add_slice_table
from CSpineFractureLib.pipeline.worker_client import WorkerClient
from CSpineFractureLib.scene.build import build_scene


def analyse(
    node: slicer.vtkMRMLScalarVolumeNode | None,
    profile: str,
    on_message: Callable[[str], None],
    command: Sequence[str] | None = None,
) -> StudyResult:
    """Analyse a CT volume node and show the results beside it: segments, boxes, Grad-CAM and table.

    Waits for the result and calls ``on_message`` with each progress message meanwhile. ``command`` starts the worker;
    by default the program's own Python. Raises ``UserError`` as ``checked_volume`` does, and what
    ``WorkerClient.run`` raises; the scene is then as it was.
    """
    volume = checked_volume(node)

    def on_event(event: dict[str, Any]) -> None:
        on_message(event["message"])

    with WorkerClient(command or worker_command()) as client:
        _grid, study = client.run(volume, profile, on_event=on_event)
    add_slice_table(node.GetScene(), build_scene(node.GetScene(), volume, study, node), study.result)
    return study.result
