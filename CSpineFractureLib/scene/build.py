"""A study's results as nodes of a MRML scene: the same in the desktop program and without a window."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import slicer

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.boxes_node import add_fracture_box, add_vertebra_box
from CSpineFractureLib.scene.cam_node import add_cam_node, volume_rendering_of
from CSpineFractureLib.scene.hierarchy import (
    FRACTURE_FOLDER,
    VERTEBRA_FOLDER,
    add_folder,
    add_subfolder,
    put_in_folder,
    share_transform,
)
from CSpineFractureLib.scene.json_node import add_json_node, settled
from CSpineFractureLib.scene.level_names_node import add_level_names_node
from CSpineFractureLib.scene.segmentation_node import add_segmentation_node
from CSpineFractureLib.scene.slice_layers import show_layers
from CSpineFractureLib.scene.table_node import add_table_node
from CSpineFractureLib.scene.volume_node import add_volume_node
from CSpineFractureLib.volume.ct_volume import CTVolume


@dataclass
class SceneNodes:
    """The nodes of one study. ``cam`` is ``None`` where no Grad-CAM was made.

    Boxes stand in the result's order until corrections add some. ``result`` holds ``result.json``, ``corrections`` the
    log of corrections; both are ``None`` in scenes of older versions.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    level_names: slicer.vtkMRMLMarkupsFiducialNode
    table: slicer.vtkMRMLTableNode
    cam: slicer.vtkMRMLScalarVolumeNode | None = None
    vertebra_boxes: list[slicer.vtkMRMLMarkupsROINode] = field(default_factory=list)
    fracture_boxes: list[slicer.vtkMRMLMarkupsROINode] = field(default_factory=list)
    result: slicer.vtkMRMLTextNode | None = None
    corrections: slicer.vtkMRMLTextNode | None = None

    @property
    def boxes(self) -> list[slicer.vtkMRMLMarkupsROINode]:
        """Every box: vertebrae, then suspected fractures."""
        return [*self.vertebra_boxes, *self.fracture_boxes]

    @property
    def shown_cam(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The Grad-CAM where the views show it."""
        rendering = None if self.cam is None else volume_rendering_of(self.cam)
        return self.cam if rendering is not None and rendering.GetVisibility() else None


def build_scene(
    scene: slicer.vtkMRMLScene,
    volume: CTVolume,
    output: StudyOutput,
    volume_node: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> SceneNodes:
    """Add a study's results to a scene and show them in its slice views.

    ``volume_node`` is the CT where the scene has it already; otherwise ``volume`` is added. The results go under the
    CT's item in the subject hierarchy and under its parent transform. The Grad-CAM of a study in which no level's
    fractures could be judged is added but not shown. Raises ``ValueError`` when the labels do not
    have the shape of the result's grid.
    """
    result = output.result
    if output.labels.shape != tuple(result.volume.shape_kji):
        message = f"Labels {output.labels.shape} do not fit the result's grid {tuple(result.volume.shape_kji)}."
        raise ValueError(message)
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        nodes = _add_nodes(scene, volume_node or add_volume_node(scene, volume), output)
        _mark(nodes, result.id)
        _arrange(scene, nodes)
    finally:
        scene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    show_layers(scene, nodes.volume, nodes.shown_cam)
    return nodes


def _add_nodes(
    scene: slicer.vtkMRMLScene, volume_node: slicer.vtkMRMLScalarVolumeNode, output: StudyOutput
) -> SceneNodes:
    result = output.result
    shown = [vertebra for vertebra in result.vertebrae if vertebra.visible != "no"]
    matrix = np.asarray(result.volume.ijk_to_ras, float)
    nodes = SceneNodes(
        volume=volume_node,
        segmentation=add_segmentation_node(scene, output.labels, matrix, volume_node),
        level_names=add_level_names_node(scene, shown),
        table=add_table_node(scene, result),
        vertebra_boxes=[add_vertebra_box(scene, vertebra) for vertebra in shown],
        fracture_boxes=[add_fracture_box(scene, fracture) for fracture in result.fractures],
        result=add_json_node(scene, "Result", settled(result).to_dict()),
        corrections=add_json_node(scene, "Corrections", []),
    )
    if output.cam is not None and output.cam_ijk_to_ras is not None and output.cam.size:
        nodes.cam = add_cam_node(scene, output.cam, output.cam_ijk_to_ras)
        judged = any(vertebra.fracture_assessable is True for vertebra in result.vertebrae)
        volume_rendering_of(nodes.cam).SetVisibility(judged)
    return nodes


def _mark(nodes: SceneNodes, study: str) -> None:
    roles.mark(nodes.volume, roles.VOLUME, study)
    roles.mark(nodes.segmentation, roles.SEGMENTATION, study)
    roles.mark(nodes.level_names, roles.LEVEL_NAMES, study)
    roles.mark(nodes.table, roles.TABLE, study)
    roles.mark(nodes.result, roles.RESULT, study)
    roles.mark(nodes.corrections, roles.CORRECTIONS, study)
    if nodes.cam is not None:
        roles.mark(nodes.cam, roles.CAM, study)
    for box in nodes.vertebra_boxes:
        roles.mark(box, roles.VERTEBRA_BOX, study)
    for box in nodes.fracture_boxes:
        roles.mark(box, roles.FRACTURE_BOX, study)


def _listed(nodes: SceneNodes) -> list[slicer.vtkMRMLNode | None]:
    return [nodes.segmentation, nodes.cam, nodes.table, nodes.level_names, nodes.result, nodes.corrections]


def _arrange(scene: slicer.vtkMRMLScene, nodes: SceneNodes) -> None:
    share_transform(nodes.volume, [nodes.segmentation, nodes.cam, nodes.level_names, *nodes.boxes])
    folder = add_folder(scene, nodes.volume)
    put_in_folder(scene, folder, _listed(nodes))
    if nodes.vertebra_boxes:
        put_in_folder(scene, add_subfolder(scene, folder, VERTEBRA_FOLDER), nodes.vertebra_boxes)
    if nodes.fracture_boxes:
        put_in_folder(scene, add_subfolder(scene, folder, FRACTURE_FOLDER), nodes.fracture_boxes)
