"""Trees of made pictures that a network learns in seconds, runs that train on them, and two very small networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from CSpineFractureLib.datasets.labelled_image import LEVELS, ClassBox, LabelledImage, write_slice_table
from CSpineFractureLib.datasets.slice_image import write_image
from CSpineFractureLib.models import registry
from CSpineFractureLib.training.run_folder import RunFolder, Setup, open_run
from CSpineFractureLib.training.systems import load_system


class TinyNet(nn.Module):
    """Takes what the networks of documents 000 and 004 take."""

    def __init__(self, outputs: int, image_size: int = 64) -> None:
        super().__init__()
        self.image_size = image_size
        layers: list[nn.Module] = []
        for inputs, channels in ((1, 8), (8, 16), (16, 32)):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.1))
        self.head = nn.Linear(512 + 2, outputs)

    def freeze(self) -> None:
        """As the networks of document 004."""
        self.backbone[0].requires_grad_(False)

    def forward(self, images: torch.Tensor, metadata: torch.Tensor | None = None) -> torch.Tensor:
        metadata = images.new_zeros(len(images), 2) if metadata is None else metadata
        return self.head(torch.cat([self.backbone(images - 0.3), metadata / 100], dim=1))


TINY = {"slice-tiny": lambda: TinyNet(2), "level-tiny": lambda image_size: TinyNet(7, image_size)}


@contextlib.contextmanager
def tiny_networks() -> Iterator[None]:
    """Inside, the registry knows ``slice-tiny`` and ``level-tiny``, which ``a_run`` can train."""
    with pytest.MonkeyPatch.context() as patch:
        for name, builder in TINY.items():
            patch.setitem(registry._BUILDERS, name, builder)
        yield


def make_tree(root: Path, size: int, train: int, val: int, levels: bool = False, split: str = "val") -> Path:
    """Discs that are whole or broken by a dark line; with ``levels`` discs in one or two of seven places."""
    rng = np.random.default_rng([size, train, val])
    images = []
    for number in range(train + val):
        part = "train" if number < train else split
        image, names = _levels(rng, size, number % 7) if levels else _disc(rng, size, broken=number % 2 == 1)
        study, middle = f"study{number:03d}", min(LEVELS.index(name) for name in names) / 7 if levels else 0.5
        boxes = tuple(ClassBox(name, 1, 1, 4, 4) for name in names)
        made = LabelledImage(f"{part}/{study}.png", study, study, part, number, size, size, boxes)
        path = root / made.file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(image, path)
        images.append(LabelledImage(**{**vars(made), "from_top_mm": 150 * middle, "ratio": middle}))
    write_slice_table(root, images, LEVELS if levels else ("fracture",))
    return root


def a_run(folder: Path, system: str, model: str, seed: int = 0, start: str = "", **overrides: Any) -> RunFolder:
    """A run below ``folder``, whose pictures lie in ``folder / "images"``; ``__`` in a key stands for a point."""
    changes = {"augmentation.rotation_deg": 5} | {key.replace("__", "."): value for key, value in overrides.items()}
    made = load_system(system, overrides=changes)
    made = replace(made, models=made.models | {name: {"architecture": name} for name in TINY})
    return open_run(folder / model, Setup(made, model, seed, "phantom", "", start))


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.normal(60, 8, (size, size))


def _disc(rng: np.random.Generator, size: int, broken: bool) -> tuple[np.ndarray, list[str]]:
    image, middle = _noise(rng, size), rng.uniform(0.42, 0.58, 2) * size
    radius = rng.uniform(0.2, 0.3) * size
    cv2.circle(image, (int(middle[0]), int(middle[1])), int(radius), 200, -1)
    if broken:
        angle = rng.uniform(0, np.pi)
        away = 1.3 * radius * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(int(one) for one in middle + sign * away) for sign in (-1, 1)]
        cv2.line(image, *ends, 40, max(3, size // 14))
    return image.clip(0, 255).astype(np.uint8), ["fracture"] if broken else []


def _levels(rng: np.random.Generator, size: int, first: int) -> tuple[np.ndarray, list[str]]:
    image = _noise(rng, size)
    shown = [first, first + 1] if first < 6 and rng.random() < 0.5 else [first]
    for level in shown:
        row, column = divmod(level, 3)
        place = (np.array([column, row]) * 0.3 + 0.2 + rng.uniform(-0.02, 0.02, 2)) * size
        cv2.circle(image, (int(place[0]), int(place[1])), int(0.1 * size), 210, -1)
    return image.clip(0, 255).astype(np.uint8), [LEVELS[level] for level in shown]
