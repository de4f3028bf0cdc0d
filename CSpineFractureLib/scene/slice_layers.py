"""What the slice views show: the CT, and the Grad-CAM over it."""

from __future__ import annotations

import slicer

SLICE_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
"""Slicer's three slice views and their orientations."""
CAM_OPACITY = 0.45


def show_layers(
    scene: slicer.vtkMRMLScene,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    cam_node: slicer.vtkMRMLScalarVolumeNode | None,
) -> None:
    """Show the CT in every slice view, with the Grad-CAM over it.

    A scene without views gets the composite nodes of Slicer's three, so that a saved scene opens as it should look.
    """
    for name in SLICE_VIEWS:
        _composite_node(scene, name)
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        composite.SetBackgroundVolumeID(volume_node.GetID())
        composite.SetForegroundVolumeID(cam_node.GetID() if cam_node is not None else None)
        composite.SetForegroundOpacity(CAM_OPACITY if cam_node is not None else 0.0)


def _composite_node(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLSliceCompositeNode:
    found = scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")
    if found is not None:
        return found
    node = slicer.vtkMRMLSliceCompositeNode()
    node.SetLayoutName(name)
    node.SetSingletonTag(name)
    node.SetName(f"{name}Composite")
    return scene.AddNode(node)
