"""Everything a study is in a scene, as plain values that two moments can be compared by."""

from __future__ import annotations

import json

import numpy as np
import slicer
import vtk

from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.arrays import numpy_matrix
from CSpineFractureLib.scene.read_back import labels_of_node, nodes_of_scene, stored_result


def fingerprint(scene: slicer.vtkMRMLScene, study: str, with_ids: bool = True) -> dict:
    """Attributes, points, matrices, colours, locks, folders, segments, voxels, table and texts of a study's nodes.

    Not the descriptions of markups: Slicer writes its own over them whenever any markup is added or moved.

    ``with_ids``: the IDs of the nodes too, which a scene that is loaded again may give anew.
    """
    nodes = nodes_of_scene(scene, study)
    result = stored_result(nodes)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    everything = [nodes.segmentation, nodes.level_names, nodes.table, nodes.cam, nodes.result, nodes.corrections]
    found = {}
    for node in (*everything, *nodes.boxes):
        if node is None:
            continue
        names = node.GetAttributeNames()
        entry = {name: node.GetAttribute(name) for name in names}
        entry["name"] = node.GetName() if node not in everything else node.GetClassName()
        item = hierarchy.GetItemByDataNode(node)
        entry["folder"] = hierarchy.GetItemName(hierarchy.GetItemParent(item))
        transform = getattr(node, "GetParentTransformNode", lambda: None)()
        entry["transform"] = transform and transform.GetName()
        if with_ids:
            entry["node id"] = node.GetID()
        if node.IsA("vtkMRMLMarkupsNode"):
            entry.update(markups_of(node))
        if node.IsA("vtkMRMLMarkupsROINode"):
            entry["size"] = np.array(node.GetSize())
            entry["matrix"] = numpy_matrix(node.GetObjectToNodeMatrix())
        found[node.GetAttribute(roles.FINDING) or node.GetAttribute(roles.ROLE)] = entry
    found["table"]["cells"] = cells_of(nodes.table)
    found["segmentation"].update(segments_of(nodes.segmentation))
    grid = (tuple(result.volume.shape_kji), np.array(result.volume.ijk_to_ras))
    found["segmentation"]["labels"] = labels_of_node(nodes.segmentation, *grid)
    found["result"]["json"] = json.loads(nodes.result.GetText())
    found["corrections"]["json"] = json.loads(nodes.corrections.GetText())
    found["nodes"] = scene.GetNumberOfNodes() if with_ids else 0
    return found


def markups_of(node: slicer.vtkMRMLMarkupsNode) -> dict:
    count = node.GetNumberOfControlPoints()
    points = [list(node.GetNthControlPointPosition(index)) for index in range(count)]
    display = node.GetDisplayNode()
    return {
        "points": np.array(points),
        "labels": [node.GetNthControlPointLabel(index) for index in range(count)],
        "about": [node.GetNthControlPointDescription(index) for index in range(count)],
        "locked": node.GetLocked(),
        "selectable": node.GetSelectable(),
        "handles": display.GetHandlesInteractive(),
        "colours": np.array([display.GetColor(), display.GetSelectedColor(), display.GetActiveColor()]),
        "visible": display.GetVisibility(),
        "opacity": np.array([display.GetFillOpacity(), display.GetOutlineOpacity()]),
    }


def cells_of(node: slicer.vtkMRMLTableNode) -> list[list[str]]:
    columns = range(node.GetNumberOfColumns())
    return [[node.GetCellText(row, column) for column in columns] for row in range(node.GetNumberOfRows())]


def segments_of(node: slicer.vtkMRMLSegmentationNode) -> dict:
    segmentation = node.GetSegmentation()
    segments = {}
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        text = vtk.reference("")
        segment.GetTag(segment.GetTerminologyEntryTagName(), text)
        surface = segment.GetRepresentation("Closed surface")
        segments[segmentation.GetNthSegmentID(index)] = {
            "name": segment.GetName(),
            "colour": np.array(segment.GetColor()),
            "label": segment.GetLabelValue(),
            "term": str(text.get()),
            "surface": surface is not None and surface.GetNumberOfPoints() > 0,
        }
    return {"segments": segments, "order": list(segments)}


def differences(one: object, other: object, place: str = "") -> list[str]:
    """Where two fingerprints differ; numbers may differ by 2e-5 (mm, shares), far below what is kept in files."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys(), key=str)
        missing = [f"{place}/{key} is in one only" for key in keys if key not in one or key not in other]
        both = [key for key in keys if key in one and key in other]
        return missing + [text for key in both for text in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, np.ndarray):
        same = one.shape == other.shape and np.allclose(one, other, atol=2e-5, rtol=0)
        return [] if same else [f"{place}: voxels or numbers differ"]
    return [] if one == other else [f"{place}: {str(one)[:300]} != {str(other)[:300]}"]
