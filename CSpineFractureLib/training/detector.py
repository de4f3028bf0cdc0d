"""Training of the vertebra detector (document 000, stage two): YOLOv8 on axial slices of synthetic CT.

The published recipe (512 pixels, batch 16, SGD 0.01, momentum 0.937, decay 0.0005, 200 epochs) needs a GPU; this is
the small recipe for a CPU: 192-pixel crops at 1 mm, AdamW with cosine decay (SGD needs far more steps before the class
scores rise), as many steps as time allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from CSpineFractureLib.models.yolo import build_yolo, set_class_prior, training_loss
from CSpineFractureLib.training.augment import randomise_hu
from CSpineFractureLib.training.bank import TrainingStudy, boxes_of, warp
from CSpineFractureLib.training.drawing import drawn_batches
from CSpineFractureLib.training.step_checkpoint import StepCheckpoint
from CSpineFractureLib.volume.windows import BONE

PIXEL_MM, SIZE, NEIGHBOUR_MM, CLASSES = 1.0, 192, 4.0, 8
SETTLING_BATCHES = 40


@dataclass(frozen=True)
class DetectorPlan:
    """How long and how: optimiser steps, batch, learning rate (AdamW), seed."""

    steps: int = 1500
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    variant: str = "yolov8n"
    seed: int = 0
    workers: int = 1


def sample_slice(study: TrainingStudy, rng: np.random.Generator, augment: bool = True) -> tuple[np.ndarray, ...]:
    """One training image: float32 ``[3, 192, 192]`` 0..1 (slices at -4, 0, +4 mm), boxes xyxy px, classes 0-7.

    Class 0-6 is C1-C7, class 7 any thoracic vertebra. Slab thickness and neighbour distance vary, as scanners do.
    """
    n = len(study.hu)
    cervical = np.flatnonzero((study.labels > 0).any(axis=(1, 2)))
    k = int(rng.choice(cervical)) if len(cervical) and rng.random() < 0.85 else int(rng.integers(n))
    half = int(rng.choice([0, 0, 0, 1, 1, 2])) if augment else 0
    step = (NEIGHBOUR_MM + (rng.uniform(-1, 1) if augment else 0)) / study.slice_mm
    rows = [int(np.clip(round(k + d * step), 0, n - 1)) for d in (-1, 0, 1)]
    slabs = [study.hu[max(0, r - half) : r + half + 1].mean(axis=0, dtype=np.float32) for r in rows]
    centre = study.centres[k] + rng.uniform(-60, 60, 2) / study.pixel_mm if augment else study.centres[k]
    turn = (
        {"angle_deg": rng.normal(0, 9), "flip": bool(rng.random() < 0.5), "scale": rng.uniform(0.78, 1.25)}
        if augment
        else {}
    )
    hu = np.stack([warp(s, centre, study.pixel_mm, PIXEL_MM, SIZE, **turn) for s in slabs])
    mask = warp(study.labels[k], centre, study.pixel_mm, PIXEL_MM, SIZE, **turn, nearest=True, fill=0)
    if augment:
        hu = randomise_hu(hu, rng)
        if rng.random() < 0.1:
            hu[int(rng.choice([0, 2]))] = hu[1]
    boxes, labels = boxes_of(mask, least_pixels=25)
    return BONE.apply(hu), boxes, labels - 1


def collate(samples: list[tuple]) -> dict[str, torch.Tensor]:
    """Samples to ultralytics' training batch (normalised xywh boxes)."""
    images = torch.from_numpy(np.stack([s[0] for s in samples]))
    size = images.shape[-1]
    boxes, classes, index = [], [], []
    for n, (_, b, c) in enumerate(samples):
        boxes.append(
            np.stack([(b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2, b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]], 1) / size
        )
        classes.append(c)
        index.append(np.full(len(c), n))
    return {
        "img": images,
        "bboxes": torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
        "cls": torch.from_numpy(np.concatenate(classes).astype(np.float32))[:, None],
        "batch_idx": torch.from_numpy(np.concatenate(index).astype(np.float32)),
    }


def fit_yolo(
    model: torch.nn.Module,
    draw: Callable[[np.random.Generator, int], tuple],
    plan: DetectorPlan,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
    keep: StepCheckpoint | None = None,
    trained: bool = False,
) -> torch.nn.Module:
    """Fit a YOLO network to drawn samples; returns the exponential moving average of its weights, in eval mode.

    ``keep``: where the state is kept, to go on after an interruption. ``trained``: the network already knows its
    classes, so its scores are not set back.
    """
    torch.manual_seed(plan.seed)
    model = model.to(device).train()
    if not trained:
        set_class_prior(model)
    criterion = training_loss(model)
    decay = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.99))
    warm = max(1, min(100, plan.steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda n: min(1, (n + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * n / plan.steps)))
    )
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99), use_buffers=True
    )
    keep = keep or StepCheckpoint()
    state = {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule}
    done = keep.restore(**state)
    batches = drawn_batches(draw, collate, plan.batch, plan.seed, plan.workers, done)
    for step in range(done, plan.steps):
        batch = {k: v.to(device) for k, v in next(batches).items()}
        loss, _ = criterion(model(batch["img"]), batch)
        loss = loss.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
        on_step(step + 1, plan.steps, float(loss.detach()) / plan.batch)
        keep.save(step + 1, **state)
    images = (next(batches)["img"] for _ in range(SETTLING_BATCHES))
    torch.optim.swa_utils.update_bn(images, average.module, device)  # the averaged statistics lag behind the weights
    return average.module.eval()


def train_vertebra_detector(
    studies: list[TrainingStudy],
    plan: DetectorPlan,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
    keep: StepCheckpoint | None = None,
    start: torch.nn.Module | None = None,
) -> torch.nn.Module:
    """YOLOv8 for C1-C7 and a thoracic reference class on synthetic studies, from scratch or from ``start``."""
    model = build_yolo(plan.variant, classes=CLASSES, channels=3)
    if start is not None:
        model.load_state_dict(start.state_dict())

    def draw(rng: np.random.Generator, _place: int) -> tuple:
        return sample_slice(studies[int(rng.integers(len(studies)))], rng)

    return fit_yolo(model, draw, plan, device, on_step, keep, trained=start is not None)
