"""Offscreen slice and 3D views that leave no trace in the scene."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import slicer
import vtk

if TYPE_CHECKING:
    from trame_slicer.core import SlicerApp
    from trame_slicer.views import SliceView, ThreeDView

SIZE = 1000
"""Edge of a picture in pixels."""


class TemporaryViews:
    """Opens views of Slicer's own displayable managers, drawn only when asked; ``temporary_views`` closes them."""

    def __init__(self, app: SlicerApp) -> None:
        self._app = app
        self._views: list[SliceView | ThreeDView] = []

    def slice_view(self, name: str, orientation: str) -> SliceView:
        """A slice view, ``orientation`` one of "Axial", "Sagittal", "Coronal"."""
        from trame_slicer.views import SliceView

        view = self._opened(SliceView, name)
        view.set_orientation(orientation)
        view.get_view_node().SetOrientation(orientation)
        view._logic.ResizeSliceNode(SIZE, SIZE)
        return view

    def threed_view(self, name: str) -> ThreeDView:
        """A 3D view without box and axis letters."""
        from trame_slicer.views import ThreeDView

        view = self._opened(ThreeDView, name)
        view.set_box_visible(False)
        view.render_window().SetMultiSamples(0)  # with Mesa, multisampling and depth peeling drop what is translucent
        view.first_renderer().SetUseDepthPeelingForVolumes(False)
        view.first_renderer().SetUseFXAA(True)
        view.get_view_node().SetVolumeRenderingQuality(slicer.vtkMRMLViewNode.Adaptive)
        return view

    @staticmethod
    def send_image_to_back(view: SliceView) -> None:
        """Have the slice's image drawn first: translucent segments drawn before it would lie on black."""
        renderer, image = view.first_renderer(), view._render_manager.image_actor
        others = [prop for prop in renderer.GetViewProps() if prop is not image]
        renderer.RemoveAllViewProps()
        for prop in (image, *others):
            renderer.AddViewProp(prop)

    def close(self) -> None:
        """Detach every view from the scene and free its window."""
        for view in self._views:
            _detach(self._app, view)
        self._views.clear()

    def _opened(self, kind: type, name: str) -> SliceView | ThreeDView:
        from trame_slicer.views import NoScheduleRendering

        with _no_warnings():
            view = kind(self._app.scene, self._app.app_logic, name, scheduled_render_strategy=NoScheduleRendering())
        self._views.append(view)
        view.render_window().SetSize(SIZE, SIZE)
        return view


@contextmanager
def temporary_views(app: SlicerApp) -> Iterator[TemporaryViews]:
    """Views for the length of a ``with`` block; every node that was added within it is removed at its end."""
    before = {node.GetID() for node in _nodes(app.scene)}
    views = TemporaryViews(app)
    try:
        yield views
    finally:
        views.close()
        for node in _nodes(app.scene):
            if node.GetID() not in before and node.GetScene() is not None:
                app.scene.RemoveNode(node)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """trame-slicer's slice view observes an event that VTK 9.6 warns of; an offscreen view has no use for it."""
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)


def _nodes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLNode]:
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]


def _ignore(*_event: object) -> None:
    """For events of a view that is being closed."""


def _detach(app: SlicerApp, view: SliceView | ThreeDView) -> None:
    view._event_observer.SetPythonCallback(_ignore)
    view._displayable_manager_group.RemoveAllObservers()
    view._displayable_manager_group.SetMRMLDisplayableNode(None)
    for logics in (app.app_logic.GetSliceLogics(), app.app_logic.GetViewLogics()):
        logics.RemoveItem(view._logic)
    view._logic.SetMRMLScene(None)
    view.finalize()
