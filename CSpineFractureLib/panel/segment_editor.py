"""3D Slicer's Segment Editor within the panel: made when first opened, put away without a trace in the scene."""

from __future__ import annotations

from typing import Any

import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.scene.build import SceneNodes

UNDO_STATES = 10


class EmbeddedSegmentEditor:
    """The Segment Editor in a widget with a layout. It edits one study's segments at a time."""

    def __init__(self, scene: slicer.vtkMRMLScene, holder: Any) -> None:
        self._scene, self._holder = scene, holder
        self._widget: Any = None
        self._node: slicer.vtkMRMLSegmentEditorNode | None = None
        holder.setVisible(False)

    @property
    def is_open(self) -> bool:
        """Whether segments are being edited."""
        return self._node is not None

    def open(self, nodes: SceneNodes) -> None:
        """Edit a study's segments over its CT. Raises ``UserError`` where the CT is gone."""
        if nodes.volume is None or not self._scene.IsNodePresent(nodes.volume):
            message = "The CT of the study is no longer in the scene: load it again to edit the segments over it."
            raise UserError(message)
        if self._widget is None:
            self._widget = slicer.qMRMLSegmentEditorWidget()
            self._widget.setMaximumNumberOfUndoStates(UNDO_STATES)
            self._widget.setSegmentationNodeSelectorVisible(False)
            self._widget.setSourceVolumeNodeSelectorVisible(False)
            self._widget.setSwitchToSegmentationsButtonVisible(False)
            self._holder.layout().addWidget(self._widget)
        self._widget.setMRMLScene(self._scene)
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SaveWithSceneOff()
        self._node = self._scene.AddNode(node)
        self._widget.setMRMLSegmentEditorNode(self._node)
        self._widget.setSegmentationNode(nodes.segmentation)
        self._widget.setSourceVolumeNode(nodes.volume)
        self._widget.setupViewObservations()
        self._holder.setVisible(True)

    def close(self) -> None:
        """Put the editor away: no effect stays active, and its node leaves the scene."""
        if self._node is None:
            return
        node, self._node = self._node, None
        self._holder.setVisible(False)
        self._widget.setActiveEffect(None)
        self._widget.removeViewObservations()
        self._widget.setMRMLSegmentEditorNode(None)
        if self._scene.IsNodePresent(node):
            self._scene.RemoveNode(node)

    def undo(self) -> bool:
        """Take back the latest stroke; ``False`` where the editor is not open."""
        if self.is_open:
            self._widget.undo()
        return self.is_open

    def redo(self) -> bool:
        """Do the stroke again that was taken back last; ``False`` where the editor is not open."""
        if self.is_open:
            self._widget.redo()
        return self.is_open
