"""A phantom whose grey values name its vertebrae, and networks of the ``unet-cracknet`` profile that read them.

The shapes are those of a phantom; bone of each level has one HU value of its own, the gap of a fracture another. So the
networks know the truth, may be told to err, and what the profile makes of their answers can be checked against it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.phantom.anatomy import anatomy_of
from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.volume.ct_volume import CTVolume

GAP_HU, TISSUE_HU = 1200, 40
SIZE = 128
PLAN = StudyPlan(
    spacing_mm=(0.9, 0.9, 1.5),
    fractures=parse_fractures(["C5:burst"]),
    mimics=(),
    width_mm=115.2,
    depth_mm=115.2,
    above_mm=25,
    below_mm=38,
)
LOW_HU, WIDTH_HU = -500, 1800
"""Of the third bone window, whose channel the networks read."""


def code_hu(number: int) -> int:
    """HU of the bone of class 1-8."""
    return 300 + 60 * number


@dataclass(frozen=True)
class CodedStudy:
    """The volume and its truth: ``labels`` 0-8 and ``gap`` (bool), canonical; middles of the bodies in RAS mm."""

    volume: CTVolume
    labels: np.ndarray
    gap: np.ndarray
    centres_ras: dict[str, np.ndarray]


@functools.cache
def coded_study() -> CodedStudy:
    """Always the same study: C1-T2, a burst fracture of C5. Do not write into its arrays."""
    person = anatomy_of(3, PLAN)
    labels, gap = np.minimum(person.labels, 8), person.gaps > 0
    noise = np.random.default_rng(0).integers(-12, 13, labels.shape)  # tissue of one value would be padding
    hu = np.where(person.canvas.hu < -500, -1000, TISSUE_HU + noise).astype(np.int16)
    for number in range(1, 9):
        hu[labels == number] = code_hu(number)
    hu[gap] = GAP_HU
    centres = {vertebra.level: np.array(vertebra.centre) for vertebra in person.spine.vertebrae}
    return CodedStudy(CTVolume(hu, person.canvas.ijk_to_ras), labels, gap, centres)


def dice(found: np.ndarray, truth: np.ndarray, number: int) -> float:
    """Dice of one label."""
    a, b = found == number, truth == number
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


class CodeReader(nn.Module):
    """Names pixels by their grey value; where asked to, misreads slices by a level, swaps pixels, invents bone."""

    def __init__(self, slips: float = 0.0, swaps: float = 0.0, islands: bool = False) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([float(code_hu(n)) for n in range(1, 9)]))
        self.slips, self.swaps, self.islands = slips, swaps, islands
        self.largest_batch = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.largest_batch = max(self.largest_batch, len(images))
        hu = images[:, 2].cpu().numpy() * WIDTH_HU + LOW_HU
        names = np.zeros(hu.shape, int)
        for number, value in enumerate(self.values.tolist(), start=1):
            names[np.abs(hu - value) < 20] = number
        gap = np.abs(hu - GAP_HU) < 100
        for one, broken in zip(names, gap, strict=True):
            if broken.any() and one.any():
                one[broken] = np.bincount(one[one > 0]).argmax()
        logits = torch.full((len(images), 9, *hu.shape[1:]), -5.0)
        for n, one in enumerate(names):
            told = torch.from_numpy(self._misread(one))
            logits[n].scatter_(0, told[None], 5.0)
        return logits

    def _misread(self, names: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(int(names.sum()))
        names, bone = names.copy(), names > 0
        if rng.random() < self.slips:
            names[bone] = np.clip(names[bone] + rng.choice([-1, 1]), 1, 8)
        swapped = bone & (rng.random(names.shape) < self.swaps)
        names[swapped] = np.clip(names[swapped] + rng.choice([-1, 1], swapped.sum()), 1, 8)
        if self.islands:
            row, column = rng.integers(5, min(names.shape) - 15, 2)
            names[row : row + 6, column : column + 6] = rng.integers(1, 8)
        return names


class GapReader(nn.Module):
    """The logit of a vertebra grows with the pixels as bright as a gap; looks at nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.last_conv = nn.Conv2d(1, 1, 1)
        nn.init.constant_(self.last_conv.weight, 40.0)
        nn.init.constant_(self.last_conv.bias, -32.0)
        self.channels: set[int] = set()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        self.channels.add(crops.shape[2])
        bright = torch.relu(self.last_conv(crops[:, :, 2:3].flatten(0, 1))).flatten(1).sum(1)
        return 0.01 * bright.view(len(crops), -1).sum(1) - 4


class PlainStore:
    """Networks as a weights store gives them, by task."""

    def __init__(self, **networks: tuple[nn.Module, ModelEntry]) -> None:
        self.networks = {entry.task: (module, entry) for module, entry in networks.values()}

    def find(self, task: str, profile: str | None = None, name: str | None = None) -> ModelEntry:
        if task not in self.networks:
            message = f"There are no weights for the {task}."
            raise UserError(message)
        return self.networks[task][1]

    def load(self, entry: ModelEntry, device: str = "cpu"):
        return self.networks[entry.task][0].eval().requires_grad_(False), entry.info


def entry_of(task: str, size: int, image: str = "slice", window: str = "three", **wanted: object) -> ModelEntry:
    """A manifest entry for a network of this task."""
    return ModelEntry(
        name=f"{task}-test",
        version="1",
        task=task,
        profiles=["unet-cracknet"],
        architecture="none",
        licence="Apache-2.0",
        trained_on="nothing",
        sha256="0" * 64,
        arguments={"channels": 3},
        input={"image": image, "window": window, "windows": [], "size": [size, size], "spacing_mm": [None] * 2}
        | wanted,
    )


def segmentation(size: int = SIZE, **errors: object) -> tuple[nn.Module, ModelEntry]:
    return CodeReader(**errors), entry_of("segmentation", size)


def fractures(**wanted: object) -> tuple[nn.Module, ModelEntry]:
    return GapReader(), entry_of("vertebra-fracture", 64, "vertebra-crop", slices=30, **wanted)
