"""What every network learns by: optimiser, schedule, and a random stream of its own for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.systems import MOST_EPOCHS, System

OPTIMISERS, SCHEDULES = ("adam", "adamw", "sgd"), ("cosine", "plateau", "step", "constant")
PLATEAU = {"factor": 0.5, "patience": 3}
"""Document 004 reduces the learning rate on a plateau but does not say how; this is Keras' usual reduction, sooner."""
STEP_FACTOR = 0.1
"""Of the schedule ``step``, every ``training.step_epochs`` epochs; document 001 gives only the number of epochs."""
_BY_HAND = 2**31


def check_plan(system: System) -> None:
    """Raise ``UserError`` for an optimiser or a schedule that there is not, and for numbers that they cannot use."""
    _check_choice("optimiser", system.training.get("optimiser"), OPTIMISERS)
    _check_choice("schedule", system.training.get("schedule", "constant"), SCHEDULES)
    plan = system.training
    if plan.get("schedule") == "step" and "step_epochs" not in plan:
        message = "The schedule 'step' needs training.step_epochs: give after how many epochs the rate falls."
        raise UserError(message)
    for key, least, most in (("momentum", 0, 1), ("step_epochs", 1, MOST_EPOCHS), ("step_factor", 0, 1)):
        value = plan.get(key, least)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            message = f"training.{key} is {value!r}: give a number from {least} to {most:g}."
            raise UserError(message)


def _check_choice(key: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        message = f"training.{key} is {value!r}: use one of {', '.join(known)}."
        raise UserError(message)


class Learner(lightning.LightningModule):
    """Learns ``network`` by the ``training`` of a system; a task adds its steps and figures.

    ``monitor`` names the figure whose highest value marks the best epoch, one of ``monitors``. Raises ``UserError`` for
    a training that it cannot do.
    """

    def __init__(self, network: nn.Module, system: System, seed: int, monitors: list[str], monitor: str) -> None:
        super().__init__()
        self.network, self.seed, self.training_plan = network, seed, system.training
        chosen = system.training.get("monitor", monitor)
        check_plan(system)
        _check_choice("monitor", chosen, monitors)
        self.monitor = f"val_{chosen}"

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Every step draws from a stream of its own, so that a run that was broken off goes on as it would have."""
        step = self.global_step * self.trainer.world_size + self.global_rank
        torch.manual_seed((self.seed * 1_000_003 + step) % 2**63)

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
        elif plan.get("schedule") == "step":
            schedule = torch.optim.lr_scheduler.StepLR(
                optimiser, int(plan["step_epochs"]), float(plan.get("step_factor", STEP_FACTOR))
            )
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
