"""CT volumes as scalar volume nodes, and back."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.scene.arrays import image_array, image_data, numpy_matrix, vtk_matrix
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.windows import BONE


def add_volume_node(scene: slicer.vtkMRMLScene, volume: CTVolume, name: str = "CT") -> slicer.vtkMRMLScalarVolumeNode:
    """Add a CT to the scene, shown in the bone window (centre 500, width 2000 HU). The voxels are copied."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(vtk_matrix(volume.ijk_to_ras))
    node.SetAndObserveImageData(image_data(volume.hu))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(BONE.width, BONE.centre)
    return node


def volume_of_node(node: slicer.vtkMRMLScalarVolumeNode) -> CTVolume:
    """The CT of a volume node in the node's own frame (before any parent transform). The voxels are copied.

    Values are rounded and clipped to int16. Raises ``UserError`` when the node holds no voxels or more than one value
    per voxel.
    """
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        message = f'The volume "{node.GetName()}" holds no voxels: choose a volume that is loaded.'
        raise UserError(message)
    if image.GetNumberOfScalarComponents() != 1:
        message = f'The volume "{node.GetName()}" holds colours instead of Hounsfield units: choose a CT.'
        raise UserError(message)
    values = image_array(image)
    if values.dtype != np.int16:
        limits = np.iinfo(np.int16)
        values = np.rint(np.clip(np.nan_to_num(values, nan=-1024.0), limits.min, limits.max)).astype(np.int16)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return CTVolume(np.array(values), numpy_matrix(matrix))
