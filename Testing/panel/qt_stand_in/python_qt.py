"""PySide6 objects that behave as PythonQt's do: properties without a call, ``connect("clicked(bool)", f)``.

Whatever the inventory of the real program does not have is refused with ``AttributeError``.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from typing import Any

import inventory
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_MODULES = (QtWidgets, QtGui, QtCore, QtUiTools)


def _listed_name(kind: type) -> str:
    """The nearest class that the inventory lists."""
    return next((base.__name__ for base in kind.__mro__ if inventory.members(base.__name__)), kind.__name__)


def wrap(value: Any) -> Any:
    """A Qt object or value as PythonQt shows it; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(wrap(item) for item in value)
    is_qt = isinstance(value, QtCore.QObject) or type(value).__module__.startswith("PySide6.")
    return Wrapped(value) if is_qt and not isinstance(value, enum.Enum) else value


def unwrap(value: Any) -> Any:
    """The PySide6 object below a wrapped one; lists item by item."""
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(item) for item in value)
    return value._object if isinstance(value, Wrapped) else value


class Wrapped:
    """One Qt object, value or item as PythonQt shows it."""

    def __init__(self, value: Any) -> None:
        object.__setattr__(self, "_object", value)

    def __getattr__(self, name: str) -> Any:
        value = self._object
        if name == "name":
            return value.objectName() if isinstance(value, QtCore.QObject) else None
        if name == "className":
            return lambda: type(value).__name__
        if name in ("connect", "disconnect"):
            return lambda signal, target: _connect(value, name, signal, target)
        if name.startswith("__"):
            raise AttributeError(name)
        inventory.refuse_unknown(_listed_name(type(value)), name)
        if name == "setVisible":
            return lambda on: _set_visible(value, on)
        if _is_property(value, name):
            return wrap(value.property(name))
        return _call(getattr(value, name))

    def __setattr__(self, name: str, content: Any) -> None:
        inventory.refuse_unknown(_listed_name(type(self._object)), name)
        if not _is_property(self._object, name):
            message = f"{type(self._object).__name__}.{name} is no property that can be set."
            raise AttributeError(message)
        self._object.setProperty(name, unwrap(content))

    def __eq__(self, other: object) -> bool:
        return unwrap(other) is self._object or (other is not None and unwrap(other) == self._object)

    def __hash__(self) -> int:
        return hash(id(self._object))

    def __repr__(self) -> str:
        return f"{type(self._object).__name__} at {id(self._object):#x}"


class QtClass:
    """A Qt class as the modules ``qt`` and ``ctk`` offer it: call it to make an object."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def __call__(self, *arguments: Any) -> Wrapped:
        return wrap(self.kind(*(unwrap(argument) for argument in arguments)))

    def __getattr__(self, name: str) -> Any:
        inventory.refuse_unknown(_listed_name(self.kind), name)
        found = getattr(self.kind, name)
        return found if isinstance(found, enum.Enum) else _call(found)


def qt_class(name: str) -> QtClass:
    """The Qt class of a name, where the program has it too."""
    for module in _MODULES:
        if hasattr(module, name) and inventory.has_class(name):
            return QtClass(getattr(module, name))
    message = f"qt has no {name}"
    raise AttributeError(message)


def _is_property(value: Any, name: str) -> bool:
    return isinstance(value, QtCore.QObject) and value.metaObject().indexOfProperty(name) >= 0


def _set_visible(widget: QtWidgets.QWidget, on: bool) -> None:
    """A ctkCollapsibleButton that opens leaves hidden what a script has hidden, as the real one does."""
    widget.setProperty("hiddenByPanel", not on)
    widget.setVisible(on)


def _call(function: Any) -> Any:
    if not callable(function):
        return wrap(function)
    return lambda *arguments: wrap(function(*(unwrap(argument) for argument in arguments)))


_slots: dict[tuple[int, str, Any], Callable] = {}


def _connect(value: QtCore.QObject, action: str, signal: str, target: Callable) -> bool:
    """As PythonQt does, give the target only as many arguments as it takes."""
    inventory.refuse_signature(_listed_name(type(value)), signal)
    name = signal.partition("(")[0]
    key = (id(value), signal, target)
    bound = getattr(value, name)
    if action == "disconnect":
        bound.disconnect(_slots.pop(key))
        return True
    parameters = inspect.signature(target).parameters.values()
    many = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    count = 99 if many else len(parameters)
    _slots[key] = lambda *arguments: target(*(wrap(argument) for argument in arguments[:count]))
    bound.connect(_slots[key])
    return True
