"""The module as 3D Slicer sees it. The work is done in CSpineFractureLib."""

import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


def addLibraryToPath():
    """Make CSpineFractureLib importable: it lies beside this file in a build, one folder higher in a source tree."""
    folder = Path(__file__).resolve().parent
    if not (folder / "CSpineFractureLib").is_dir() and str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))


class CSpineFracture(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        addLibraryToPath()
        from CSpineFractureLib.panel.sample_data import register_sample_data
        from CSpineFractureLib.resources import resource_path

        parent.title = _("Cervical Spine Fracture")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors = ["CSpineFracture contributors"]
        parent.helpText = _("Finds the vertebrae C1 to C7 and suspected fractures in CT. Research use only.")
        parent.acknowledgementText = _("The methods are those of the documents named in the project's README.")
        parent.icon = qt.QIcon(str(resource_path("Icons/CSpineFracture.png")))
        slicer.app.connect("startupCompleted()", register_sample_data)


class CSpineFractureWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        super().setup()
        from CSpineFractureLib.panel.panel import Panel
        from CSpineFractureLib.resources import resource_path

        form = slicer.util.loadUI(str(resource_path("UI/CSpineFracture.ui")))
        self.layout.addWidget(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(form)
        self.logic = CSpineFractureLogic()
        self.panel = Panel(self.ui, slicer.mrmlScene)
        mrml = slicer.mrmlScene
        for start, end in ((mrml.StartCloseEvent, mrml.EndCloseEvent), (mrml.StartImportEvent, mrml.EndImportEvent)):
            self.addObserver(mrml, start, lambda caller, event: self.panel.detach())
            self.addObserver(mrml, end, lambda caller, event: self.isShown and self.enter())
        self.enter()

    def enter(self):
        self.isShown = True
        self.panel.attach(self.logic.getParameterNode())

    def exit(self):
        self.isShown = False
        self.panel.detach()

    def onReload(self):
        """Read the library anew, too."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "CSpineFractureLib"]:
            del sys.modules[name]
        super().onReload()

    def cleanup(self):
        self.removeObservers()
        self.panel.close()


class CSpineFractureLogic(ScriptedLoadableModuleLogic):
    def process(self, volumeNode, profile="default", onMessage=print):
        """Analyse a CT volume node; returns the StudyResult and shows segments, boxes, Grad-CAM and table. Waits."""
        from CSpineFractureLib.panel.analysis import analyse

        result = analyse(volumeNode, profile, onMessage)
        onMessage(_("{count} vertebrae found.").format(count=sum(v.assessed for v in result.vertebrae)))
        return result


class CSpineFractureTest(ScriptedLoadableModuleTest):
    def runTest(self):
        """Run the self-tests of the panel, each in an empty scene."""
        addLibraryToPath()
        from CSpineFractureLib.panel.self_test import run_checks

        run_checks(slicer.mrmlScene, slicer.mrmlScene.Clear, self.delayDisplay)
