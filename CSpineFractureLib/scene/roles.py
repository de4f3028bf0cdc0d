"""Marks on nodes, kept in saved scenes, by which our nodes are found again whatever they are called."""

from __future__ import annotations

import slicer

ROLE = "CSpineFracture.Role"
STUDY = "CSpineFracture.StudyID"
FINDING = "CSpineFracture.FindingID"
LEVEL = "CSpineFracture.Level"

VOLUME = "volume"
SEGMENTATION = "segmentation"
VERTEBRA_BOX = "vertebra box"
FRACTURE_BOX = "fracture box"
LEVEL_NAMES = "level names"
CAM = "cam"
TABLE = "table"
RESULT = "result"
CORRECTIONS = "corrections"


def mark(node: slicer.vtkMRMLNode, role: str, study: str) -> None:
    """Mark a node as having this role in the results of a study (``StudyResult.id``)."""
    node.SetAttribute(ROLE, role)
    node.SetAttribute(STUDY, study)


def marked_nodes(scene: slicer.vtkMRMLScene, role: str, study: str | None = None) -> list[slicer.vtkMRMLNode]:
    """The nodes of a role, in the order they were added; of one study, or of every study in the scene."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [
        node
        for node in nodes
        if node.GetAttribute(ROLE) == role and (study is None or node.GetAttribute(STUDY) == study)
    ]
