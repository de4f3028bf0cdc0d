"""What the networks for radiographs learn, as Lightning takes it (document 001, section 4.1)."""

from __future__ import annotations

import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from CSpineFractureLib.datasets.radiographs import CLASSES
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.systems import System

Batch = tuple[torch.Tensor, torch.Tensor]


class RadiographTask(Learner):
    """Learns normal, fracture or dislocation by cross entropy.

    Logged are ``train_loss``, ``train_accuracy``, ``val_loss``, ``val_accuracy``, ``val_macro_f1``, ``learning_rate``.
    Raises ``UserError`` for a training that it cannot do.
    """

    def __init__(self, network: nn.Module, system: System, seed: int = 0) -> None:
        super().__init__(network, system, seed, monitors=["accuracy", "macro_f1"], monitor="accuracy")
        count = len(CLASSES)
        self.figures = MetricCollection(
            {
                "val_accuracy": MulticlassAccuracy(count, average="micro"),
                "val_macro_f1": MulticlassF1Score(count, average="macro"),
            }
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 3]``."""
        return self.network(images)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        images, target = batch
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, target)
        values = {"train_loss": loss.detach(), "train_accuracy": (logits.argmax(1) == target).float().mean()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the figures of the epoch."""
        images, target = batch
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, target)
        self.log("val_loss", loss, on_epoch=True, batch_size=len(images), sync_dist=True)
        self.figures.update(logits.float(), target)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the epoch."""
        self.log_dict(self.figures.compute())
        self.figures.reset()
