"""Where the results stand: under the CT in the subject hierarchy, and under its parent transform."""

from __future__ import annotations

from collections.abc import Iterable

import slicer

FOLDER_NAME = "CSpineFracture results"


def add_folder(scene: slicer.vtkMRMLScene, volume_node: slicer.vtkMRMLScalarVolumeNode) -> int:
    """Add a folder for results under the CT's item, and return the folder's item ID."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(volume_node)
    if item == hierarchy.GetInvalidItemID():
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume_node)
    return hierarchy.CreateFolderItem(item, hierarchy.GenerateUniqueItemName(FOLDER_NAME))


def add_subfolder(scene: slicer.vtkMRMLScene, folder: int, name: str) -> int:
    """Add a folder in a folder, closed, and return its item ID."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateFolderItem(folder, name)
    hierarchy.SetItemExpanded(item, False)
    return item


def put_in_folder(scene: slicer.vtkMRMLScene, folder: int, nodes: Iterable[slicer.vtkMRMLNode | None]) -> None:
    """Move nodes into a folder of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in nodes:
        if node is not None:
            hierarchy.CreateItem(folder, node)


def share_transform(
    volume_node: slicer.vtkMRMLScalarVolumeNode, nodes: Iterable[slicer.vtkMRMLTransformableNode | None]
) -> None:
    """Put nodes under the CT's parent transform, so that they move with it."""
    for node in nodes:
        if node is not None:
            node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
