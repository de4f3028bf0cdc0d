"""Weights of ImageNet or COCO from a local file as the start of a training. Nothing is fetched, nothing unpickled.

Files that fit (the user gets them; names on the Hugging Face hub, each ``model.safetensors`` there):

=========================== =======================================================
slice-resnet50              ``timm/resnet50.a1_in1k`` (torchvision's .pth fits, too)
slice-densenet121           ``timm/densenet121.ra_in1k`` (torchvision's, too)
level-gcvit-tiny            ``gcvit_tiny_224_nvidia-ac783954.pth`` of timm's releases
level-resnet152             none; ``level-resnet152v1``: ``timm/resnet152.a1_in1k``
level-vgg19                 ``timm/vgg19.tv_in1k`` (torchvision's, too)
level-densenet121           as slice-densenet121
level-convnext              ``timm/convnext_small.fb_in1k``
level-inceptionv3           ``timm/inception_v3.tf_in1k`` (torchvision's, too)
level-vit                   ``timm/vit_base_patch32_224.augreg_in21k_ft_in1k``
level-swin                  ``timm/swin_small_patch4_window7_224.ms_in1k``
yolov8*, yolov5*            ultralytics' ``yolov8n.pt``, ``yolov5nu.pt`` and so on, after their conversion (below)
=========================== =======================================================

ultralytics' own .pt files are pickles of a whole network and are refused. Where ultralytics is trusted, two lines turn
one into a file that fits: ``state = YOLO("yolov8n.pt").model.state_dict()`` and ``safetensors.torch.save_file(state,
"yolov8n.safetensors")``.
"""

from __future__ import annotations

import pickle
import re
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from CSpineFractureLib.errors import UserError

_WRAPPERS = ("state_dict", "model_state", "model")
_PREFIXES = ("module.", "_orig_mod.")
_TORCHVISION_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class StartReport:
    """What became of a file's tensors.

    Attributes
    ----------
    loaded
        How many went into the network, the adapted ones included.
    skipped
        Names, as in the file, of those that did not: other heads, other shapes.
    adapted
        Names of those that were changed to fit: a first convolution of three channels summed into one, or
        interpolated position tables of a transformer that is built for another image size.
    """

    loaded: int
    skipped: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)


def start_from(model: nn.Module, path: str | Path) -> StartReport:
    """Fill a network with what fits of a local file, in place; heads of another shape stay as they are.

    ``path`` is a .safetensors file, or a .pt or .pth that holds nothing but tensors. Names are compared with those of
    the whole network and with those of its ``backbone``. Raises UserError when the file cannot be read, needs
    unpickling, or fills less than half of the backbone, or less than half of it is used: then it belongs to another
    architecture, and the network is as before.
    """
    path = Path(path)
    backbone = getattr(model, "backbone", model)
    best: tuple[int, nn.Module, dict[str, torch.Tensor], list[str]] | None = None
    with warnings.catch_warnings():  # of torch and timm about each other's versions
        warnings.simplefilter("ignore")
        state = _without_prefixes(_read(path))
        for part, stored in ((model, state), (backbone, _as_timm_names(state, backbone))):
            fitting, skipped = _fitting(part, stored)
            count = _weights(fitting)
            if best is None or count > best[0]:
                best = count, part, fitting, skipped
    count, part, fitting, skipped = best
    if 2 * count < _weights(backbone.state_dict()) or 2 * count < _weights(state):
        message = (
            f"'{path}' holds a checkpoint of another architecture (only {count} of its {_weights(state)} tensors fit):"
            " give the weights of the network that is trained, or none."
        )
        raise UserError(message)
    part.load_state_dict(fitting, strict=False)
    adapted = [name for name, tensor in fitting.items() if name in state and state[name].shape != tensor.shape]
    return StartReport(len(fitting), skipped, adapted)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name."""
    kind = path.suffix.lower()
    if kind not in (".safetensors", ".pt", ".pth"):
        message = f"'{path}' cannot be read as starting weights: give a .safetensors, .pt or .pth file."
        raise UserError(message)
    try:
        # weights_only: a file that wants to run code is refused
        content = load_file(path) if kind == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"'{path}' is damaged or holds program objects besides tensors, and is not opened: where you trust its"
            " source, load it with the package that made it and save its state_dict() with safetensors.torch.save_file."
        )
        raise UserError(message) from error
    except OSError as error:
        message = f"'{path}' could not be read ({error.strerror or error}): name a file on this computer."
        raise UserError(message) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        message = f"'{path}' is damaged or not a file of weights: get it again."
        raise UserError(message) from error
    for name in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = content.items() if isinstance(content, dict) else ()
    return {name: one for name, one in tensors if isinstance(name, str) and isinstance(one, torch.Tensor)}


def _without_prefixes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names without what DataParallel and compile put before all of them."""
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _as_timm_names(state: dict[str, torch.Tensor], backbone: nn.Module) -> dict[str, torch.Tensor]:
    """Older and original layouts as timm's network has them: by timm's own filter for that network, if it has one."""
    state = {_TORCHVISION_DENSENET.sub(r"\1", name): tensor for name, tensor in state.items()}
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return convert(state, backbone)
    except (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return state  # of another architecture: what fits then decides


def _fitting(part: nn.Module, stored: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The stored tensors that have a place in ``part``, in its shapes, and the names of the others."""
    wanted = part.state_dict()
    fitting, skipped = {}, []
    for name, tensor in stored.items():
        fits = _in_shape(name, tensor, wanted[name].shape) if name in wanted else None
        if fits is None:
            skipped.append(name)
        else:
            fitting[name] = fits
    return fitting, skipped


def _in_shape(name: str, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """A tensor in the shape of its place, or None where that would not mean the same."""
    if tensor.shape == shape:
        return tensor
    if tensor.ndim == 4 and tensor.shape[1] == 3 and shape == (len(tensor), 1, *tensor.shape[2:]):
        return tensor.float().sum(1, keepdim=True)  # as if all three channels were the same grey
    if tensor.ndim != len(shape) or tensor.shape[-1] != shape[-1]:
        return None
    if name.endswith("relative_position_bias_table"):
        from timm.layers import resize_rel_pos_bias_table

        window = (round(shape[0] ** 0.5) + 1) // 2
        return resize_rel_pos_bias_table(tensor.float(), (window, window), tuple(shape))
    if name.endswith("pos_embed"):
        from timm.layers import resample_abs_pos_embed

        grid = round((shape[1] - 1) ** 0.5)
        return resample_abs_pos_embed(tensor.float(), [grid, grid])
    return None


def _weights(state: dict[str, torch.Tensor]) -> int:
    """How many tensors there are, counters aside."""
    return sum(not name.endswith(_COUNTER) for name in state)
