"""What the vertebra classifiers learn (document 002, stage 2), as Lightning takes it."""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.systems import System
from CSpineFractureLib.training.vertebra_pictures import UNKNOWN, Sample

BALANCED = "balanced"
DRAWN_WEIGHT = 5.0
"""What a pixel of a fracture weighs in the cross entropy of the drawn map, against any other."""


def drawing_loss(maps: torch.Tensor, cracks: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy plus Dice loss of drawn maps, logits ``[n, slices, h, w]``, where the place is known.

    ``cracks`` is ``[n, slices, s, s]`` 0..1 and ``UNKNOWN``. A pixel of a map counts as fracture where one of those it
    stands for, or one beside them, is. The Dice loss is of all maps together (``smp.losses.DiceLoss``), as a single one
    has few such pixels.
    """
    known = cracks[:, 0, 0, 0] != UNKNOWN
    if not known.any():
        return maps.sum() * 0
    wide = nn.functional.max_pool2d(cracks[known].flatten(0, 1)[:, None], 3, 1, 1)
    wanted = (nn.functional.adaptive_max_pool2d(wide, maps.shape[-2:]) >= 0.5).float()
    drawn = maps[known].flatten(0, 1)[:, None].float()
    weight = torch.tensor(DRAWN_WEIGHT, device=maps.device)
    entropy = nn.functional.binary_cross_entropy_with_logits(drawn, wanted, pos_weight=weight)
    return entropy + smp.losses.DiceLoss("binary")(drawn, wanted)


class VertebraTask(Learner):
    """Learns ``network`` for the vertebrae with ``targets`` (0 or 1 each) by the ``training`` of ``system``.

    Binary cross entropy of logits; fractured vertebrae weigh ``training.positive_weight`` times as much as normal ones,
    ``balanced`` as many times as these are more. Networks that draw the fracture learn that besides, by
    ``drawing_loss`` times ``training.draw``. Logged once per epoch: ``train_loss``, ``train_drawing`` (where it draws),
    ``train_accuracy``, ``val_loss``, ``val_accuracy``, ``val_auc``, ``learning_rate``. Raises ``UserError`` for a
    training that it cannot do.
    """

    def __init__(self, network: nn.Module, system: System, targets: torch.Tensor, seed: int = 0) -> None:
        figures = {"val_accuracy": BinaryAccuracy(), "val_auc": BinaryAUROC()}
        super().__init__(network, system, seed, [name.removeprefix("val_") for name in figures], "auc")
        self.figures = MetricCollection(figures)
        weight = system.training.get("positive_weight", 1.0)
        broken = float(targets.sum())
        if weight == BALANCED:
            weight = (len(targets) - broken) / max(broken, 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            message = f"training.positive_weight is {weight!r}: give a number above 0, or {BALANCED}."
            raise UserError(message)
        self.draw = system.training.get("draw", 0)
        if isinstance(self.draw, bool) or not isinstance(self.draw, (int, float)) or not 0 <= self.draw <= 1000:
            message = f"training.draw is {self.draw!r}: give a number from 0 to 1000."
            raise UserError(message)
        self.register_buffer("positive_weight", torch.tensor(float(weight)), persistent=False)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits ``[n]``."""
        return self.network(crops)

    def training_step(self, batch: Sample, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        crops, target, cracks = batch
        values = {}
        if self.draw and cracks.numel() and getattr(self.network, "draws", False):
            logits, maps = self.network.draw(crops)
            drawing = drawing_loss(maps, cracks)
            values["train_drawing"] = drawing.detach()
        else:
            logits, drawing = self(crops), 0.0
        loss = self._loss(logits, target)
        right = ((logits.detach() > 0) == (target > 0.5)).float().mean()
        values |= {"train_loss": loss.detach(), "train_accuracy": right}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(crops), sync_dist=True)
        return loss + self.draw * drawing

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Adds a batch to the figures of the epoch."""
        crops, target, _cracks = batch
        logits = self(crops)
        self.log("val_loss", self._loss(logits, target), on_epoch=True, batch_size=len(crops), sync_dist=True)
        self.figures.update(torch.sigmoid(logits.float()), target.long())

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the epoch."""
        self.log_dict(self.figures.compute())
        self.figures.reset()

    def _loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), target, pos_weight=self.positive_weight)
