"""What the level regressor learns: where in the neck, in quarters of a level, a block lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from CSpineFractureLib.models.level_regressor import level_shares, positions
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.systems import System

SPREAD = 0.3
"""Standard deviation, in levels, of the target around the true position: no two necks are alike."""


class RegressorTask(Learner):
    """Cross entropy against a normal distribution around the true position.

    Logs ``train_loss``, ``val_loss``, ``val_share`` (the mean probability of the true level) and ``learning_rate``.
    """

    def __init__(self, network: nn.Module, system: System, seed: int = 0) -> None:
        super().__init__(network, system, seed, ["share"], "share")

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 37]``."""
        return self.network(blocks)

    def loss(self, logits: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Of a batch of true positions ``where`` ``[n]`` in levels."""
        target = (-0.5 * ((positions(logits) - where[:, None]) / SPREAD) ** 2).softmax(1)
        return functional.cross_entropy(logits.float(), target)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        loss = self.loss(self(batch[0]), batch[1])
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Adds a batch, of blocks at bodies, to the figures of the epoch."""
        logits = self(batch[0])
        share = level_shares(logits).gather(1, batch[1].long()[:, None]).mean()
        for name, value in (("val_loss", self.loss(logits, batch[1])), ("val_share", share)):
            self.log(name, value, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)


def expected(logits: torch.Tensor) -> torch.Tensor:
    """The mean position ``[n]`` in levels."""
    return logits.float().softmax(1) @ positions(logits)
