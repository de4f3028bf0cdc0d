"""Which members the classes of the real desktop program have; where the list is absent nothing can be refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[4] / "shared" / "slicer-api" / "slicer_api.json"
_KINDS = ("properties", "signals", "slots", "invokables", "enums", "methods", "attributes")
_ANY = {"className", "help", "delete", "name", "connect", "disconnect"}  # PythonQt gives these to every object


@functools.cache
def _facts() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


@functools.cache
def _classes() -> dict[str, dict]:
    return {**_facts().get("qt", {}), **_facts().get("widgets", {})}


@functools.cache
def members(name: str) -> dict[str, str]:
    """Member to kind, of a class with its bases; empty for a class that is not listed."""
    if name not in _classes():
        return {}
    found: dict[str, str] = {}
    for owner in (name, *_classes()[name].get("bases", ())):
        for kind in _KINDS:
            for member in _classes().get(owner, {}).get(kind, ()):
                found.setdefault(member, kind)
    return found


def has_class(name: str) -> bool:
    """Whether the program has a Qt, ctk or Slicer class of this name."""
    return not _facts() or name in _classes()


def refuse_unknown(owner: str, name: str) -> None:
    """Raise ``AttributeError`` when the real class surely has no such member."""
    known = members(owner)
    if known and name not in known and name not in _ANY and "incomplete" not in _classes()[owner]:
        message = f"{owner} has no {name} in 3D Slicer."
        raise AttributeError(message)


def refuse_signature(owner: str, text: str) -> None:
    """Raise ``AttributeError`` when the class has no signal of this signature, such as ``clicked(bool)``."""
    name, _, arguments = text.replace("const ", "").replace("&", "").replace(" ", "").partition("(")
    if not members(owner):
        return
    for known in (owner, *_classes()[owner].get("bases", ())):
        if "(" + arguments in _classes().get(known, {}).get("signals", {}).get(name, ()):
            return
    message = f"{owner} has no signal {text} in 3D Slicer."
    raise AttributeError(message)


def python_names(module: str) -> set[str] | None:
    """The names of a Python module of Slicer, or ``None`` where it is not listed."""
    facts = _facts().get("python", {}).get(module)
    if facts is None:
        return None
    groups = (facts.get(group, ()) for group in ("functions", "classes", "aliases", "names"))
    return {name for group in groups for name in group}
