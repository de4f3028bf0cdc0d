"""One radiograph's result as nodes: the picture, its saliency map and what was found."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.arrays import image_data, vtk_matrix
from CSpineFractureLib.scene.cam_node import inferno_node
from CSpineFractureLib.scene.hierarchy import put_in_folder
from CSpineFractureLib.scene.json_node import add_json_node, json_of_node
from CSpineFractureLib.volume.ct_volume import CTVolume

PICTURE, SALIENCY, FOUND = "radiograph", "radiograph saliency", "radiograph result"
"""Roles of the three nodes."""
COLOUR_NODE_NAME = "Saliency colours"
_LEAST_SHOWN = 26
"""Saliency below 26 of 255 (0.1) is not shown: it is everywhere."""


@dataclass
class RadiographNodes:
    """The nodes of one radiograph. ``saliency`` is ``None`` where somebody deleted it."""

    picture: slicer.vtkMRMLScalarVolumeNode
    saliency: slicer.vtkMRMLScalarVolumeNode | None
    found: slicer.vtkMRMLTextNode

    @property
    def result(self) -> StudyResult:
        """What was found. Raises ``UserError`` where the text in the scene is damaged."""
        return StudyResult.from_dict(json_of_node(self.found))


def add_radiograph(
    scene: slicer.vtkMRMLScene, picture: CTVolume, output: StudyOutput, name: str, white: int
) -> RadiographNodes:
    """Add a radiograph and its saliency to the scene, in one folder of the subject hierarchy.

    ``picture`` holds one slice ``[1, j, i]`` of grey, 0 black to ``white``; ``output.cam`` is its saliency, uint8 on
    the same pixels (255 = 1.0). The views are left as they are.
    """
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        colours = inferno_node(scene, COLOUR_NODE_NAME)
        nodes = RadiographNodes(
            picture=_volume(scene, picture.hu, picture, name, "vtkMRMLColorTableNodeGrey", (0, white)),
            saliency=_volume(scene, output.cam, picture, f"{name} saliency", colours.GetID(), (0, 255)),
            found=add_json_node(scene, f"{name} result", output.result.to_dict()),
        )
        display = nodes.saliency.GetDisplayNode()
        display.SetAutoThreshold(False)
        display.SetThreshold(_LEAST_SHOWN, 255)
        display.SetApplyThreshold(True)
        for node, role in ((nodes.picture, PICTURE), (nodes.saliency, SALIENCY), (nodes.found, FOUND)):
            roles.mark(node, role, output.result.id)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        title = hierarchy.GenerateUniqueItemName(f"Radiograph {name}")
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), title)
        put_in_folder(scene, folder, (nodes.picture, nodes.saliency, nodes.found))
    finally:
        scene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    return nodes


def radiograph_of_scene(scene: slicer.vtkMRMLScene) -> RadiographNodes | None:
    """The latest radiograph in the scene whose picture and result are still there."""
    for found in reversed(roles.marked_nodes(scene, FOUND)):
        study = found.GetAttribute(roles.STUDY)
        pictures = roles.marked_nodes(scene, PICTURE, study)
        if pictures:
            return RadiographNodes(pictures[0], next(iter(roles.marked_nodes(scene, SALIENCY, study)), None), found)
    return None


def _volume(
    scene: slicer.vtkMRMLScene, pixels: object, place: CTVolume, name: str, colours: str, window: tuple[int, int]
) -> slicer.vtkMRMLScalarVolumeNode:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(vtk_matrix(place.ijk_to_ras))
    node.SetAndObserveImageData(image_data(pixels))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colours)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    return node
