"""The module ``qt`` as scripts in 3D Slicer import it."""

from __future__ import annotations

from typing import Any

import python_qt
import slicer_widgets
from PySide6 import QtUiTools


class _Loader(QtUiTools.QUiLoader):
    """Knows the program's own widgets, as its Designer plugins do."""

    def __init__(self) -> None:
        super().__init__()
        for kind in slicer_widgets.KINDS:
            self.registerCustomWidget(kind)

    def load(self, file: Any) -> Any:
        return super().load(file.fileName())


def __getattr__(name: str) -> Any:
    return python_qt.QtClass(_Loader) if name == "QUiLoader" else python_qt.qt_class(name)
