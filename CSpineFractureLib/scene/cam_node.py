"""The Grad-CAM volume: shown over the slices above a threshold, and rendered as a volume in 3D."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from CSpineFractureLib.findings.study_output import CAM_SHOWN
from CSpineFractureLib.scene.arrays import image_data, vtk_matrix
from CSpineFractureLib.scene.colours import inferno

THRESHOLD = int(255 * CAM_SHOWN)
"""Below this value nothing is shown."""
TOP_OPACITY = 0.8
"""Opacity of the volume rendering per mm where Grad-CAM is 255."""
COLOUR_NODE_NAME = "Grad-CAM colours"


def add_cam_node(
    scene: slicer.vtkMRMLScene, cam: np.ndarray, ijk_to_ras: np.ndarray, name: str = "Grad-CAM"
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add the Grad-CAM, uint8 ``[k, j, i]`` (255 = probability 1), with its own 4x4 matrix to RAS mm."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras))
    node.SetAndObserveImageData(image_data(cam.astype(np.uint8, copy=False)))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(inferno_node(scene, COLOUR_NODE_NAME).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 255)
    display.SetAutoThreshold(False)
    display.SetThreshold(THRESHOLD, 255)
    display.SetApplyThreshold(True)
    display.SetInterpolate(True)
    _add_volume_rendering(scene, node)
    return node


def volume_rendering_of(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLVolumeRenderingDisplayNode | None:
    """The volume rendering of a volume node, if it has one."""
    displays = (node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes()))
    return next((one for one in displays if one and one.IsA("vtkMRMLVolumeRenderingDisplayNode")), None)


def inferno_node(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLColorTableNode:
    """The colour table of that name, black to yellow in 256 steps; made where the scene has none yet."""
    found = scene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    for value, colour in enumerate(inferno()):
        node.SetColor(value, f"{value / 255:.3f}", *colour, 1.0)
    return node


def _add_volume_rendering(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    properties = scene.AddNewNodeByClass("vtkMRMLVolumePropertyNode", f"{node.GetName()} rendering")
    colours, opacities = vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
    for value, colour in zip(np.linspace(0, 255, 18), inferno(18), strict=True):
        colours.AddRGBPoint(value, *colour)
    for value, opacity in ((0, 0.0), (THRESHOLD, 0.0), (120, 0.12 * TOP_OPACITY), (255, TOP_OPACITY)):
        opacities.AddPoint(value, opacity)
    properties.SetColor(colours)
    properties.SetScalarOpacity(opacities)
    properties.GetVolumeProperty().SetInterpolationTypeToLinear()
    properties.GetVolumeProperty().ShadeOff()
    display = scene.AddNewNodeByClass(
        "vtkMRMLGPURayCastVolumeRenderingDisplayNode", f"{node.GetName()} volume rendering"
    )
    display.SetAndObserveVolumePropertyNodeID(properties.GetID())
    display.SetFollowVolumeDisplayNode(False)
    display.SetVisibility(True)
    node.AddAndObserveDisplayNodeID(display.GetID())
