"""What is written on pictures: level names beside the vertebrae, captions and a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk

from CSpineFractureLib.scene import roles

if TYPE_CHECKING:
    from trame_slicer.views import SliceView, ThreeDView

    from CSpineFractureLib.scene.build import SceneNodes

Places = list[tuple[str, tuple[float, float, float]]]
"""Names and where they stand, RAS mm in the world."""

CAPTION = "research use only"
SIDES = {"Axial": "RALP", "Sagittal": "ASPI", "Coronal": "RSLI"}
"""The patient's sides at the left, upper, right and lower edge of a slice picture."""
NAME_GAP_MM = 12.0
_NO_DOTS = 0.01


def name_places(nodes: SceneNodes, orientation: str, focus: np.ndarray) -> Places:
    """Where the level names stand on a slice through ``focus``: in front of the column, or at the patient's right.

    On an axial slice only the levels that it cuts are named, right of the column, one under the other.
    """
    places: Places = []
    boxes = [(box.GetAttribute(roles.LEVEL) or box.GetName(), _bounds(box)) for box in nodes.vertebra_boxes]
    if not boxes:
        return places
    right, front = (max(bounds[axis][1] for _, bounds in boxes) for axis in (0, 1))
    for name, bounds in boxes:
        middle = bounds.mean(axis=1)
        if orientation == "Sagittal":
            places.append((name, (focus[0], bounds[1][1] + NAME_GAP_MM, middle[2])))
        elif orientation == "Coronal":
            places.append((name, (right + NAME_GAP_MM, focus[1], middle[2])))
        elif bounds[2][0] <= focus[2] <= bounds[2][1]:
            places.append((name, (right + NAME_GAP_MM, front - 10 * len(places), focus[2])))
    return places


def add_names(scene: slicer.vtkMRMLScene, view: SliceView, places: Places) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Add a point list that shows names in one view only, without marks at the points."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Names")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AddViewNodeID(view.get_view_node_id())
    for name, place in places:
        node.AddControlPoint(list(place), name)
    node.SetLocked(True)
    for set_colour in (display.SetColor, display.SetSelectedColor, display.SetActiveColor):
        set_colour(1.0, 1.0, 1.0)
    display.SetGlyphScale(_NO_DOTS)
    display.SetTextScale(4.0)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(True)
    return node


def add_caption(view: SliceView | ThreeDView, title: str, light: bool = False) -> None:
    """Write the view's name and "research use only" into a view's corners, and on slices the patient's sides."""
    edges = ((0.015, 0.48), (0.49, 0.955), (0.965, 0.48), (0.49, 0.055))
    sides = [(side, x, y, 28) for side, (x, y) in zip(SIDES.get(title, ""), edges, strict=False)]
    for text, x, y, size in ((title, 0.015, 0.955, 28), (CAPTION, 0.015, 0.018, 22), *sides):
        actor = vtk.vtkTextActor()
        actor.SetInput(text)
        style = actor.GetTextProperty()
        style.SetFontSize(size)
        style.SetColor(*((0.1, 0.1, 0.1) if light else (0.95, 0.95, 0.95)))
        style.SetShadow(not light)
        actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
        actor.SetPosition(x, y)
        view.renderers()[-1].AddViewProp(actor)


def _bounds(node: slicer.vtkMRMLDisplayableNode) -> np.ndarray:
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    return np.array(bounds).reshape(3, 2)
