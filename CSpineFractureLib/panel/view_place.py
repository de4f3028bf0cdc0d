"""Where the reader looks, and where a finding lies: places in the world and in a study's own frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import Box, StudyResult
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.build import SceneNodes

FRACTURE_MM = 12.0
"""Edge of a new fracture box; a person then drags it to size."""
VERTEBRA_MM = (48.0, 44.0, 18.0)
"""A new vertebra box (right-left, front-back, height) where the study has no other to take the size from."""


def place_looked_at(scene: slicer.vtkMRMLScene) -> tuple[float, float, float] | None:
    """The crosshair, where one is shown; else the point that the slice views share. World, RAS mm.

    Views that share no single point (two parallel ones, say) give the point of their planes nearest to their middles;
    ``None`` where there is no slice view.
    """
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None and crosshair.GetCrosshairMode() != slicer.vtkMRMLCrosshairNode.NoCrosshair:
        return tuple(crosshair.GetCrosshairRAS())
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    views = [scene.GetNthNodeByClass(index, "vtkMRMLSliceNode").GetSliceToRAS() for index in range(count)]
    if not views:
        return None
    middles = np.array([[view.GetElement(row, 3) for row in range(3)] for view in views])
    normals = np.array([[view.GetElement(row, 2) for row in range(3)] for view in views])
    middle = middles.mean(axis=0)
    along = np.linalg.pinv(normals) @ ((middles - middle) * normals).sum(axis=1)
    right, anterior, superior = (middle + along).tolist()
    return right, anterior, superior


def place_of_finding(nodes: SceneNodes, finding: str) -> tuple[float, float, float] | None:
    """The middle of a finding's box in the world (RAS mm), or ``None`` where it has none."""
    for node in nodes.boxes:
        if node.GetAttribute(roles.FINDING) == finding:
            bounds = [0.0] * 6
            node.GetRASBounds(bounds)
            right, anterior, superior = np.array(bounds).reshape(3, 2).mean(axis=1).tolist()
            return right, anterior, superior
    return None


def new_box(nodes: SceneNodes, result: StudyResult, place: Sequence[float] | None, vertebra: bool) -> Box:
    """A box around a place in the world, in the study's own frame (RAS mm): as large as the nearest vertebra, or 12 mm.

    Raises ``UserError`` where the place is ``None`` or outside the CT.
    """
    center = [0.0, 0.0, 0.0]
    if place is not None:
        nodes.segmentation.TransformPointFromWorld(list(place), center)
    voxel = np.linalg.inv(result.volume.ijk_to_ras) @ [*center, 1.0]
    shape = np.array(result.volume.shape_kji)[::-1]
    if place is None or ((voxel[:3] < -0.5) | (voxel[:3] > shape - 0.5)).any():
        message = "The slice views meet outside the CT: scroll them to where the box is to be, and add it again."
        raise UserError(message)
    if not vertebra:
        return Box(center, [FRACTURE_MM] * 3)
    others = [one.box for one in result.vertebrae if one.visible != "no"]
    if not others:
        return Box(center, list(VERTEBRA_MM))
    nearest = min(others, key=lambda box: float(np.linalg.norm(np.subtract(box.center_ras, center))))
    return replace(nearest, center_ras=center)
