"""Pictures of a study's results, drawn by Slicer's own views without a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer

from CSpineFractureLib.scene.annotations import add_caption, add_names, name_places
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.pictures import picture_of, tiled, write_png
from CSpineFractureLib.scene.slice_layers import CAM_OPACITY
from CSpineFractureLib.scene.views import TemporaryViews, temporary_views

if TYPE_CHECKING:
    from trame_slicer.core import SlicerApp
    from trame_slicer.views import SliceView

FIELD_OF_VIEW_MM = {"Axial": 160.0, "Sagittal": 220.0, "Coronal": 220.0}
"""Edge of the square that a slice picture shows."""
LOOKS_FROM = np.array([-0.62, 1.0, 0.32])
"""Direction (RAS) from the column to the camera: from the front, the patient's left and a little above."""
VIEW_ANGLE = 24.0
BACKGROUND = ([196, 205, 216], [250, 251, 253])
"""Of the 3D picture, below and above."""


def render_views(
    app: SlicerApp, nodes: SceneNodes, folder: Path, focus_ras: Sequence[float] | None = None
) -> list[Path]:
    """Write ``axial.png sagittal.png coronal.png three_d.png overview.png`` into a folder, and return their paths.

    The slices run through ``focus_ras`` (world RAS mm; default the middle of the segmentation, without one of the CT)
    and are framed on the segmentation, in Slicer's convention: the patient's right at the picture's left, in sagittal
    pictures the front at the left. The scene is left as it was. Raises ``OSError`` when a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    low, high = framed_bounds(nodes)
    middle = (low + high) / 2
    focus = middle if focus_ras is None else np.asarray(focus_ras, float)
    pictures: dict[str, np.ndarray] = {}
    with temporary_views(app) as views, _hidden_level_names(nodes):
        for orientation in FIELD_OF_VIEW_MM:
            pictures[orientation.lower()] = _slice_picture(app, views, nodes, orientation, focus, middle)
    with temporary_views(app) as views:
        pictures["three_d"] = _threed_picture(views, low, high)
    pictures["overview"] = tiled(list(pictures.values()))
    return [write_png(picture, folder / f"{name}.png") for name, picture in pictures.items()]


def framed_bounds(nodes: SceneNodes) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner (world RAS mm) of the segments; of the CT where there are none."""
    for node in (nodes.segmentation, nodes.volume):
        bounds = [1.0, -1.0] * 3
        if node is not None:
            node.GetRASBounds(bounds)
        corners = np.array(bounds).reshape(3, 2)
        if (corners[:, 1] > corners[:, 0]).all():
            return corners[:, 0], corners[:, 1]
    message = "The CT node holds no voxels to show."
    raise ValueError(message)


def _slice_picture(
    app: SlicerApp, views: TemporaryViews, nodes: SceneNodes, orientation: str, focus: np.ndarray, middle: np.ndarray
) -> np.ndarray:
    view = views.slice_view(f"CSpine{orientation}", orientation)
    view.set_background_volume_id(nodes.volume.GetID())
    if nodes.shown_cam is not None:
        view.set_foreground_volume_id(nodes.shown_cam.GetID())
        view.set_foreground_opacity(CAM_OPACITY)
    _place_slice(view, orientation, focus, middle)
    names = name_places(nodes, orientation, focus)
    if names:
        add_names(app.scene, view, names)
    add_caption(view, orientation)
    views.send_image_to_back(view)
    view.render()
    return picture_of(view.render_window())


def _place_slice(view: SliceView, orientation: str, focus: np.ndarray, middle: np.ndarray) -> None:
    """Through the focus, with the column's middle in the picture's middle."""
    centre = np.array(middle)
    axis = {"Sagittal": 0, "Coronal": 1, "Axial": 2}[orientation]
    centre[axis] = focus[axis]
    node = view.get_view_node()
    edge = FIELD_OF_VIEW_MM[orientation]
    node.SetFieldOfView(edge, edge, node.GetFieldOfView()[2])
    node.JumpSliceByCentering(*centre)
    node.SetRulerType(slicer.vtkMRMLAbstractViewNode.RulerTypeThin)


def _threed_picture(views: TemporaryViews, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    view = views.threed_view("CSpine3D")
    view.set_background_gradient_color(*BACKGROUND)
    view.first_renderer().SetGradientBackground(True)
    node = view.get_view_node()
    node.SetOrientationMarkerType(slicer.vtkMRMLAbstractViewNode.OrientationMarkerTypeAxes)
    camera = view.get_camera_node()
    middle, radius = (low + high) / 2, np.linalg.norm(high - low) / 2
    direction = LOOKS_FROM / np.linalg.norm(LOOKS_FROM)
    camera.SetViewAngle(VIEW_ANGLE)
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + direction * radius / np.sin(np.radians(VIEW_ANGLE / 2))))
    camera.SetViewUp(0, 0, 1)
    view.first_renderer().ResetCameraClippingRange()
    add_caption(view, "3D", light=True)
    view.render()
    return picture_of(view.render_window())


@contextmanager
def _hidden_level_names(nodes: SceneNodes) -> Iterator[None]:
    """On slices the names stand elsewhere, see ``annotations``."""
    display = nodes.level_names.GetDisplayNode() if nodes.level_names is not None else None
    shown = display.GetVisibility() if display is not None else False
    if display is not None:
        display.SetVisibility(False)
    try:
        yield
    finally:
        if display is not None:
            display.SetVisibility(shown)
