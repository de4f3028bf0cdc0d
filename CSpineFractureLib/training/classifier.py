"""Training of the slice classifier and the fracture detector on column crops of synthetic CT.

Document 000: 224x224 slices in the bone window, horizontal flip, rotation, Gaussian blur, under-sampled negatives,
80:20. Here the split is by study, and a slice is cropped to 128 mm around the column (0.571 mm pixels), where a
fracture is still visible at 224 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from CSpineFractureLib.models.slice_cnn import SliceCNN
from CSpineFractureLib.models.yolo import build_yolo
from CSpineFractureLib.training.augment import randomise_hu
from CSpineFractureLib.training.bank import TrainingStudy, boxes_of, warp
from CSpineFractureLib.training.detector import DetectorPlan, fit_yolo
from CSpineFractureLib.training.drawing import drawn_batches
from CSpineFractureLib.volume.windows import BONE

SIZE, FIELD_MM = 224, 128.0
PIXEL_MM = FIELD_MM / SIZE
SURE_PIXELS, NONE_PIXELS = 8, 0


@dataclass(frozen=True)
class ClassifierPlan:
    """How long and how: optimiser steps, batch, learning rate (AdamW), seed."""

    steps: int = 3000
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0
    workers: int = 1


class SliceIndex:
    """Slices of studies that surely show a fracture (``positive``) or surely none (``negative``).

    Negative slices hold a cervical vertebra; slices of a fractured study near the gap, with too few gap voxels to be
    sure, belong to neither.
    """

    def __init__(self, studies: list[TrainingStudy]) -> None:
        self.studies = studies
        self.positive: list[tuple[int, int]] = []
        self.negative: list[tuple[int, int]] = []
        for n, study in enumerate(studies):
            gap = study.fracture.sum(axis=(1, 2))
            cervical = ((study.labels > 0) & (study.labels < 8)).sum(axis=(1, 2)) > 40
            near = np.convolve(gap > 0, np.ones(5), "same") > 0
            self.positive += [(n, int(k)) for k in np.flatnonzero(gap >= SURE_PIXELS)]
            self.negative += [(n, int(k)) for k in np.flatnonzero(cervical & ~near)]

    def crop(self, n: int, k: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """float32 ``[1, 224, 224]`` 0..1 and the warped fracture mask; ``rng`` None means no augmentation."""
        study = self.studies[n]
        centre, turn, half = study.centres[k], {}, 0
        if rng is not None:
            centre = centre + rng.uniform(-12, 12, 2) / study.pixel_mm
            turn = {"angle_deg": rng.normal(0, 10), "flip": bool(rng.random() < 0.5), "scale": rng.uniform(0.85, 1.18)}
            half = int(rng.choice([0, 0, 1]))
        slab = study.hu[max(0, k - half) : k + half + 1].mean(axis=0, dtype=np.float32)
        hu = warp(slab, centre, study.pixel_mm, PIXEL_MM, SIZE, **turn)[None]
        mask = warp(study.fracture[k], centre, study.pixel_mm, PIXEL_MM, SIZE, **turn, nearest=True, fill=0)
        if rng is not None:
            hu = randomise_hu(hu, rng, 0.45)
        return BONE.apply(hu), mask

    def draw(self, rng: np.random.Generator, positive: bool) -> tuple[np.ndarray, np.ndarray]:
        """A random augmented crop of one kind, studies weighted by their slices."""
        pool = self.positive if positive else self.negative
        n, k = pool[int(rng.integers(len(pool)))]
        return self.crop(n, k, rng)


def train_slice_classifier(
    index: SliceIndex,
    plan: ClassifierPlan,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
) -> SliceCNN:
    """The proposed CNN of document 000 from scratch; half of each batch is positive (under-sampling)."""
    torch.manual_seed(plan.seed)
    model = SliceCNN(dropout=0.3).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.learning_rate, total_steps=plan.steps, pct_start=0.1)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.02)

    def draw(rng: np.random.Generator, place: int) -> tuple[np.ndarray, int]:
        return index.draw(rng, positive=place % 2 == 1)[0], place % 2

    batches = drawn_batches(draw, default_collate, plan.batch, plan.seed, plan.workers)
    for step in range(plan.steps):
        images, wanted = (part.to(device) for part in next(batches))
        loss = criterion(model(images), wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(step + 1, plan.steps, float(loss.detach()))
    return model.eval()


def train_fracture_detector(
    index: SliceIndex,
    plan: DetectorPlan,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
    checkpoint: Callable[[nn.Module, int], None] = lambda model, step: None,
    start: nn.Module | None = None,
) -> nn.Module:
    """YOLOv8 with one class for fracture boxes (document 004); a third of the images are fracture-free.

    ``start``: a trained vertebra detector of the same variant, whose features are a better start than chance.
    """
    model = build_yolo(plan.variant, classes=1, channels=1)
    if start is not None:
        _copy_features(start, model)

    def draw(rng: np.random.Generator, _place: int) -> tuple:
        image, mask = index.draw(rng, bool(rng.random() < 0.67))
        boxes, labels = boxes_of((mask > 0).astype(np.uint8), least_pixels=4)
        if len(boxes):
            boxes = np.clip(boxes + np.array([-5, -5, 5, 5], np.float32), 0, SIZE)
        return image, boxes, labels - 1

    return fit_yolo(model, draw, plan, device, on_step, checkpoint)


@torch.no_grad()
def _copy_features(source: nn.Module, target: nn.Module) -> None:
    """Copy every tensor of equal shape; a first convolution of three channels is summed to one."""
    given, wanted = source.state_dict(), target.state_dict()
    for name, tensor in wanted.items():
        other = given.get(name)
        if other is not None and other.shape == tensor.shape:
            tensor.copy_(other)
        elif other is not None and other.ndim == 4 and tensor.shape[1] == 1 and other.shape[::2] == tensor.shape[::2]:
            tensor.copy_(other.sum(dim=1, keepdim=True))


@torch.inference_mode()
def slice_scores(
    model: nn.Module, index: SliceIndex, limit: int, device: torch.device, seed: int = 0
) -> dict[str, np.ndarray]:
    """Fracture probabilities of up to ``limit`` positive and negative slices each, without augmentation."""
    rng = np.random.default_rng(seed)
    scores = {}
    for name, pool in (("positive", index.positive), ("negative", index.negative)):
        chosen = [pool[n] for n in rng.permutation(len(pool))[:limit]]
        parts = []
        for start in range(0, len(chosen), 64):
            batch = np.stack([index.crop(n, k, None)[0] for n, k in chosen[start : start + 64]])
            parts.append(torch.softmax(model(torch.from_numpy(batch).to(device)), 1)[:, 1].cpu().numpy())
        scores[name] = np.concatenate(parts) if parts else np.zeros(0)
    return scores
