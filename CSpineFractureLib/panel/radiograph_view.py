"""A radiograph and its saliency in the red slice view, and what was there before."""

from __future__ import annotations

import slicer

from CSpineFractureLib.scene.radiograph_nodes import RadiographNodes

VIEW = "Red"


class RedView:
    """Shows a radiograph in the red view. ``give_back`` shows again what was there before."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._before: tuple[str | None, str | None, float] | None = None

    def show(self, nodes: RadiographNodes, opacity: float) -> None:
        """Show picture and saliency (``opacity`` 0..1), the whole picture in the view. A scene without views: no-op."""
        composite = self._composite()
        if composite is None:
            return
        if composite.GetBackgroundVolumeID() != nodes.picture.GetID():
            if self._before is None:
                layers = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
                self._before = (*layers, composite.GetForegroundOpacity())
            composite.SetBackgroundVolumeID(nodes.picture.GetID())
            self._fit(nodes.picture)
        composite.SetForegroundVolumeID(None if nodes.saliency is None else nodes.saliency.GetID())
        composite.SetForegroundOpacity(opacity)

    def shows(self, nodes: RadiographNodes) -> bool:
        """Whether the view shows this radiograph now."""
        composite = self._composite()
        return composite is not None and composite.GetBackgroundVolumeID() == nodes.picture.GetID()

    def give_back(self) -> None:
        """Show what the view showed before the radiograph, as far as it is still in the scene."""
        composite, before, self._before = self._composite(), self._before, None
        if composite is not None and before is not None:
            background, foreground = (one if one and self._scene.GetNodeByID(one) else None for one in before[:2])
            composite.SetBackgroundVolumeID(background)
            composite.SetForegroundVolumeID(foreground)
            composite.SetForegroundOpacity(before[2])

    def _composite(self) -> slicer.vtkMRMLSliceCompositeNode | None:
        return self._scene.GetSingletonNode(VIEW, "vtkMRMLSliceCompositeNode")

    def _fit(self, picture: slicer.vtkMRMLScalarVolumeNode) -> None:
        view = self._scene.GetSingletonNode(VIEW, "vtkMRMLSliceNode")
        if view is None:
            return
        bounds = [0.0] * 6
        picture.GetRASBounds(bounds)
        width, height = bounds[1] - bounds[0], bounds[3] - bounds[2]
        columns, rows = (max(1, size) for size in view.GetDimensions()[:2])
        per_pixel = max(width / columns, height / rows)
        view.SetOrientation("Axial")
        view.JumpSliceByCentering(*((bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)))
        view.SetFieldOfView(per_pixel * columns, per_pixel * rows, view.GetFieldOfView()[2])
