"""The module ``ctk`` as scripts in 3D Slicer import it: only the widgets that the panel uses."""

from __future__ import annotations

from typing import Any

import python_qt
import slicer_widgets


def __getattr__(name: str) -> Any:
    kind = {kind.__name__: kind for kind in slicer_widgets.KINDS}.get(name)
    if kind is None or not name.startswith("ctk"):
        message = f"ctk has no {name}"
        raise AttributeError(message)
    return python_qt.QtClass(kind)
