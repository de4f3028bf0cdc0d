"""What the network that finds the column learns: the vertebrae of a sagittal slice, and the middles of the bodies."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from CSpineFractureLib.datasets.column_volumes import UNKNOWN
from CSpineFractureLib.models.sagittal_net import BODIES, CLASSES
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.systems import System

CLASS_WEIGHTS = (0.4, *[1.0] * 7, 0.7)
HEAT_WEIGHT, HEAT_PEAK = 3.0, 30.0
"""Of the heat in the loss, and of its peaks, which are few pixels."""
SMOOTH = 20.0
"""Pixels added to both sides of the Dice quotient."""


class ColumnTask(Learner):
    """Cross entropy and Dice of the classes, and weighted cross entropy of the heat.

    Logs ``train_loss``, ``val_loss``, ``val_dice`` (mean of the levels that are shown) and ``learning_rate``.
    """

    def __init__(self, network: nn.Module, system: System, seed: int = 0) -> None:
        super().__init__(network, system, seed, ["dice"], "dice")
        self.register_buffer("_weights", torch.tensor(CLASS_WEIGHTS), persistent=False)
        self._counts: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 17, k, j]``."""
        return self.network(images)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, heat: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Of a batch; ``known`` ``[n]`` says in which slices the heat counts."""
        classes, warm = logits[:, :CLASSES].float(), logits[:, CLASSES:].float()
        entropy = functional.cross_entropy(classes, labels, weight=self._weights, ignore_index=UNKNOWN)
        counts, true = _one_hot(labels)
        said, true = classes.softmax(1) * counts[:, None], true.movedim(-1, 1).float()
        both, sizes = (said * true).sum((0, 2, 3)), said.sum((0, 2, 3)) + true.sum((0, 2, 3))
        dice = (2 * both + SMOOTH) / (sizes + SMOOTH)
        each = functional.binary_cross_entropy_with_logits(warm, heat, reduction="none") * (1 + HEAT_PEAK * heat)
        counted = (each * known[:, None, None, None]).sum() / (known.sum().clamp(min=1) * BODIES * heat[0, 0].numel())
        return entropy + (1 - dice[1:]).mean() + HEAT_WEIGHT * counted

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        loss = self.loss(self(batch[0]), *batch[1:])
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Adds a batch to the figures of the epoch."""
        logits = self(batch[0])
        loss = self.loss(logits, *batch[1:])
        self.log("val_loss", loss, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)
        counts, true = _one_hot(batch[1])
        said = functional.one_hot(logits[:, :CLASSES].argmax(1), CLASSES) * counts[..., None]
        found = torch.stack([(said * true).sum((0, 1, 2)), (said + true).sum((0, 1, 2))])
        self._counts = found if self._counts is None else self._counts + found

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of the epoch."""
        both, sizes = self.all_gather(self._counts).reshape(-1, 2, CLASSES).sum(0)[:, 1:8]
        shown = sizes > 0
        self.log("val_dice", (2 * both[shown] / sizes[shown]).float().mean())
        self._counts = None


def _one_hot(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pixels count, ``[n, k, j]``, and ``[n, k, j, 9]``, all zero where they do not."""
    counts = labels != UNKNOWN
    return counts, functional.one_hot(labels.where(counts, 0), CLASSES) * counts[..., None]
