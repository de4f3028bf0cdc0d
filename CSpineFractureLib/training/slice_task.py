"""What the slice classifiers (document 000) and level-presence networks (document 004) learn, as Lightning takes it."""

from __future__ import annotations

import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    MultilabelAccuracy,
    MultilabelExactMatch,
    MultilabelF1Score,
)

from CSpineFractureLib.datasets.labelled_image import LEVELS
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.slice_pictures import Sample
from CSpineFractureLib.training.systems import System


class SliceTask(Learner):
    """Learns ``network`` for the task of ``system``, by its ``training``; logs figures once per epoch.

    Cross entropy of two logits, or of seven independent ones. Logged are ``train_loss``, ``train_accuracy``,
    ``val_loss``, ``val_accuracy``, ``learning_rate``; ``val_auc`` for the slice classifier, ``val_macro_f1`` and
    ``val_exact_match`` for levels. Raises ``UserError`` for a training that it cannot do.
    """

    def __init__(self, network: nn.Module, system: System, seed: int = 0) -> None:
        binary = system.task == "slice-classifier"
        figures = {"val_accuracy": BinaryAccuracy(), "val_auc": BinaryAUROC()}
        if not binary:
            count = len(LEVELS)
            figures = {
                "val_accuracy": MultilabelAccuracy(count, average="micro"),
                "val_macro_f1": MultilabelF1Score(count, average="macro"),
                "val_exact_match": MultilabelExactMatch(count),
            }
        super().__init__(network, system, seed, [name.removeprefix("val_") for name in figures], "accuracy")
        self.binary, self.figures = binary, MetricCollection(figures)

    def forward(self, images: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 2]`` or ``[n, 7]``."""
        return self.network(images) if self.binary else self.network(images, metadata)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Of a fracture ``[n]``, or of each level ``[n, 7]``."""
        return torch.softmax(logits.float(), 1)[:, 1] if self.binary else torch.sigmoid(logits.float())

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of a batch."""
        if self.binary:
            return nn.functional.cross_entropy(logits, target)
        return nn.functional.binary_cross_entropy_with_logits(logits, target)

    def training_step(self, batch: Sample, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        images, metadata, target = batch
        logits = self(images, metadata)
        loss = self.loss(logits, target)
        right = ((self.probabilities(logits.detach()) > 0.5) == (target > 0.5)).float().mean()
        values = {"train_loss": loss.detach(), "train_accuracy": right}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Adds a batch to the figures of the epoch."""
        images, metadata, target = batch
        logits = self(images, metadata)
        self.log("val_loss", self.loss(logits, target), on_epoch=True, batch_size=len(images), sync_dist=True)
        self.figures.update(self.probabilities(logits), target.long())

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the epoch."""
        self.log_dict(self.figures.compute())
        self.figures.reset()
