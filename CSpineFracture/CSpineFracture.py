"""The module as 3D Slicer sees it. The work is done in CSpineFractureLib."""

import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


def addLibraryToPath():
    """Make CSpineFractureLib importable: it lies beside this file in a build, one folder higher in a source tree."""
    folder = Path(__file__).resolve().parent
    if not (folder / "CSpineFractureLib").is_dir() and str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))


class CSpineFracture(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        addLibraryToPath()
        from CSpineFractureLib.resources import resource_path

        parent.title = _("Cervical Spine Fracture")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors = ["CSpineFracture contributors"]
        parent.helpText = _("Finds the vertebrae C1 to C7 and suspected fractures in CT. Research use only.")
        parent.acknowledgementText = _("The methods are those of the documents named in the project's README.")
        parent.icon = qt.QIcon(str(resource_path("Icons/CSpineFracture.png")))


@parameterNodeWrapper
class CSpineFractureParameterNode:
    inputVolume: slicer.vtkMRMLScalarVolumeNode


class CSpineFractureWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        super().setup()
        from CSpineFractureLib.resources import resource_path

        form = slicer.util.loadUI(str(resource_path("UI/CSpineFracture.ui")))
        self.layout.addWidget(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(form)
        self.logic = CSpineFractureLogic()
        self.parameterNode = None
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.openButton.connect("clicked(bool)", self.onOpen)
        self.enter()

    def enter(self):
        """Tie the widgets to the parameter node of the scene as it is now."""
        self.exit()
        self.parameterNode = CSpineFractureParameterNode(self.logic.getParameterNode())
        self.guiTag = self.parameterNode.connectGui(self.ui)

    def exit(self):
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self.guiTag)
        self.parameterNode = None

    def cleanup(self):
        self.exit()

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("The analysis failed."), waitCursor=True):
            show = lambda message: (self.ui.statusLabel.setText(message), slicer.app.processEvents())  # noqa: E731
            self.logic.process(self.ui.inputSelector.currentNode(), onMessage=show)

    def onOpen(self):
        with slicer.util.tryWithErrorDisplay(_("The result could not be opened."), waitCursor=True):
            slicer.util.loadScene(str(Path(self.ui.resultPath.currentPath) / "scene.mrb"))


class CSpineFractureLogic(ScriptedLoadableModuleLogic):
    def process(self, volumeNode, profile="default", onMessage=print):
        """Analyse a CT volume node; returns the StudyResult and shows segments, boxes, Grad-CAM and table."""
        from CSpineFractureLib.panel.analysis import analyse

        result = analyse(volumeNode, profile, onMessage)
        onMessage(_("{count} vertebrae found.").format(count=sum(v.assessed for v in result.vertebrae)))
        return result


class CSpineFractureTest(ScriptedLoadableModuleTest):
    def test_resources_are_found(self):
        from CSpineFractureLib.resources import resource_path

        for name in ("UI/CSpineFracture.ui", "Icons/CSpineFracture.png", "Schemas/cspine-result-1.schema.json"):
            self.assertTrue(resource_path(name).is_file(), name)  # noqa: PT009 - Slicer runs it with unittest
