"""Where the results stand: under the CT in the subject hierarchy, and under its parent transform."""

from __future__ import annotations

from collections.abc import Iterable

import slicer
import vtk

FOLDER_NAME = "CSpineFracture results"
VERTEBRA_FOLDER, FRACTURE_FOLDER = "Vertebra boxes", "Suspected fractures"


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


def put_beside(scene: slicer.vtkMRMLScene, neighbour: slicer.vtkMRMLNode, name: str, node: slicer.vtkMRMLNode) -> None:
    """Move a node into the folder ``name`` that stands beside ``neighbour``; the folder is made where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(neighbour))
    item = hierarchy.GetItemChildWithName(folder, name) or add_subfolder(scene, folder, name)
    hierarchy.CreateItem(item, node)


def take_out(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    """Take a node's item out of the hierarchy, with the folder around it where that is empty then; the node stays."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item == hierarchy.GetInvalidItemID():
        return
    folder = hierarchy.GetItemParent(item)
    hierarchy.RemoveItem(item, False, False)
    inside = vtk.vtkIdList()
    hierarchy.GetItemChildren(folder, inside, False)
    if inside.GetNumberOfIds() == 0:
        hierarchy.RemoveItem(folder, False, False)


def share_transform(
    volume_node: slicer.vtkMRMLScalarVolumeNode, nodes: Iterable[slicer.vtkMRMLTransformableNode | None]
) -> None:
    """Put nodes under the CT's parent transform, so that they move with it."""
    for node in nodes:
        if node is not None:
            node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
