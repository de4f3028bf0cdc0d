"""YOLOv8 and YOLOv5u through ultralytics' own network definitions; inference and loss without its trainer.

Document 000 finds C1-C7 with YOLOv8, documents 002 and 003 with YOLOv5, document 004 fractures with both.
ultralytics' "YOLOv5" is the anchor-free YOLOv5u: the same backbone with YOLOv8's head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from CSpineFractureLib.models.quiet_ultralytics import ultralytics_parts

VARIANTS = tuple(f"yolov{family}{size}" for family in ("8", "5") for size in "nsml")


@dataclass(frozen=True)
class Detections:
    """The ``n`` boxes of one image, best first.

    Attributes
    ----------
    boxes_xyxy
        float32 ``(n, 4)``: left, top, right, bottom in pixels; pixel edges, so the first pixel spans 0 to 1.
    scores
        float32 ``(n,)``: the score of the box's class.
    classes
        int ``(n,)``.
    class_probabilities
        float32 ``(n, nc)``: the sigmoid score of every class; they are independent and do not add up to 1.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    class_probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


def build_yolo(variant: str = "yolov8n", classes: int = 7, channels: int = 3) -> nn.Module:
    """A YOLO network with random weights, in training mode; nothing is downloaded.

    Input ``[n, channels, h, w]`` 0..1 with h and w multiples of 32. In evaluation mode the output is
    ``[n, 4 + classes, anchors]`` (box as centre x, y, width, height in pixels, then sigmoid scores); ``detect`` reads
    it. Raises ValueError for an unknown variant.
    """
    if variant not in VARIANTS:
        message = f"YOLO variant '{variant}' is not one of {', '.join(VARIANTS)}."
        raise ValueError(message)
    library = ultralytics_parts()
    family, size = variant[:-1], variant[-1]
    # The definition is given as a dictionary: by name, ultralytics would look in the current folder first.
    definition = library.definition(f"{family.removeprefix('yolo')}/{family}") | {"scale": size, "yaml_file": variant}
    model = library.DetectionModel(definition, ch=channels, nc=classes, verbose=False)
    model.args = library.get_cfg()
    return model.train()


def training_loss(model: nn.Module) -> Callable[..., tuple[torch.Tensor, object]]:
    """ultralytics' detection loss of a network built here, on the network's current device.

    ``loss(model(images), batch)`` in training mode gives the box, class and distribution parts ``[3]``, weighted by
    ``model.args.box``, ``.cls``, ``.dfl`` and multiplied by the batch size (sum them for the backward pass), and
    ultralytics' own record of them, detached, whose type depends on its version. ``batch`` holds ``img``
    ``[n, c, h, w]``, ``batch_idx`` ``[m]``, ``cls`` ``[m, 1]`` and ``bboxes`` ``[m, 4]`` (centre x, y, width, height
    as fractions of the image).
    """
    return ultralytics_parts().loss(model)


def set_class_prior(model: nn.Module, probability: float = 0.01) -> None:
    """Start all class scores at ``probability``, in place (focal-loss prior, Lin et al., ICCV 2017, section 4.1).

    ultralytics' own start is made for 640-pixel photographs (about 1e-4), from which short runs never rise.
    """
    bias = float(np.log(probability / (1 - probability)))
    for branch in model.model[-1].cv3:
        nn.init.constant_(branch[-1].bias, bias)


def fuse_for_inference(model: nn.Module) -> nn.Module:
    """Fold batch normalisation into the convolutions, in place; same results, faster, no longer trainable."""
    return model.eval().fuse(verbose=False)


@torch.no_grad()  # not inference_mode: the head keeps its anchors, which a later gradient computation may need
def detect(
    model: nn.Module,
    batch: torch.Tensor,
    conf: float = 0.25,
    iou: float = 0.5,
    max_det: int = 20,
    agnostic: bool = False,
    multi_label: bool = False,
) -> list[Detections]:
    """Boxes of a batch ``[n, channels, h, w]`` (0..1; h and w multiples of 32) after non-maximum suppression.

    Parameters
    ----------
    model
        A network of ``build_yolo``, in evaluation mode, on the device of ``batch``; fused or not.
    conf
        Boxes with no class score above this are dropped.
    iou
        Of two boxes of a class that overlap more than this, the worse is dropped; ``agnostic``: of any classes.
    max_det
        At most this many boxes per image, best first.
    multi_label
        A box counts once for every class above ``conf``, not only for its best one.

    Raises ValueError when the network is in training mode.
    """
    if model.training:
        message = "The network is in training mode: call eval() before detect()."
        raise ValueError(message)
    raw = model(batch)
    raw = raw[0] if isinstance(raw, (list, tuple)) else raw
    scores = raw[:, 4:].transpose(1, 2)
    kept, indices = ultralytics_parts().nms(
        raw,
        conf,
        iou,
        agnostic=agnostic,
        multi_label=multi_label,
        max_det=max_det,
        max_time_img=10.0,
        return_idxs=True,
    )
    found = []
    for rows, index, of_image in zip(kept, indices, scores, strict=True):
        rows = rows.float().cpu().numpy()
        probabilities = of_image[index.view(-1).long()].float().cpu().numpy()
        found.append(Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(int), probabilities))
    return found
