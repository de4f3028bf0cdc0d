"""Boxes as markups ROI nodes, and back."""

from __future__ import annotations

import numpy as np
import slicer

from CSpineFractureLib.findings.study_result import Box, FractureFinding, VertebraFinding
from CSpineFractureLib.scene.arrays import numpy_matrix, vtk_matrix
from CSpineFractureLib.scene.colours import Colour, suspicion_colour
from CSpineFractureLib.scene.roles import FINDING, LEVEL

_NO_DOTS = 0.01
"""Glyph size at which the dot in the middle of a box vanishes; hiding its point would hide the box in 3D too."""


def add_vertebra_box(scene: slicer.vtkMRMLScene, vertebra: VertebraFinding) -> slicer.vtkMRMLMarkupsROINode:
    """Add a thin, locked box named after the level; its colour tells the fracture probability, grey where none is."""
    probability = vertebra.fracture_probability
    node = _add_box(scene, vertebra.level, vertebra.box, suspicion_colour(probability), emphasis=1.0)
    judged = "not assessed" if probability is None else f"fracture probability {probability:.2f}"
    node.SetDescription(f"{vertebra.level}: visible {vertebra.visible}, {judged}")
    node.SetAttribute(FINDING, vertebra.id)
    node.SetAttribute(LEVEL, vertebra.level)
    return node


def add_fracture_box(scene: slicer.vtkMRMLScene, fracture: FractureFinding) -> slicer.vtkMRMLMarkupsROINode:
    """Add a locked box named like "C4 fracture 0.83", with a stronger line than the boxes of the vertebrae."""
    name = f"{fracture.level} fracture {fracture.confidence:.2f}"
    node = _add_box(scene, name, fracture.box, suspicion_colour(fracture.confidence), emphasis=2.0)
    node.SetDescription(f"{fracture.status}: {fracture.comment}" if fracture.comment else fracture.status)
    node.SetAttribute(FINDING, fracture.id)
    node.SetAttribute(LEVEL, fracture.level)
    return node


def box_of_node(node: slicer.vtkMRMLMarkupsROINode) -> Box:
    """The box of an ROI node in its own frame (before any parent transform)."""
    matrix = numpy_matrix(node.GetObjectToNodeMatrix())
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    size = np.array(node.GetSize()) * lengths
    return Box(matrix[:3, 3].tolist(), size.tolist(), (matrix[:3, :3] / lengths).T.tolist())


def _add_box(
    scene: slicer.vtkMRMLScene, name: str, box: Box, colour: Colour, emphasis: float
) -> slicer.vtkMRMLMarkupsROINode:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetROIType(slicer.vtkMRMLMarkupsROINode.ROITypeBox)
    node.SetSize(*box.size_mm)
    node.SetAndObserveObjectToNodeMatrix(vtk_matrix(_placement(box)))
    node.SetLocked(True)
    node.SetSelectable(False)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*colour)
    display.SetSelectedColor(*colour)
    display.SetActiveColor(*colour)
    display.SetFillOpacity(0.03 * emphasis)
    display.SetOutlineOpacity(min(1.0, 0.65 * emphasis))
    display.SetHandlesInteractive(False)
    display.SetGlyphScale(_NO_DOTS)
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    return node


def _placement(box: Box) -> np.ndarray:
    """Box frame to RAS, 4x4 and right-handed: a box is its own mirror image, an ROI node's matrix must not mirror."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(box.axes, float).T
    if np.linalg.det(matrix[:3, :3]) < 0:
        matrix[:3, 2] *= -1
    matrix[:3, 3] = box.center_ras
    return matrix
