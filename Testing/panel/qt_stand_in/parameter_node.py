"""The part of ``slicer.parameterNodeWrapper`` that the panel uses, on real vtkMRMLScriptedModuleNodes.

It follows the real one (wrapper.py, serializers.py and guiConnectors.py of Slicer 5.13) where a panel could notice:
defaults are written into the node at once; values are kept as strings by name, nodes as references of that role; a
value is read anew when the node is modified, not before; and what follows the node for the widgets is never removed.
"""

from __future__ import annotations

import enum
import typing
import weakref
from contextlib import contextmanager
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
    reserved = ("default", "isCached", "dataType", "getValue", "setValue", "connectGui", "StartModify", "Modified")
    for name in fields:
        if name in reserved or name.startswith("__"):
            message = f"Cannot use reserved name '{name}' in a parameterNodeWrapper"
            raise ValueError(message)
        setattr(kind, name, _property(name))
    kind.__init__, kind.connectParametersToGui, kind.disconnectGui = _init, _connect, _disconnect_gui
    kind._fields = fields
    return kind


def _init(self: Any, node: Any) -> None:
    self.parameterNode, self._guis, self._next_tag, self._updating = node, {}, 0, False
    self._values = {name: _Value(node, name, *_split(hint)) for name, hint in self._fields.items()}


def _property(name: str) -> property:
    return property(lambda self: self._values[name].value, lambda self, value: self._values[name].write(value))


def _split(hint: Any) -> tuple[type, tuple]:
    return (hint.__origin__, hint.__metadata__) if typing.get_origin(hint) is Annotated else (hint, ())


@contextmanager
def _modifying(node: Any) -> typing.Iterator[None]:
    before = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(before)


class _Value:
    """One parameter, with the value that was read last."""

    def __init__(self, node: Any, name: str, kind: type, notes: tuple) -> None:
        self.node, self.name, self.kind, self.writing = node, name, kind, False
        self.bounds = next((note for note in notes if isinstance(note, WithinRange)), None)
        given = next((note.value for note in notes if isinstance(note, Default)), None)
        if not node.HasParameter(name):
            self._store(self._fallback() if given is None else given)
        self.value = self._read()
        this = weakref.ref(self)
        tag = node.AddObserver("ModifiedEvent", lambda *_: this() is None or this().on_modified())
        weakref.finalize(self, node.RemoveObserver, tag)

    def _fallback(self) -> Any:
        if issubclass(self.kind, slicer.vtkMRMLNode):
            return None
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def on_modified(self) -> None:
        if not self.writing:
            self.value = self._read()

    def write(self, value: Any) -> None:
        self.writing = True
        try:
            with _modifying(self.node):
                self._store(value)
                self.value = self._read()
        finally:
            self.writing = False

    def _store(self, value: Any) -> None:
        is_node = issubclass(self.kind, slicer.vtkMRMLNode)
        if not isinstance(value, (float, int) if self.kind is float else self.kind) and not (is_node and value is None):
            message = f"{self.name} takes {self.kind.__name__}, not {value!r}."
            raise ValueError(message)
        if self.bounds is not None and not self.bounds.minimum <= value <= self.bounds.maximum:
            message = f"{self.name} must be within {self.bounds}, not {value!r}."
            raise ValueError(message)
        if is_node:
            self.node.SetParameter(self.name, "")
            self.node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            self.node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))

    def _read(self) -> Any:
        if issubclass(self.kind, slicer.vtkMRMLNode):
            return self.node.GetNodeReference(self.name)
        text = self.node.GetParameter(self.name)
        if issubclass(self.kind, enum.Enum):
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)


def _connect(self: Any, widgets: dict[str, Any]) -> int:
    """Tie each field to its widget; the tag is what ``disconnectGui`` needs."""
    links = [_Link(self, name, *_split(self._fields[name]), widget) for name, widget in widgets.items()]
    tag, self._next_tag = self._next_tag, self._next_tag + 1
    self._guis[tag] = links
    for link in links:
        link.to_widget()
        link.connect()
    self.parameterNode.AddObserver("ModifiedEvent", lambda *_: _update(self))
    return tag


def _update(self: Any) -> None:
    if self._updating:
        return
    self._updating = True
    try:
        with _modifying(self.parameterNode):
            for links in list(self._guis.values()):
                for link in links:
                    link.to_widget()
    finally:
        self._updating = False


def _disconnect_gui(self: Any, tag: int) -> None:
    for link in self._guis.pop(tag, ()):  # the real one says nothing of an unknown tag either
        link.disconnect()


_SIGNALS = {
    "QCheckBox": ("stateChanged(int)", "checked", bool),
    "QPushButton": ("toggled(bool)", "checked", bool),
    "ctkSliderWidget": ("valueChanged(double)", "value", float),
    "QComboBox": ("currentIndexChanged(int)", "currentIndex", enum.Enum),
    "qMRMLNodeComboBox": ("currentNodeChanged(vtkMRMLNode*)", None, slicer.vtkMRMLNode),
}


class _Link:
    """One field and its widget."""

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
        if wanted is slicer.vtkMRMLNode:
            widget.nodeTypes = [kind.__name__]

    def connect(self) -> None:
        self.widget.connect(self.signal, self.to_node)

    def disconnect(self) -> None:
        self.widget.disconnect(self.signal, self.to_node)

    def to_widget(self) -> None:
        value = getattr(self.owner, self.name)
        if self.property is None:
            self.widget.setCurrentNode(value)
        else:
            setattr(self.widget, self.property, list(self.kind).index(value) if isinstance(value, enum.Enum) else value)

    def to_node(self) -> None:
        with _modifying(self.owner.parameterNode):
            if not self.owner._updating:
                value = self.widget.currentNode() if self.property is None else getattr(self.widget, self.property)
                setattr(self.owner, self.name, list(self.kind)[value] if issubclass(self.kind, enum.Enum) else value)
