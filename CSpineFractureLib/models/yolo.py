"""YOLOv8 and YOLOv5u through ultralytics' own network definitions; inference and loss without its trainer.

ultralytics (AGPL-3.0) is used as a package. Its telemetry, hub and auto-install are switched off before it is
imported, and its settings live in a private folder of this process, never in the user's home.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

VARIANTS = tuple(f"yolov{family}{size}" for family in ("8", "5") for size in "nsml")


@dataclass(frozen=True)
class Detections:
    """Boxes of one image: ``boxes_xyxy`` (n, 4) pixel edges, ``scores`` (n,), ``classes`` (n,) int,
    ``class_probabilities`` (n, nc) the sigmoid score of every class for each kept box."""

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    class_probabilities: np.ndarray


@cache
def _quiet_ultralytics() -> SimpleNamespace:
    """Import ultralytics with telemetry, hub, downloads and auto-install off."""
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="cspine-yolo-"))
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import LOGGER, SETTINGS
    from ultralytics.utils.loss import v8DetectionLoss
    from ultralytics.utils.nms import non_max_suppression

    LOGGER.setLevel("ERROR")
    if SETTINGS.get("sync"):
        SETTINGS.update(sync=False)
    return SimpleNamespace(
        DetectionModel=DetectionModel, get_cfg=get_cfg, loss=v8DetectionLoss, nms=non_max_suppression
    )


def build_yolo(variant: str = "yolov8n", classes: int = 7, channels: int = 3) -> nn.Module:
    """A YOLO network with random weights, in training mode; raises ValueError for an unknown variant."""
    if variant not in VARIANTS:
        message = f"YOLO variant '{variant}' is not one of {', '.join(VARIANTS)}."
        raise ValueError(message)
    library = _quiet_ultralytics()
    model = library.DetectionModel(f"{variant}.yaml", ch=channels, nc=classes, verbose=False)
    model.args = library.get_cfg()
    return model.train()


def training_loss(model: nn.Module):
    """ultralytics' detection loss of a network: ``loss(model(images), batch) -> (loss per part, detached parts)``."""
    return _quiet_ultralytics().loss(model)


@torch.inference_mode()
def detect(
    model: nn.Module, batch: torch.Tensor, conf: float = 0.25, iou: float = 0.5, max_det: int = 20, agnostic: bool = False
) -> list[Detections]:
    """Boxes of a batch ``[n, channels, h, w]`` (0..1; h and w multiples of 32) after non-maximum suppression."""
    raw = model(batch)
    raw = raw[0] if isinstance(raw, (list, tuple)) else raw
    scores = raw[:, 4:].transpose(1, 2)
    kept, indices = _quiet_ultralytics().nms(
        raw, conf, iou, agnostic=agnostic, max_det=max_det, max_time_img=10.0, return_idxs=True
    )
    found = []
    for n, (rows, index) in enumerate(zip(kept, indices, strict=True)):
        rows = rows.float().cpu().numpy()
        all_scores = scores[n, index.view(-1).long()].float().cpu().numpy().reshape(len(rows), scores.shape[-1])
        found.append(Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(int), all_scores))
    return found
