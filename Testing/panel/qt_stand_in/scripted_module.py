"""``slicer.ScriptedLoadableModule``: the base classes of a scripted module."""

from __future__ import annotations

import unittest
from typing import Any

import qt
import slicer


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent, self.moduleName = parent, type(self).__name__


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent or qt.QWidget()
        self._box = qt.QVBoxLayout(self.parent)
        self.moduleName = type(self).__name__.removesuffix("Widget")

    @property
    def layout(self) -> Any:
        return self._box

    def setup(self) -> None:
        pass

    def onReload(self) -> None:
        pass


class ScriptedLoadableModuleLogic:
    def __init__(self, _parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        """One singleton per module, as the real logic keeps it."""
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if found is None:
            found = slicer.vtkMRMLScriptedModuleNode()
            found.SetSingletonTag(self.moduleName)
            found.SetModuleName(self.moduleName)
            found.SetAttribute("ModuleName", self.moduleName)
            found = slicer.mrmlScene.AddNode(found)
        return found


class ScriptedLoadableModuleTest(unittest.TestCase):
    def runTest(self) -> None:
        """Run every method whose name contains "test", each with ``setUp``."""
        for name in dir(self):
            if name.lower().startswith("test") and callable(getattr(self, name)):
                self.setUp()
                getattr(self, name)()
                self.tearDown()

    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:
        pass
