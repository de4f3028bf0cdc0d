"""A scene's nodes as arrays and boxes again: after corrections, or after loading a saved scene."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, Box, StudyResult
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.arrays import image_array, numpy_matrix
from CSpineFractureLib.scene.boxes_node import box_of_node
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.json_node import json_of_node


def studies_in(scene: slicer.vtkMRMLScene) -> list[str]:
    """The IDs (``StudyResult.id``) of the studies whose results are in a scene, oldest first, each once."""
    return list(dict.fromkeys(node.GetAttribute(roles.STUDY) for node in roles.marked_nodes(scene, roles.SEGMENTATION)))


def nodes_of_scene(scene: slicer.vtkMRMLScene, study: str | None = None) -> SceneNodes:
    """Find the nodes of a study again, by default of the latest one.

    Raises ``UserError`` when the scene holds no results, or none of this study.
    """
    studies = studies_in(scene)
    if not studies or (study is not None and study not in studies):
        message = "The scene holds no CSpineFracture results: analyse a CT first, or load a scene saved after it."
        raise UserError(message)
    study = study or studies[-1]

    def of(role: str) -> list:
        """A user's copy of a node carries its marks: of a role and a finding the first counts."""
        first: dict = {}
        for node in roles.marked_nodes(scene, role, study):
            first.setdefault(node.GetAttribute(roles.FINDING), node)
        return list(first.values())

    segmentation = of(roles.SEGMENTATION)[0]
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    volume = segmentation.GetNodeReference(role) or next(iter(of(roles.VOLUME)), None)
    return SceneNodes(
        volume=volume,
        segmentation=segmentation,
        level_names=next(iter(of(roles.LEVEL_NAMES)), None),
        table=next(iter(of(roles.TABLE)), None),
        cam=next(iter(of(roles.CAM)), None),
        vertebra_boxes=of(roles.VERTEBRA_BOX),
        fracture_boxes=of(roles.FRACTURE_BOX),
        result=next(iter(of(roles.RESULT)), None),
        corrections=next(iter(of(roles.CORRECTIONS)), None),
    )


def labels_of_node(
    node: slicer.vtkMRMLSegmentationNode, shape_kji: tuple[int, int, int], ijk_to_ras: np.ndarray
) -> np.ndarray:
    """The segments named "C1" to "C7" as uint8 labels ``[k, j, i]`` (1-7) on the grid of ``ijk_to_ras`` (RAS mm).

    The grid may be flipped or shifted by whole voxels against the segments' own, or be another one altogether: each
    of its voxels takes the label at its centre. Where segments overlap the higher level wins.
    """
    labels = np.zeros(shape_kji, np.uint8)
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        name = segmentation.GetSegment(segment_id).GetName()
        if name in LEVELS:
            own = slicer.vtkOrientedImageData()
            node.GetBinaryLabelmapRepresentation(segment_id, own)
            _put(labels, ijk_to_ras, own, LEVELS.index(name) + 1)
    return labels


def _put(labels: np.ndarray, ijk_to_ras: np.ndarray, image: slicer.vtkOrientedImageData, label: int) -> None:
    """Write ``label`` where the voxel centres of the grid fall into filled voxels of a binary image."""
    if image.IsEmpty():
        return
    mask = image_array(image) != 0
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    extent = np.array(image.GetExtent())
    grid_to_image = np.linalg.inv(numpy_matrix(matrix)) @ ijk_to_ras
    edges = extent.reshape(3, 2) + np.array([-0.5, 0.5])
    corners = np.array(np.meshgrid(*edges)).reshape(3, -1)
    reach = (np.linalg.inv(grid_to_image) @ np.vstack([corners, np.ones(8)]))[:3]
    low = np.maximum(np.floor(reach.min(axis=1)).astype(int), 0)
    high = np.minimum(np.ceil(reach.max(axis=1)).astype(int) + 1, labels.shape[::-1])
    if (high <= low).any():
        return
    ranges = [np.arange(low[axis], high[axis]) for axis in range(3)]
    for k in ranges[2]:
        i, j = np.meshgrid(ranges[0], ranges[1])
        points = np.stack([i, j, np.full_like(i, k), np.ones_like(i)]).reshape(4, -1)
        at = np.rint((grid_to_image @ points)[:3] - extent[::2, None]).astype(int)
        inside = ((at >= 0) & (at < np.array(mask.shape[::-1])[:, None])).all(axis=0)
        hit = inside.copy()
        hit[inside] = mask[at[2, inside], at[1, inside], at[0, inside]]
        labels[k, points[1, hit], points[0, hit]] = label


def stored_result(nodes: SceneNodes) -> StudyResult:
    """The result that is kept in the scene, as the latest correction left it.

    Raises ``UserError`` where the scene does not keep it (it was made by an older version) or it is damaged.
    """
    if nodes.result is None or nodes.corrections is None:
        message = "The results in the scene come from an older version and cannot be corrected: analyse the CT again."
        raise UserError(message)
    try:
        return StudyResult.from_dict(json_of_node(nodes.result))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        message = "The result that is kept in the scene is damaged: analyse the CT again."
        raise UserError(message) from error


def result_of_scene(scene: slicer.vtkMRMLScene, study: str | None = None) -> StudyResult:
    """The result of a study, by default of the latest, with every box where it stands in the scene now (RAS mm).

    Raises ``UserError`` as ``nodes_of_scene`` and ``stored_result`` do.
    """
    nodes = nodes_of_scene(scene, study)
    result, boxes = stored_result(nodes), boxes_by_finding(nodes)
    for finding in (*result.vertebrae, *result.fractures):
        finding.box = boxes.get(finding.id, finding.box)
    return result


def boxes_by_finding(nodes: SceneNodes) -> dict[str, Box]:
    """The boxes of a scene by the ID of their finding, in the CT's own frame (RAS mm)."""
    return {node.GetAttribute(roles.FINDING): box_of_node(node) for node in nodes.boxes}


def cam_of_node(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[np.ndarray, np.ndarray]:
    """The Grad-CAM's voxels (uint8 ``[k, j, i]``, copied) and their 4x4 matrix to RAS mm."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array(image_array(node.GetImageData())), numpy_matrix(matrix)
