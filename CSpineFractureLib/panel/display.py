"""What of a study is shown: segments, boxes, level names and Grad-CAM, and in which window the CT."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from CSpineFractureLib.findings.study_output import CAM_SHOWN
from CSpineFractureLib.panel.findings_rows import level_rows
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.cam_node import TOP_OPACITY, volume_rendering_of
from CSpineFractureLib.scene.read_back import nodes_of_scene
from CSpineFractureLib.volume.windows import Window


@dataclass(frozen=True)
class Shown:
    """The display choices. ``cam_opacity`` over the slices and ``cam_threshold`` are 0..1."""

    segments: bool = True
    vertebra_boxes: bool = True
    fracture_boxes: bool = True
    level_names: bool = True
    cam: bool = True
    cam_opacity: float = 0.45
    cam_threshold: float = CAM_SHOWN


NOTHING = Shown(False, False, False, False, False)


def show_study(scene: slicer.vtkMRMLScene, study: str | None, shown: Shown) -> None:
    """Show one study as chosen and hide all else that is marked as ours, so that two studies never mix.

    ``None`` hides all, the user's copies of nodes too. What is left of a study whose segments were deleted is hidden.
    """
    for role in (roles.SEGMENTATION, roles.LEVEL_NAMES, roles.VERTEBRA_BOX, roles.FRACTURE_BOX):
        for node in _of_others(scene, role, study):
            node.SetDisplayVisibility(False)
    for cam in _of_others(scene, roles.CAM, study):
        _apply_cam(scene, cam, NOTHING)
    if study is not None:
        _apply(scene, nodes_of_scene(scene, study), shown)


def _of_others(scene: slicer.vtkMRMLScene, role: str, study: str | None) -> list[slicer.vtkMRMLNode]:
    nodes = roles.marked_nodes(scene, role)
    return [node for node in nodes if study is None or node.GetAttribute(roles.STUDY) != study]


def show_volume(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Put a CT into every slice view."""
    for composite in _composites(scene):
        composite.SetBackgroundVolumeID(node.GetID())


def set_window(node: slicer.vtkMRMLScalarVolumeNode, window: Window) -> None:
    """Show a CT in a window (HU)."""
    display = node.GetDisplayNode()
    if display is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(window.width, window.centre)


def _apply(scene: slicer.vtkMRMLScene, nodes: SceneNodes, shown: Shown) -> None:
    for node in (nodes.segmentation, nodes.level_names, *nodes.boxes):
        display = None if node is None else node.GetDisplayNode()
        if display is not None:
            display.SetVisibility(_wanted(node.GetAttribute(roles.ROLE), shown))
    if nodes.cam is not None:
        judged = nodes.table is None or any(row.is_assessed for row in level_rows(nodes.table))
        _apply_cam(scene, nodes.cam, shown if judged else NOTHING)


def _wanted(role: str, shown: Shown) -> bool:
    return {
        roles.SEGMENTATION: shown.segments,
        roles.LEVEL_NAMES: shown.level_names,
        roles.VERTEBRA_BOX: shown.vertebra_boxes,
        roles.FRACTURE_BOX: shown.fracture_boxes,
    }[role]


def _apply_cam(scene: slicer.vtkMRMLScene, cam: slicer.vtkMRMLScalarVolumeNode, shown: Shown) -> None:
    rendering = volume_rendering_of(cam)
    if rendering is not None:
        rendering.SetVisibility(shown.cam)
    for composite in _composites(scene):
        if shown.cam:
            composite.SetForegroundVolumeID(cam.GetID())
            composite.SetForegroundOpacity(shown.cam_opacity)
        elif composite.GetForegroundVolumeID() == cam.GetID():
            composite.SetForegroundVolumeID(None)
    if shown.cam:
        low = 255 * shown.cam_threshold
        cam.GetDisplayNode().SetThreshold(low, 255)
        if rendering is not None and rendering.GetVolumePropertyNode() is not None:
            opacity = rendering.GetVolumePropertyNode().GetScalarOpacity()
            opacity.RemoveAllPoints()
            for value, strength in ((0, 0.0), (low, 0.0), ((low + 255) / 2, 0.2 * TOP_OPACITY), (256, TOP_OPACITY)):
                opacity.AddPoint(value, strength)


def _composites(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSliceCompositeNode]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode") for index in range(count)]
