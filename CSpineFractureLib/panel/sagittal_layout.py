"""The layout for reading a cervical spine: a tall sagittal view first, axial, coronal and 3D beside it."""

from __future__ import annotations

import slicer

#: Any number that no other layout has; kept in saved scenes, so it must not change.
LAYOUT_ID = 70117

_SLICE = (
    '<item splitSize="{size}"><view class="vtkMRMLSliceNode" singletontag="{name}">'
    '<property name="orientation" action="default">{orientation}</property>'
    '<property name="viewlabel" action="default">{letter}</property>'
    '<property name="viewcolor" action="default">{colour}</property></view></item>'
)
_THREED = (
    '<item splitSize="334"><view class="vtkMRMLViewNode" singletontag="1">'
    '<property name="viewlabel" action="default">1</property></view></item>'
)


def description() -> str:
    """The layout in Slicer's XML."""
    sagittal = _SLICE.format(size=600, name="Yellow", orientation="Sagittal", letter="Y", colour="#EDD54C")
    axial = _SLICE.format(size=333, name="Red", orientation="Axial", letter="R", colour="#F34A33")
    coronal = _SLICE.format(size=333, name="Green", orientation="Coronal", letter="G", colour="#6EB04B")
    side = f'<item splitSize="400"><layout type="vertical" split="true">{axial}{coronal}{_THREED}</layout></item>'
    return f'<layout type="horizontal" split="true">{sagittal}{side}</layout>'


def show_sagittal_first(scene: slicer.vtkMRMLScene) -> None:
    """Arrange the views. Does nothing in a scene without views."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        return
    if not node.IsLayoutDescription(LAYOUT_ID):
        node.AddLayoutDescription(LAYOUT_ID, description())
    node.SetViewArrangement(LAYOUT_ID)
