"""Bringing a finding into the middle of every slice view and of the 3D view."""

from __future__ import annotations

import numpy as np
import slicer

from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.build import SceneNodes


def place_of_level(nodes: SceneNodes, level: str) -> tuple[float, float, float] | None:
    """Where to look for a level, in the world (RAS mm): its suspected fracture if there is one, else its box."""
    boxes = [box for box in (*nodes.fracture_boxes, *nodes.vertebra_boxes) if box.GetAttribute(roles.LEVEL) == level]
    if not boxes:
        return None
    bounds = [0.0] * 6
    boxes[0].GetRASBounds(bounds)
    right, anterior, superior = np.array(bounds).reshape(3, 2).mean(axis=1).tolist()
    return right, anterior, superior


def jump_to(scene: slicer.vtkMRMLScene, place: tuple[float, float, float]) -> None:
    """Centre all slice views and 3D cameras on a place in the world (RAS mm); the cameras keep their direction."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *place, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLCameraNode")):
        camera = scene.GetNthNodeByClass(index, "vtkMRMLCameraNode")
        offset = np.array(camera.GetPosition()) - np.array(camera.GetFocalPoint())
        camera.SetFocalPoint(*place)
        camera.SetPosition(*(np.array(place) + offset))
        camera.ResetClippingRange()
