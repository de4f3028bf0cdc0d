"""Text nodes that keep JSON in a scene: the result, and the log of corrections."""

from __future__ import annotations

import json
from typing import Any

import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult


def add_json_node(scene: slicer.vtkMRMLScene, name: str, content: Any) -> slicer.vtkMRMLTextNode:
    """Add a text node that holds ``content`` as JSON; it is saved within the scene's own description."""
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", name)
    fill_json_node(node, content)
    return node


def fill_json_node(node: slicer.vtkMRMLTextNode, content: Any) -> None:
    """Write ``content`` as JSON in place of what the node holds."""
    node.SetText(json.dumps(content, ensure_ascii=False, allow_nan=False))


def settled(result: StudyResult) -> StudyResult:
    """The result as its JSON gives it back: floats are rounded to 1e-6, and writing it again changes nothing."""
    return StudyResult.from_dict(result.to_dict())


def json_of_node(node: slicer.vtkMRMLTextNode) -> Any:
    """What a text node holds. Raises ``UserError`` when that is no JSON."""
    try:
        return json.loads(node.GetText() or "")
    except ValueError as error:
        message = f'The text "{node.GetName()}" of the scene is damaged: analyse the CT again.'
        raise UserError(message) from error
