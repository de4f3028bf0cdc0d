"""What the slice classifiers (document 000) and level-presence networks (document 004) learn, as Lightning takes it."""

from __future__ import annotations

from typing import Any

import lightning
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
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.slice_pictures import Sample
from CSpineFractureLib.training.systems import System

OPTIMISERS, SCHEDULES = ("adam", "adamw", "sgd"), ("cosine", "plateau", "constant")
PLATEAU = {"factor": 0.5, "patience": 3}
"""Document 004 reduces the learning rate on a plateau but does not say how; this is Keras' usual reduction, sooner."""
_BY_HAND = 2**31


class SliceTask(lightning.LightningModule):
    """Learns ``network`` for the task of ``system``, by its ``training``; logs figures once per epoch.

    Cross entropy of two logits, or of seven independent ones. Logged are ``train_loss``, ``train_accuracy``,
    ``val_loss``, ``val_accuracy``, ``learning_rate``; ``val_auc`` for the slice classifier, ``val_macro_f1`` and
    ``val_exact_match`` for levels. Raises ``UserError`` for a training that it cannot do.
    """

    def __init__(self, network: nn.Module, system: System, seed: int = 0) -> None:
        super().__init__()
        self.network, self.seed = network, seed
        self.binary = system.task == "slice-classifier"
        self.training_plan = system.training
        if self.binary:
            self.figures = MetricCollection({"val_accuracy": BinaryAccuracy(), "val_auc": BinaryAUROC()})
        else:
            count = len(LEVELS)
            self.figures = MetricCollection(
                {
                    "val_accuracy": MultilabelAccuracy(count, average="micro"),
                    "val_macro_f1": MultilabelF1Score(count, average="macro"),
                    "val_exact_match": MultilabelExactMatch(count),
                }
            )
        self.monitor = f"val_{system.training.get('monitor', 'accuracy')}"
        self._check()

    def _check(self) -> None:
        plan = self.training_plan
        monitors = [name.removeprefix("val_") for name in self.figures]
        for key, value, known in (
            ("optimiser", plan.get("optimiser"), OPTIMISERS),
            ("schedule", plan.get("schedule", "constant"), SCHEDULES),
            ("monitor", self.monitor.removeprefix("val_"), monitors),
        ):
            if value not in known:
                message = f"training.{key} is {value!r}: use one of {', '.join(known)}."
                raise UserError(message)

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

    def on_train_batch_start(self, batch: Sample, batch_idx: int) -> None:
        """Every step draws from a stream of its own, so that a run that was broken off goes on as it would have."""
        step = self.global_step * self.trainer.world_size + self.global_rank
        torch.manual_seed((self.seed * 1_000_003 + step) % 2**63)

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

    def configure_optimizers(self) -> Any:
        """The optimiser, and the schedule as a state that is kept; ``on_train_epoch_end`` moves it on."""
        plan = self.training_plan
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        given = {"lr": plan["learning_rate"], "weight_decay": plan["weight_decay"]}
        if plan["optimiser"] == "sgd":
            optimiser = torch.optim.SGD(weights, momentum=plan.get("momentum", 0.9), **given)
        else:
            optimiser = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[plan["optimiser"]](weights, **given)
        if plan.get("schedule") == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan["epochs"])
        elif plan.get("schedule") == "plateau":
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="max", **PLATEAU)
        else:
            return optimiser
        # Lightning itself would step a plateau only after the checkpoint of the epoch, and so lose it in a restart.
        by_hand = {"scheduler": schedule, "interval": "step", "frequency": _BY_HAND, "monitor": self.monitor}
        return {"optimizer": optimiser, "lr_scheduler": by_hand}

    def on_train_epoch_end(self) -> None:
        """Log the learning rate of the epoch, then move the schedule on."""
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])
        schedule = self.lr_schedulers()
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            schedule.step(float(self.trainer.callback_metrics[self.monitor]))
        elif schedule is not None:
            schedule.step()
