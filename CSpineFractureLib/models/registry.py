"""The networks by name. Creating one imports only what that network needs."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[..., nn.Module]

_BUILDERS: dict[str, Builder] = {}


def register(name: str, builder: Builder) -> None:
    """Make a network known under a name (lower case, hyphens); a later registration replaces an earlier one."""
    _BUILDERS[name] = builder


def architectures() -> list[str]:
    """The names that ``create`` knows, sorted."""
    return sorted(_BUILDERS)


def create(architecture: str, **arguments: Any) -> nn.Module:
    """A network with random weights, in training mode, on the CPU.

    Raises ValueError for a name that is not known (with the nearest ones that are) and for arguments that the network
    does not take.
    """
    builder = _BUILDERS.get(architecture)
    if builder is None:
        near = difflib.get_close_matches(str(architecture).lower(), architectures(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(architectures())}."
        message = f"There is no network {architecture!r}: {hint}"
        raise ValueError(message)
    try:
        return builder(**arguments)
    except TypeError as error:
        message = f"Network {architecture!r} cannot be made with the arguments {sorted(arguments)} ({error})."
        raise ValueError(message) from error
    except ModuleNotFoundError as error:
        message = f"Network {architecture!r} needs the Python package {error.name}: install it into this Python."
        raise UserError(message) from error


def prepare_for_inference(model: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients for the weights, batch normalisation fused where that can be; in place.

    Kernels of 2D convolutions lie with channels last: on CPUs that is faster, 1.9 times for the slice classifier and
    1.2 times for YOLO (one thread of an AMD EPYC), with results equal but for rounding.
    """
    if callable(getattr(model, "fuse", None)):
        from CSpineFractureLib.models.yolo import fuse_for_inference

        fuse_for_inference(model)
    if callable(getattr(model, "for_inference", None)):
        model.for_inference()
    import torch

    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def _slice_cnn(**arguments: Any) -> nn.Module:
    from CSpineFractureLib.models.slice_cnn import SliceCNN

    return SliceCNN(**arguments)


def _slice_backbone(kind: str) -> Builder:
    def build(**arguments: Any) -> nn.Module:
        from CSpineFractureLib.models.slice_backbones import SliceBackbone

        return SliceBackbone(kind, **arguments)

    return build


def _level_presence(**arguments: Any) -> nn.Module:
    from CSpineFractureLib.models.level_presence import LevelPresenceNet

    return LevelPresenceNet(**arguments)


def _level_baseline(kind: str) -> Builder:
    def build(**arguments: Any) -> nn.Module:
        from CSpineFractureLib.models.level_presence import LevelBaseline

        return LevelBaseline(kind, **arguments)

    return build


def _yolo(variant: str) -> Builder:
    def build(classes: int = 7, channels: int = 3) -> nn.Module:
        from CSpineFractureLib.models.yolo import build_yolo

        return build_yolo(variant, classes=classes, channels=channels)

    return build


def _unet(variant: str) -> Builder:
    def build(**arguments: Any) -> nn.Module:
        from CSpineFractureLib.models.unet import build_unet

        return build_unet(variant, **arguments)

    return build


def _resnet3d(kind: str) -> Builder:
    def build(**arguments: Any) -> nn.Module:
        from CSpineFractureLib.models.resnet3d import ResNet3D

        return ResNet3D(kind, **arguments)

    return build


def _vertebra_net(function: str, **fixed: Any) -> Builder:
    def build(**arguments: Any) -> nn.Module:
        from CSpineFractureLib.models import crack_net

        return getattr(crack_net, function)(**fixed, **arguments)

    return build


def _radiograph_net(kind: str) -> Builder:
    def build(**arguments: Any) -> nn.Module:
        from CSpineFractureLib.models import radiograph_nets

        return getattr(radiograph_nets, f"Radiograph{kind}")(**arguments)

    return build


def _sagittal_net(**arguments: Any) -> nn.Module:
    from CSpineFractureLib.models.sagittal_net import SagittalNet

    return SagittalNet(**arguments)


def _fracture_fcn(**arguments: Any) -> nn.Module:
    from CSpineFractureLib.models.fracture_fcn import FractureFCN

    return FractureFCN(**arguments)


def _level_regressor(**arguments: Any) -> nn.Module:
    from CSpineFractureLib.models.level_regressor import LevelRegressor

    return LevelRegressor(**arguments)


register("slice-cnn", _slice_cnn)
register("sagittal-unet", _sagittal_net)
register("level-regressor", _level_regressor)
register("fracture-fcn", _fracture_fcn)
for _variant in ("efficientnet-b5", "efficientnet-b0", "efficientnetv2-s", "mobilenet"):
    register(f"unet-{_variant}", _unet(f"unet-{_variant}"))
for _kind in ("small", "18", "101"):
    register(f"resnet3d-{_kind}", _resnet3d(_kind))
for _encoder in ("resnet101", "resnet18"):
    register(f"cracknet-{_encoder}", _vertebra_net("crack_net", encoder=_encoder))
register("vertebra-cnn-lstm", _vertebra_net("cnn_lstm"))
register("vertebra-resnet50", _vertebra_net("whole_slice_net"))
for _kind in ("AlexNet", "GoogLeNet", "Stacked"):
    register(f"radiograph-{_kind.lower()}", _radiograph_net(_kind))
for _kind in ("resnet50", "densenet121"):
    register(f"slice-{_kind}", _slice_backbone(_kind))
register("level-gcvit-tiny", _level_presence)
for _kind in ("resnet152", "resnet152v1", "vgg19", "densenet121", "convnext", "inceptionv3", "vit", "swin"):
    register(f"level-{_kind}", _level_baseline(_kind))
for _variant in ("yolov8n", "yolov8s", "yolov8m", "yolov8l", "yolov5n", "yolov5s", "yolov5m", "yolov5l"):
    register(_variant, _yolo(_variant))
