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
from CSpineFractureLib.training.augment import coarsen, randomise_hu
from CSpineFractureLib.training.bank import THORACIC, TrainingStudy, boxes_of, warp
from CSpineFractureLib.training.detector import DetectorPlan, fit_yolo
from CSpineFractureLib.training.drawing import drawn_batches
from CSpineFractureLib.training.step_checkpoint import StepCheckpoint
from CSpineFractureLib.training.teachable import TeachableCNN
from CSpineFractureLib.volume.windows import BONE

SIZE, FIELD_MM = 224, 128.0
PIXEL_MM = FIELD_MM / SIZE
SURE_PIXELS = 8
PATCH, CELL = 96, 32
COARSE_SHARE, COARSE_SLICE_MM = 0.3, 3.0
"""How many images are made as coarse as radiotherapy plans, and how thick their slices then are at most."""


@dataclass(frozen=True)
class ClassifierPlan:
    """How long and how: optimiser steps, batch, learning rate (AdamW), seed."""

    steps: int = 1000
    patch_steps: int = 2000
    batch: int = 32
    learning_rate: float = 2e-3
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
            cervical = ((study.labels > 0) & (study.labels < THORACIC)).sum(axis=(1, 2)) > 40
            near = np.convolve(gap > 0, np.ones(5), "same") > 0
            self.positive += [(n, int(k)) for k in np.flatnonzero(gap >= SURE_PIXELS)]
            self.negative += [(n, int(k)) for k in np.flatnonzero(cervical & ~near)]

    def crop(self, n: int, k: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """float32 ``[1, 224, 224]`` 0..1 and the warped fracture mask; ``rng`` None means no augmentation."""
        centre = self.studies[n].centres[k]
        if rng is not None:
            centre = centre + rng.uniform(-12, 12, 2) / self.studies[n].pixel_mm
        return self._cut(n, k, centre, SIZE, rng)

    def draw(self, rng: np.random.Generator, positive: bool) -> tuple[np.ndarray, np.ndarray]:
        """A random augmented crop of one kind, studies weighted by their slices."""
        return self.crop(*self._pick(rng, positive), rng)

    def draw_patch(self, rng: np.random.Generator, positive: bool) -> tuple[np.ndarray, np.ndarray]:
        """A random augmented patch, float32 ``[1, 96, 96]`` and its mask, around a gap or around sound bone."""
        n, k = self._pick(rng, positive)
        study = self.studies[n]
        wanted = study.fracture[k] > 0 if positive else (study.labels[k] > 0) & (study.labels[k] < THORACIC)
        rows, columns = np.nonzero(wanted)
        at = int(rng.integers(len(rows)))
        centre = np.array([columns[at], rows[at]]) + rng.uniform(-0.3, 0.3, 2) * PATCH * PIXEL_MM / study.pixel_mm
        return self._cut(n, k, centre, PATCH, rng)

    def _pick(self, rng: np.random.Generator, positive: bool) -> tuple[int, int]:
        pool = self.positive if positive else self.negative
        return pool[int(rng.integers(len(pool)))]

    def _cut(
        self, n: int, k: int, centre: np.ndarray, size: int, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A square of ``size`` pixels of 0.571 mm around ``centre`` (column, row) and its fracture mask."""
        study, turn, half, is_coarse = self.studies[n], {}, 0, False
        if rng is not None:
            turn = {"angle_deg": rng.normal(0, 10), "flip": bool(rng.random() < 0.5), "scale": rng.uniform(0.85, 1.18)}
            is_coarse = rng.random() < COARSE_SHARE
            thick = rng.uniform(0, COARSE_SLICE_MM) / study.slice_mm
            half = int(max(0.0, thick - 1) / 2) if is_coarse else int(rng.choice([0, 0, 1]))
        slab = study.hu[max(0, k - half) : k + half + 1].mean(axis=0, dtype=np.float32)
        hu = warp(slab, centre, study.pixel_mm, PIXEL_MM, size, **turn)[None]
        mask = warp(study.fracture[k], centre, study.pixel_mm, PIXEL_MM, size, **turn, nearest=True, fill=0)
        if rng is not None:
            hu = randomise_hu(coarsen(hu, rng, PIXEL_MM) if is_coarse else hu, rng, 0.45)
        return BONE.apply(hu), mask


class _Teachable(TeachableCNN):
    """A slice CNN while it learns, with a head that says where.

    The head, one logit for each of the 7x7 cells that Grad-CAM later shows, is dropped with the normalisation.
    """

    def __init__(self, network: SliceCNN) -> None:
        super().__init__(network)
        self.where = nn.Conv2d(network.last_conv.out_channels, 1, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features before the head, and cell logits ``[n, h / 32, w / 32]``, of images ``[n, 1, h, w]``."""
        features, last = self.features(images)
        return features, self.where(last)[:, 0]


def train_slice_classifier(
    index: SliceIndex,
    plan: ClassifierPlan,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
    keep: StepCheckpoint | None = None,
    start: SliceCNN | None = None,
) -> SliceCNN:
    """The proposed CNN of document 000; half of each batch is positive (under-sampling).

    ``keep``: where the state is kept, to go on after an interruption. ``start``: a trained network to go on from in
    place of chance.

    A gap of a few pixels teaches a whole slice little, so the first ``plan.patch_steps`` show patches around gaps and
    sound bone, as Shen et al. (Scientific Reports 2019) do in mammography; then follow whole slices.
    """
    torch.manual_seed(plan.seed)
    model = _Teachable(SliceCNN(dropout=0.3))
    if start is not None:
        model.network.load_state_dict(start.state_dict())
        rng = np.random.default_rng(plan.seed)
        model.match_norms(torch.from_numpy(np.stack([index.draw(rng, n % 2 == 1)[0] for n in range(plan.batch)])))
    model = model.to(device, memory_format=torch.channels_last).train()  # nearly twice as fast on the CPU
    total, keep = plan.patch_steps + plan.steps, keep or StepCheckpoint()
    resumed = keep.restore(model=model)
    whole = nn.CrossEntropyLoss(label_smoothing=0.02)

    def draw_patch(rng: np.random.Generator, place: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = index.draw_patch(rng, positive=place % 2 == 1)
        return image, _cells(mask)

    def draw_slice(rng: np.random.Generator, place: int) -> tuple[np.ndarray, np.ndarray, int]:
        image, mask = index.draw(rng, positive=place % 2 == 1)
        return image, _cells(mask), place % 2

    def learn(draw: Callable, batch: int, steps: int, rate: float, done: int) -> None:
        if resumed >= done + steps:
            return
        optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=plan.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.15)
        state = {"model": model, "optimiser": optimiser, "schedule": schedule}
        over = max(0, resumed - done)
        if over:
            keep.restore(**state)
        batches = drawn_batches(draw, default_collate, batch, plan.seed + done, plan.workers, over)
        for step in range(done + over + 1, done + steps + 1):
            images, cells, *truth = (part.to(device) for part in next(batches))
            features, where = model(images)
            loss = _cell_loss(where, cells)
            if truth:
                loss = loss + whole(model.network.head(features), truth[0])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            on_step(step, total, float(loss.detach()))
            keep.save(step, **state)

    if plan.patch_steps:
        learn(draw_patch, 2 * plan.batch, plan.patch_steps, plan.learning_rate, 0)
    learn(draw_slice, plan.batch, plan.steps, plan.learning_rate / 2, plan.patch_steps)
    return model.folded()


def _cells(mask: np.ndarray) -> np.ndarray:
    """Which cells of 32x32 pixels hold a gap, float32."""
    rows, columns = mask.shape[0] // CELL, mask.shape[1] // CELL
    return (mask > 0).reshape(rows, CELL, columns, CELL).any(axis=(1, 3)).astype(np.float32)


def _cell_loss(logits: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Cross entropy of cells, with the rare cells that hold a gap weighing half."""
    share = cells.mean().clamp(0.02, 0.5)
    weight = torch.where(cells > 0, 0.5 / share, 0.5 / (1 - share))
    return nn.functional.binary_cross_entropy_with_logits(logits, cells, weight)


def train_fracture_detector(
    index: SliceIndex,
    plan: DetectorPlan,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
    keep: StepCheckpoint | None = None,
    start: nn.Module | None = None,
) -> nn.Module:
    """YOLOv8 with one class for fracture boxes (document 004); a third of the images are fracture-free.

    ``start``: a trained fracture detector to go on from, or a vertebra detector of the same variant, whose features are
    a better start than chance.
    """
    model = build_yolo(plan.variant, classes=1, channels=1)
    trained = start is not None and _copy_features(start, model)

    def draw(rng: np.random.Generator, _place: int) -> tuple:
        image, mask = index.draw(rng, bool(rng.random() < 0.67))
        boxes, labels = boxes_of((mask > 0).astype(np.uint8), least_pixels=4)
        if len(boxes):
            boxes = np.clip(boxes + np.array([-5, -5, 5, 5], np.float32), 0, SIZE)
        return image, boxes, labels - 1

    return fit_yolo(model, draw, plan, device, on_step, keep, trained)


@torch.no_grad()
def _copy_features(source: nn.Module, target: nn.Module) -> bool:
    """Copy every tensor of equal shape, a first convolution of three channels summed to one; whether all were equal."""
    given, wanted = source.state_dict(), target.state_dict()
    copied = 0
    for name, tensor in wanted.items():
        other = given.get(name)
        if other is not None and other.shape == tensor.shape:
            tensor.copy_(other)
            copied += 1
        elif other is not None and other.ndim == 4 and tensor.shape[1] == 1 and other.shape[::2] == tensor.shape[::2]:
            tensor.copy_(other.sum(dim=1, keepdim=True))
    return copied == len(wanted)


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
