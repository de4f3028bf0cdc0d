"""Training of the fracture FCN on blocks of bone (see ``torn_cells``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import default_collate

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.fracture_fcn import FractureFCN, fcn_input
from CSpineFractureLib.training.drawing import drawn_batches
from CSpineFractureLib.training.rank_auc import rank_auc
from CSpineFractureLib.training.step_checkpoint import StepCheckpoint
from CSpineFractureLib.training.torn_cells import TornCells, block_of

HIGHEST = 4
"""Cubes whose mean logit is that of a block, or of a vertebra."""
WARM_STEPS = 60
BLOCKS_MEASURED = 200


@dataclass(frozen=True)
class FCNPlan:
    """How long and how: optimiser steps, blocks in a batch, learning rate (AdamW, cosine), seed."""

    steps: int = 3000
    batch: int = 24
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 0
    workers: int = 1


def train_fracture_fcn(
    cells: TornCells,
    plan: FCNPlan,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
    keep: StepCheckpoint | None = None,
    start: nn.Module | None = None,
) -> nn.Module:
    """Fit the network, from chance or from ``start``; half of the blocks of each batch are torn. In evaluation mode.

    ``keep``: where the state is kept, to go on after an interruption. Raises ``UserError`` where no study is broken.
    """
    if not cells.broken:
        message = "There is no broken study to learn from: make some with 'cspine dataset broken'."
        raise UserError(message)
    torch.manual_seed(plan.seed)
    model = FractureFCN()
    if start is not None:
        model.load_state_dict(start.state_dict())
    model = model.to(device, memory_format=torch.channels_last_3d).train()
    optimiser = torch.optim.AdamW(model.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: _rate(n, plan.steps))
    keep = keep or StepCheckpoint()
    state = {"model": model, "optimiser": optimiser, "schedule": schedule}
    done = keep.restore(**state)

    def draw(rng: np.random.Generator, place: int) -> tuple[np.ndarray, np.ndarray]:
        return cells.draw(rng, is_broken=place % 2 == 1)

    batches = drawn_batches(draw, default_collate, plan.batch, plan.seed, plan.workers, done)
    for step in range(done, plan.steps):
        hu, torn = next(batches)
        loss = _loss(model(fcn_input(hu.to(device))), torn.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        on_step(step + 1, plan.steps, float(loss.detach()))
        keep.save(step + 1, **state)
    return model.eval()


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARM_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.005


def _loss(logits: torch.Tensor, torn: torch.Tensor) -> torch.Tensor:
    """Cross entropy of cubes, where the rare torn ones weigh a third, and half as much of whole blocks."""
    share = torn.mean().clamp(0.01, 0.5)
    weight = torch.where(torn > 0, 0.35 / share, 0.65 / (1 - share))
    whole = functional.binary_cross_entropy_with_logits(block_logits(logits), (torn.flatten(1).amax(1) > 0).float())
    return functional.binary_cross_entropy_with_logits(logits, torn, weight) + 0.5 * whole


def block_logits(logits: torch.Tensor) -> torch.Tensor:
    """``[n]``: the mean of the highest cubes of ``[n, k, j, i]``."""
    return logits.flatten(1).topk(HIGHEST, 1).values.mean(1)


@torch.inference_mode()
def fcn_measures(model: nn.Module, cells: TornCells, device: torch.device) -> dict:
    """The area under the ROC curve over blocks of other studies, scanned anew but not turned; ``{}`` without such."""
    if not cells.broken:
        return {}
    rng, scores = np.random.default_rng(0), {True: [], False: []}
    for number in range(BLOCKS_MEASURED):
        is_broken = number % 2 == 1
        pool = cells.broken if is_broken else cells.sound
        hu, _ = block_of(pool[int(rng.integers(len(pool)))], is_broken, rng, plainly=True)
        logits = model.to(device)(fcn_input(torch.from_numpy(hu)[None].to(device)))
        scores[is_broken].append(float(block_logits(logits)))
    truth = np.repeat([0, 1], [len(scores[False]), len(scores[True])])
    return {
        "blocks": [len(scores[True]), len(scores[False])],
        "auc": float(rank_auc(truth, np.array([*scores[False], *scores[True]]))),
    }
