"""Whether a volume node can be analysed, and its CT."""

from __future__ import annotations

from dataclasses import replace

import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.dicom_source import slice_thickness_mm
from CSpineFractureLib.scene.volume_node import volume_of_node
from CSpineFractureLib.volume.ct_volume import CTVolume


def checked_volume(node: slicer.vtkMRMLScalarVolumeNode | None) -> CTVolume:
    """The CT of a node, in the node's own frame (RAS mm).

    Raises ``UserError`` when there is no node, it holds no CT, or it stands under a non-linear transform: the results
    lie under the CT's transform, and boxes cannot be bent. A linear transform is fine.
    """
    if node is None:
        message = "No CT is chosen: load one and choose it under 'CT volume'."
        raise UserError(message)
    transform = node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        message = (
            f'The CT "{node.GetName()}" stands under the non-linear transform "{transform.GetName()}", as a tilted '
            "gantry gives: harden it in the module Data (right-click, Harden transform) and press Apply again."
        )
        raise UserError(message)
    return replace(volume_of_node(node), slice_thickness_mm=slice_thickness_mm(node))
