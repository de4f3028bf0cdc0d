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
    node = _add_box(scene, vertebra.level, vertebra.box, emphasis=1.0)
    dress_vertebra_box(node, vertebra)
    return node


def add_fracture_box(scene: slicer.vtkMRMLScene, fracture: FractureFinding) -> slicer.vtkMRMLMarkupsROINode:
    """Add a locked box named like "C4 fracture 0.83", with a stronger line than the boxes of the vertebrae."""
    node = _add_box(scene, _fracture_name(fracture), fracture.box, emphasis=2.0)
    dress_fracture_box(node, fracture)
    return node


def dress_vertebra_box(node: slicer.vtkMRMLMarkupsROINode, vertebra: VertebraFinding) -> None:
    """Give a vertebra's box the name, colour, description and marks of its finding; where it lies stays."""
    probability = vertebra.fracture_probability
    judged = "not assessed" if probability is None else f"fracture probability {probability:.2f}"
    description = f"{vertebra.level}: visible {vertebra.visible}, {judged}"
    _dress(node, vertebra, vertebra.level, description, suspicion_colour(probability))


def dress_fracture_box(node: slicer.vtkMRMLMarkupsROINode, fracture: FractureFinding) -> None:
    """Give a fracture's box the name, colour, description and marks of its finding; a rejected one is grey."""
    description = f"{fracture.status}: {fracture.comment}" if fracture.comment else fracture.status
    colour = suspicion_colour(None if fracture.status == "rejected" else fracture.confidence)
    _dress(node, fracture, _fracture_name(fracture), description, colour)


def place_box(node: slicer.vtkMRMLMarkupsROINode, box: Box) -> None:
    """Let an ROI node lie where ``box`` does, in the node's own frame."""
    node.SetSize(*box.size_mm)
    node.SetAndObserveObjectToNodeMatrix(vtk_matrix(_placement(box)))


def let_edit(node: slicer.vtkMRMLMarkupsROINode, on: bool) -> None:
    """Unlock a box so that the mouse can move and resize it, or lock it again."""
    node.SetLocked(not on)
    node.SetSelectable(on)
    display = node.GetDisplayNode()
    if display is not None:
        display.SetHandlesInteractive(on)


def box_of_node(node: slicer.vtkMRMLMarkupsROINode) -> Box:
    """The box of an ROI node in its own frame (before any parent transform)."""
    matrix = numpy_matrix(node.GetObjectToNodeMatrix())
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    size = np.array(node.GetSize()) * lengths
    return Box(matrix[:3, 3].tolist(), size.tolist(), (matrix[:3, :3] / lengths).T.tolist())


def _add_box(scene: slicer.vtkMRMLScene, name: str, box: Box, emphasis: float) -> slicer.vtkMRMLMarkupsROINode:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetROIType(slicer.vtkMRMLMarkupsROINode.ROITypeBox)
    place_box(node, box)
    node.CreateDefaultDisplayNodes()
    let_edit(node, False)
    display = node.GetDisplayNode()
    display.SetFillOpacity(0.03 * emphasis)
    display.SetOutlineOpacity(min(1.0, 0.65 * emphasis))
    display.SetGlyphScale(_NO_DOTS)
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    return node


def _dress(
    node: slicer.vtkMRMLMarkupsROINode,
    finding: VertebraFinding | FractureFinding,
    name: str,
    description: str,
    colour: Colour,
) -> None:
    node.SetName(name)
    node.SetDescription(description)
    node.SetAttribute(FINDING, finding.id)
    node.SetAttribute(LEVEL, finding.level)
    display = node.GetDisplayNode()
    if display is not None:
        for set_colour in (display.SetColor, display.SetSelectedColor, display.SetActiveColor):
            set_colour(*colour)


def _fracture_name(fracture: FractureFinding) -> str:
    return f"{fracture.level} fracture {fracture.confidence:.2f}"


def _placement(box: Box) -> np.ndarray:
    """Box frame to RAS, 4x4 and right-handed: a box is its own mirror image, an ROI node's matrix must not mirror."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(box.axes, float).T
    if np.linalg.det(matrix[:3, :3]) < 0:
        matrix[:3, 2] *= -1
    matrix[:3, 3] = box.center_ras
    return matrix
