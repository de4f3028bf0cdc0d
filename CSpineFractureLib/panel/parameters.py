"""The panel's choices as typed fields of the parameter node: they are saved and loaded with the scene."""

import enum
from typing import Annotated, Any

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from CSpineFractureLib.panel.display import Shown
from CSpineFractureLib.volume.windows import BONE, BONE_400_1800, BONE_600_2800, BONE_700_4000, Window


class ProfileChoice(enum.Enum):
    """The systems that read a CT; the value is the profile's name."""

    TWO_STAGE = "two-stage"
    VERTEBRA_YOLO = "vertebra-yolo"
    GCVIT_YOLO = "gcvit-yolo"
    UNET_CRACKNET = "unet-cracknet"

    def label(self) -> str:
        """The text in the panel."""
        return {
            ProfileChoice.TWO_STAGE: _("Two stages: slice network, then boxes"),
            ProfileChoice.VERTEBRA_YOLO: _("Vertebra boxes only"),
            ProfileChoice.GCVIT_YOLO: _("GCViT levels, then fracture boxes"),
            ProfileChoice.UNET_CRACKNET: _("U-Net segments, then CrackNet"),
        }[self]


class DeviceChoice(enum.Enum):
    """Where the networks run; the value is the worker's name for it."""

    AUTOMATIC = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """The text in the panel."""
        return {
            DeviceChoice.AUTOMATIC: _("Automatic"),
            DeviceChoice.CPU: _("Processor (CPU)"),
            DeviceChoice.CUDA: _("Graphics card (CUDA)"),
            DeviceChoice.MPS: _("Apple graphics (MPS)"),
        }[self]


class WindowChoice(enum.Enum):
    """The display windows of the source documents."""

    BONE = "bone"
    BONE_600_2800 = "600/2800"
    BONE_700_4000 = "700/4000"
    BONE_400_1800 = "400/1800"

    def label(self) -> str:
        """Centre and width, in HU."""
        window = self.window()
        name = _("Bone") if self is WindowChoice.BONE else _("Bone, document 002")
        return f"{name}: {window.centre:.0f} / {window.width:.0f} HU"

    def window(self) -> Window:
        """The window itself."""
        return {
            WindowChoice.BONE: BONE,
            WindowChoice.BONE_600_2800: BONE_600_2800,
            WindowChoice.BONE_700_4000: BONE_700_4000,
            WindowChoice.BONE_400_1800: BONE_400_1800,
        }[self]


@parameterNodeWrapper
class PanelParameters:
    """Each field is tied to the widget whose SlicerParameterName names it."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    profile: Annotated[ProfileChoice, Default(ProfileChoice.TWO_STAGE)]
    device: Annotated[DeviceChoice, Default(DeviceChoice.AUTOMATIC)]
    fractureThreshold: Annotated[float, WithinRange(0.0, 1.0), Default(0.5)]
    hideUntilRead: Annotated[bool, Default(False)]
    showSegments: Annotated[bool, Default(True)]
    showVertebraBoxes: Annotated[bool, Default(True)]
    showFractureBoxes: Annotated[bool, Default(True)]
    showLevelNames: Annotated[bool, Default(True)]
    showCam: Annotated[bool, Default(True)]
    camOpacity: Annotated[float, WithinRange(0.0, 1.0), Default(0.45)]
    camThreshold: Annotated[float, WithinRange(0.0, 1.0), Default(0.16)]
    window: Annotated[WindowChoice, Default(WindowChoice.BONE)]


def drop_unknown_choices(node: slicer.vtkMRMLScriptedModuleNode) -> None:
    """Forget choices in a parameter node that this version does not offer: a scene may come from another version."""
    for name, kind in (("profile", ProfileChoice), ("device", DeviceChoice), ("window", WindowChoice)):
        if node.HasParameter(name) and node.GetParameter(name) not in kind.__members__:
            node.UnsetParameter(name)


def connect(parameters: PanelParameters, ui: Any) -> int:
    """Tie each field to its widget; gives the tag for ``disconnectGui``, which Slicer's own ``connectGui`` does not."""
    widgets = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
    return parameters.connectParametersToGui({name: widget for name, widget in widgets.items() if name})


def shown_of(parameters: PanelParameters) -> Shown:
    """The display choices among the parameters."""
    return Shown(
        segments=parameters.showSegments,
        vertebra_boxes=parameters.showVertebraBoxes,
        fracture_boxes=parameters.showFractureBoxes,
        level_names=parameters.showLevelNames,
        cam=parameters.showCam,
        cam_opacity=parameters.camOpacity,
        cam_threshold=parameters.camThreshold,
    )
