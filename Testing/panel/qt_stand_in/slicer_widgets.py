"""The program's own widgets that the panel uses, in PySide6: enough to be filled, read, drawn and clicked."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, QPoint, Qt, Signal
from PySide6.QtGui import QPainter, QPolygon
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid


class qMRMLWidget(QWidget):
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        """As in the program, children get the scene only where somebody gives it to them."""
        self._scene = scene

    def mrmlScene(self) -> Any:
        return getattr(self, "_scene", None)


class qMRMLNodeComboBox(QWidget):
    currentNodeChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box, self._types, self._scene = QComboBox(self), [], None
        self._ids: list[str | None] = []
        self._none = self._add = self._remove = False
        self._box.currentIndexChanged.connect(lambda _index: self.currentNodeChanged.emit(self.currentNode()))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._box.setMinimumContentsLength(8)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent)
        self._tags = [scene.AddObserver(event, self._on_scene) for event in events]
        self._refill()

    def _on_scene(self, *_event: Any) -> None:
        """Follow the scene until Qt has deleted the widget."""
        if isValid(self):
            self._refill()
            return
        for tag in self._tags:
            self._scene.RemoveObserver(tag)

    def _refill(self) -> None:
        keep = self.currentNode()
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        nodes = [node for node in nodes if node.GetClassName() in self._types and not node.GetHideFromEditors()]
        ids = ([None] if self._none else []) + [node.GetID() for node in nodes]
        if ids == self._ids:
            return
        self._box.blockSignals(True)
        self._box.clear()
        self._box.addItems((["None"] if self._none else []) + [node.GetName() for node in nodes])
        self._ids = ids
        kept = keep is not None and keep.GetID() in ids
        self._box.setCurrentIndex(ids.index(keep.GetID()) if kept else (0 if ids else -1))
        self._box.blockSignals(False)
        if not kept:
            self.currentNodeChanged.emit(self.currentNode())

    def currentNode(self) -> Any:
        index = self._box.currentIndex()
        if self._scene is None or not 0 <= index < len(self._ids) or self._ids[index] is None:
            return None
        return self._scene.GetNodeByID(self._ids[index])

    def setCurrentNode(self, node: Any) -> None:
        wanted = None if node is None else node.GetID()
        self._box.setCurrentIndex(self._ids.index(wanted) if wanted in self._ids else -1)

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    noneEnabled = Property(bool, lambda self: self._none, lambda self, on: setattr(self, "_none", on))
    addEnabled = Property(bool, lambda self: self._add, lambda self, on: setattr(self, "_add", on))
    removeEnabled = Property(bool, lambda self: self._remove, lambda self, on: setattr(self, "_remove", on))


class ctkSliderWidget(QWidget):
    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._spin = QSlider(Qt.Horizontal, self), QDoubleSpinBox(self)
        self._slider.setRange(0, 1000)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spin)
        self._slider.valueChanged.connect(self._from_slider)
        self._spin.valueChanged.connect(self._from_spin)

    def _from_slider(self, step: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        if abs((self._spin.value() - low) / max(high - low, 1e-9) * 1000 - step) >= 1:
            self._spin.setValue(low + (high - low) * step / 1000)

    def _from_spin(self, value: float) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._slider.setValue(round((value - low) / max(high - low, 1e-9) * 1000))
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    value = Property(float, lambda self: self._spin.value(), lambda self, x: self._spin.setValue(x))
    minimum = Property(float, lambda self: self._spin.minimum(), lambda self, x: self._spin.setMinimum(x))
    maximum = Property(float, lambda self: self._spin.maximum(), lambda self, x: self._spin.setMaximum(x))
    singleStep = Property(float, lambda self: self._spin.singleStep(), lambda self, x: self._spin.setSingleStep(x))
    decimals = Property(int, lambda self: self._spin.decimals(), lambda self, x: self._spin.setDecimals(x))
    suffix = Property(str, lambda self: self._spin.suffix(), lambda self, x: self._spin.setSuffix(x))


class ctkCollapsibleButton(QAbstractButton):
    contentsCollapsed = Signal(bool)
    HEADER = 26

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self.setCheckable(True)
        self.setChecked(True)
        self.clicked.connect(lambda open_now: self._collapse(not open_now))
        self.setContentsMargins(0, self.HEADER, 0, 0)

    def _collapse(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        for child in self.children():
            if isinstance(child, QWidget) and not child.property("hiddenByPanel"):
                child.setVisible(not collapsed)
        if self.layout() is not None:
            self.setMaximumHeight(self.HEADER if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    def showEvent(self, _event: Any) -> None:
        if self._collapsed:
            self._collapse(True)

    def paintEvent(self, _event: Any) -> None:
        painter, mid = QPainter(self), self.HEADER // 2
        painter.fillRect(0, 2, self.width(), self.HEADER - 4, self.palette().button())
        painter.setBrush(self.palette().buttonText())
        arrow = [(8, mid - 3), (16, mid - 3), (12, mid + 3)]
        if self._collapsed:
            arrow = [(9, mid - 4), (9, mid + 4), (15, mid)]
        painter.drawPolygon(QPolygon([QPoint(x, y) for x, y in arrow]))
        painter.setPen(self.palette().buttonText().color())
        painter.drawText(24, 0, self.width(), self.HEADER, Qt.AlignVCenter, self.text())

    collapsed = Property(bool, lambda self: self._collapsed, _collapse)


class ctkPathLineEdit(QWidget):
    currentPathChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._edit = QLineEdit(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(QPushButton("...", self))
        self._edit.textChanged.connect(self.currentPathChanged)

    currentPath = Property(str, lambda self: self._edit.text(), lambda self, path: self._edit.setText(path))


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The nodes that the Segment Editor works on, kept in its real parameter node; it has no effects here."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self.calls: list[str] = []
        QVBoxLayout(self).addWidget(QLabel("(Segment Editor of 3D Slicer)", self))

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._node = node

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node.SetAndObserveSegmentationNode(node)

    def segmentationNode(self) -> Any:
        return None if self._node is None else self._node.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self._node.SetAndObserveSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        return None if self._node is None else self._node.GetSourceVolumeNode()

    def setActiveEffect(self, effect: Any) -> None:
        self.calls.append(f"effect {effect}")

    def setupViewObservations(self) -> None:
        self.calls.append("observe")

    def removeViewObservations(self) -> None:
        self.calls.append("let go")

    def undo(self) -> None:
        self.calls.append("undo")

    def redo(self) -> None:
        self.calls.append("redo")

    def setMaximumNumberOfUndoStates(self, _count: int) -> None: ...

    def setSegmentationNodeSelectorVisible(self, _visible: bool) -> None: ...

    def setSourceVolumeNodeSelectorVisible(self, _visible: bool) -> None: ...

    def setSwitchToSegmentationsButtonVisible(self, _visible: bool) -> None: ...


KINDS = (qMRMLWidget, qMRMLNodeComboBox, ctkSliderWidget, ctkCollapsibleButton, ctkPathLineEdit)
