"""From a CT volume node to findings and segments, inside 3D Slicer. The networks run in a worker process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.pipeline.worker_client import WorkerClient
from CSpineFractureLib.volume.ct_volume import CTVolume


def volume_of_node(node: Any) -> CTVolume:
    """The voxels of a scalar volume node as Hounsfield units, in the node's own frame (before its parent transform).

    Raises ``ValueError`` when there is no node or it holds no image.
    """
    if node is None or node.GetImageData() is None:
        message = "Choose a CT volume first."
        raise ValueError(message)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    hu = np.clip(np.rint(slicer.util.arrayFromVolume(node)), -32768, 32767).astype(np.int16)
    return CTVolume(hu, slicer.util.arrayFromVTKMatrix(matrix))


def analyse(node: Any, profile: str, on_message: Callable[[str], None]) -> StudyResult:
    """Analyse a CT volume node and show the vertebrae as segments. Waits, but keeps the program responsive.

    Raises ``ValueError`` as ``volume_of_node`` does, and what ``WorkerClient.run`` raises.
    """
    volume = volume_of_node(node)

    def on_event(event: dict[str, Any]) -> None:
        on_message(event["message"])
        slicer.app.processEvents()

    # Inside the program sys.executable is the program itself, which is no Python.
    python = shutil.which("PythonSlicer") or sys.executable
    with WorkerClient((python, "-m", "CSpineFractureLib.pipeline.worker", "auto")) as client:
        _grid, study = client.run(volume, profile, on_event=on_event)
    show_segments(study.labels, node)
    return study.result


def show_segments(labels: np.ndarray, node: Any) -> Any:
    """A segmentation node with a segment for each level in ``labels`` (uint8 ``[k, j, i]``, 1-7 = C1-C7)."""
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{node.GetName()} vertebrae")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    for level in range(1, 8):
        mask = labels == level
        if mask.any():
            segment = segmentation.GetSegmentation().AddEmptySegment(f"C{level}", f"C{level}")
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segment, node)
    return segmentation
