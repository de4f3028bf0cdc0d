"""The part of ``slicer.parameterNodeWrapper`` that the panel uses, on real vtkMRMLScriptedModuleNodes.

Values are kept as the real wrapper keeps them: strings by name, and nodes as references of that role.
"""

from __future__ import annotations

import enum
import typing
from dataclasses import dataclass
from typing import Annotated, Any

import slicer


@dataclass
class Default:
    value: Any


@dataclass
class WithinRange:
    minimum: float
    maximum: float


def parameterNodeWrapper(kind: type) -> type:
    """Give a class of typed fields properties that live in a parameter node."""
    fields = typing.get_type_hints(kind, include_extras=True)

    def __init__(self: Any, node: Any) -> None:
        self.parameterNode, self._links = node, []

    for name, hint in fields.items():
        setattr(kind, name, _property(name, hint))
    kind.__init__, kind.connectParametersToGui, kind.disconnectGui = __init__, _connect, _disconnect_gui
    kind._fields = fields
    return kind


def _split(hint: Any) -> tuple[type, tuple]:
    return (hint.__origin__, hint.__metadata__) if typing.get_origin(hint) is Annotated else (hint, ())


def _property(name: str, hint: Any) -> property:
    kind, notes = _split(hint)
    default = next((note.value for note in notes if isinstance(note, Default)), None)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return property(
            lambda self: self.parameterNode.GetNodeReference(name),
            lambda self, node: self.parameterNode.SetNodeReferenceID(name, node.GetID() if node else None),
        )
    if default is None:
        default = next(iter(kind)) if issubclass(kind, enum.Enum) else kind()

    def read(self: Any) -> Any:
        text = self.parameterNode.GetParameter(name)
        if not text:
            return default
        if issubclass(kind, enum.Enum):
            return kind[text]
        return text == "True" if kind is bool else kind(text)

    def write(self: Any, value: Any) -> None:
        if not isinstance(value, (kind, int) if kind is float else kind):
            message = f"{name} takes {kind.__name__}, not {value!r}."
            raise TypeError(message)
        self.parameterNode.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    return property(read, write)


def _connect(self: Any, widgets: dict[str, Any]) -> int:
    """Tie each field to its widget; as in the real one the tag is what ``disconnectGui`` needs."""
    self._links = [_Link(self, name, *_split(self._fields[name]), widget) for name, widget in widgets.items()]
    refresh = lambda *_: [link.to_widget() for link in self._links]  # noqa: E731
    self._tag = self.parameterNode.AddObserver("ModifiedEvent", refresh)
    refresh()
    return 0


def _disconnect_gui(self: Any, tag: int) -> None:
    if tag != 0:
        return  # the real one says nothing either
    self.parameterNode.RemoveObserver(self._tag)
    for link in self._links:
        link.widget.disconnect(link.signal, link.to_node)
    self._links.clear()


_SIGNALS = {
    "QCheckBox": ("stateChanged(int)", "checked", bool),
    "QPushButton": ("toggled(bool)", "checked", bool),
    "ctkSliderWidget": ("valueChanged(double)", "value", float),
    "QComboBox": ("currentIndexChanged(int)", "currentIndex", enum.Enum),
    "qMRMLNodeComboBox": ("currentNodeChanged(vtkMRMLNode*)", None, slicer.vtkMRMLNode),
}


class _Link:
    def __init__(self, owner: Any, name: str, kind: type, notes: tuple, widget: Any) -> None:
        self.owner, self.name, self.kind, self.widget = owner, name, kind, widget
        self.signal, self.property, wanted = _SIGNALS[widget.className()]
        if not issubclass(kind, wanted):
            message = f"No connector from {kind.__name__} to {widget.className()}."
            raise RuntimeError(message)
        bounds = next((note for note in notes if isinstance(note, WithinRange)), None)
        if wanted is float:
            if bounds is None:
                message = "A ctkSliderWidget needs a bounded number."
                raise RuntimeError(message)
            widget.minimum, widget.maximum = bounds.minimum, bounds.maximum
        if wanted is enum.Enum:
            widget.clear()
            for item in kind:
                widget.addItem(kind.label(item) if hasattr(kind, "label") else item.name)
        self.to_widget()
        widget.connect(self.signal, self.to_node)

    def to_widget(self) -> None:
        value = getattr(self.owner, self.name)
        if self.property is None:
            if self.widget.currentNode() is not value:
                self.widget.setCurrentNode(value)
            return
        if isinstance(value, enum.Enum):
            value = list(self.kind).index(value)
        if getattr(self.widget, self.property) != value:
            setattr(self.widget, self.property, value)

    def to_node(self) -> None:
        value = self.widget.currentNode() if self.property is None else getattr(self.widget, self.property)
        if issubclass(self.kind, enum.Enum):
            value = list(self.kind)[value]
        if getattr(self.owner, self.name) != value:
            setattr(self.owner, self.name, value)
