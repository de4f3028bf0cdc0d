"""``start()``: this process as a small 3D Slicer, with real MRML, its own ``slicer.util`` and PySide6 below ``qt``."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import types
from typing import Any


class Application:
    """``slicer.app``."""

    def __init__(self, qt_application: Any, app_logic: Any, scene: Any) -> None:
        self._qt, self._logic, self._scene = qt_application, app_logic, scene
        self.connected: list[tuple[str, Any]] = []

    def connect(self, signal: str, target: Any) -> None:
        """Kept for tests to emit: this program has no start-up."""
        import inventory

        inventory.refuse_signature("qSlicerApplication", signal)
        self.connected.append((signal, target))

    def processEvents(self) -> None:
        self._qt.processEvents()

    def applicationLogic(self) -> Any:
        return self._logic

    def mrmlScene(self) -> Any:
        return self._scene

    def clipboard(self) -> Any:
        import python_qt

        return python_qt.wrap(self._qt.clipboard())

    def layoutManager(self) -> Any:
        """``None``, as in the program without a main window; a test may put views here."""
        return None

    def testingEnabled(self) -> bool:
        return True

    @property
    def slicerRevisionUserSettingsFilePath(self) -> str:
        """Beside it the panel keeps its own record."""
        return os.path.join(tempfile.gettempdir(), "CSpineFracture-stand-in", "Slicer-0.ini")


def start() -> Any:
    """Make ``qt``, ``ctk`` and ``slicer`` importable as in the program; returns the module ``slicer``."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    folder = os.path.dirname(os.path.abspath(__file__))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import slicer
    import slicer.util
    from PySide6.QtWidgets import QApplication

    from CSpineFractureLib.scene.headless import headless_app

    app = headless_app()
    if hasattr(slicer, "app"):
        return slicer
    _keep_constants()
    qt_application = QApplication.instance() or QApplication([])
    qt_application.setStyle("Fusion")
    slicer.mrmlScene = app.scene
    slicer.app = Application(qt_application, app.app_logic, app.scene)
    slicer.i18n = _module("slicer.i18n", tr=lambda text: text, translate=lambda _context, text: text)
    import parameter_node
    import python_qt
    import scripted_module
    import slicer_widgets

    slicer.qMRMLSegmentEditorWidget = python_qt.QtClass(slicer_widgets.qMRMLSegmentEditorWidget)
    names = {name: getattr(parameter_node, name) for name in ("parameterNodeWrapper", "Default", "WithinRange")}
    slicer.parameterNodeWrapper = _module("slicer.parameterNodeWrapper", **names)
    slicer.ScriptedLoadableModule = scripted_module
    sys.modules["slicer.ScriptedLoadableModule"] = scripted_module
    return slicer


def _keep_constants() -> None:
    """PySide6 6.12 takes a reference of None with each call that returns it; before Python 3.12 they run out."""
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def _module(name: str, **content: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    return module
