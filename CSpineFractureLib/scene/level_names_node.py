"""The names of the levels, written beside the vertebrae in slices and in 3D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

from CSpineFractureLib.findings.study_result import VertebraFinding

NAME_OFFSET_MM = 6.0
"""How far in front of the box a name stands, over the soft tissue."""


def add_level_names_node(
    scene: slicer.vtkMRMLScene, vertebrae: Sequence[VertebraFinding], name: str = "Levels"
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Add a locked point list with one point per level, named "C1" to "C7", in front of the vertebra's box (RAS)."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    fill_level_names(node, vertebrae)
    node.SetLocked(True)
    node.SetSelectable(False)
    display = node.GetDisplayNode()
    display.SetColor(1.0, 1.0, 1.0)
    display.SetSelectedColor(1.0, 1.0, 1.0)
    display.SetActiveColor(1.0, 1.0, 1.0)
    display.SetUseGlyphScale(True)
    display.SetGlyphScale(0.6)
    display.SetTextScale(3.5)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(True)
    return node


def fill_level_names(node: slicer.vtkMRMLMarkupsFiducialNode, vertebrae: Sequence[VertebraFinding]) -> None:
    """Let a point list hold one point per vertebra, in their order; points that are there are used again."""
    while node.GetNumberOfControlPoints() > len(vertebrae):
        node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
    for index, vertebra in enumerate(vertebrae):
        place = name_place(vertebra).tolist()
        if index < node.GetNumberOfControlPoints():
            node.SetNthControlPointPosition(index, *place)
            node.SetNthControlPointLabel(index, vertebra.level)
        else:
            node.AddControlPoint(place, vertebra.level)
        node.SetNthControlPointDescription(index, vertebra.id)


def name_place(vertebra: VertebraFinding) -> np.ndarray:
    """Where a level's name stands: at the height of the body's middle, in front of the box; RAS mm, shape ``(3,)``."""
    front = vertebra.box_ras[1][1]
    right, _, superior = vertebra.center_ras
    return np.array([right, front + NAME_OFFSET_MM, superior])
