"""torchvision imported without torch's compiler, which it brings along for one function that it hardly ever calls.

The compiler (``torch._dynamo``, ``torch._inductor``, sympy) takes most of the time of ``import torchvision``, more than
a second; it is loaded where it is really asked for, by torchvision or anyone else.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_COMPILER, _PART = "torch._dynamo", "torch._dynamo.utils"


def import_torchvision() -> ModuleType:
    """torchvision, as ``import torchvision`` gives it."""
    if "torchvision" in sys.modules or _COMPILER in sys.modules:
        return importlib.import_module("torchvision")
    import torch  # noqa: F401  (some versions bring the compiler along themselves)

    stand_ins = {} if _COMPILER in sys.modules else {_COMPILER: ModuleType(_COMPILER), _PART: ModuleType(_PART)}
    for stand_in in stand_ins.values():
        stand_in.__path__ = []  # a package
        stand_in.__getattr__ = _later(stand_ins, stand_in.__name__)
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("torchvision")
    finally:
        _take_away(stand_ins)


def _later(stand_ins: dict[str, ModuleType], module: str) -> Any:
    """What a stand-in answers when asked for a name: the one function as a promise, anything else at once."""

    def answer(name: str) -> Any:
        if name == "is_compile_supported":
            return lambda device: getattr(importlib.import_module(module), name)(device)
        if name.startswith("__"):
            raise AttributeError(name)
        _take_away(stand_ins)
        return getattr(importlib.import_module(module), name)

    return answer


def _take_away(stand_ins: dict[str, ModuleType]) -> None:
    for name, stand_in in stand_ins.items():
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
