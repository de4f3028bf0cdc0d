"""Studies whose vertebrae are discs of unlike brightness, runs that segment them, and a very small network."""

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

from CSpineFractureLib.datasets.mask_slices import MaskOptions, write_mask_slices
from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.models import registry
from CSpineFractureLib.models.unet import VARIANTS, build_unet
from CSpineFractureLib.training.run_folder import RunFolder, Setup, open_run
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.volume import CTVolume

SYSTEM, MODEL = "002-segmentation", "unet-tiny"
SLICES, HEIGHT, WIDTH = 20, 40, 48
MATRIX = np.array([[-0.5, 0, 0, 20], [0, -0.5, 0, 30], [0, 0, 2.0, -50], [0, 0, 0, 1]])


class TinyUNet(nn.Module):
    """Takes and gives what the networks of document 002 do."""

    def __init__(self, classes: int = 9) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, edge in ((3, 3), (32, 1)):
            layers += [nn.Conv2d(inputs, 32, edge, padding=edge // 2), nn.BatchNorm2d(32), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Dropout(0.02), nn.Conv2d(32, classes, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers((images - 0.4) * 4)


@contextlib.contextmanager
def segmentation_networks() -> Iterator[None]:
    """Inside, the registry knows ``unet-tiny``, one that gives three classes, and the U-Nets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._BUILDERS, MODEL, TinyUNet)
        patch.setitem(registry._BUILDERS, "unet-three", lambda: TinyUNet(3))
        for name in VARIANTS:
            patch.setitem(registry._BUILDERS, name, lambda name=name: build_unet(name))
        yield


def a_study(name: str, split: str = "train", without: str = "") -> StudyRecord:
    """C7 in the lowest slices, C1 above it all but thoracic discs below; brighter with each level."""
    rng = np.random.default_rng(list(name.encode()))
    hu, labels = rng.normal(40, 10, (SLICES, HEIGHT, WIDTH)), np.zeros((SLICES, HEIGHT, WIDTH), np.uint8)
    for n in range(1, 9):
        if n <= 7 and LEVELS[n - 1] == without:
            continue
        for k in (SLICES - 2 * n - 1, SLICES - 2 * n):
            centre = tuple(int(value) for value in rng.uniform((14, 12), (32, 26)))
            disc = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), centre, 8, 1, -1) > 0
            labels[k][disc], hu[k][disc] = n, 200 * n
    strata = ("displaced",) if sum(name.encode()) % 2 else ()
    return StudyRecord(
        id=name,
        load_volume=lambda: CTVolume(np.clip(hu, -1024, 3000).astype(np.int16), MATRIX),
        load_levels=lambda: labels,
        fractured=dict.fromkeys(LEVELS, False),
        split=split,
        strata=strata,
    )


def make_mask_tree(root: Path, train: int = 4, val: int = 2, split: str = "val", **options: Any) -> Path:
    """Slices of studies to learn from and to be measured on."""
    records = [a_study(f"t{n}") for n in range(train)] + [a_study(f"v{n}", split) for n in range(val)]
    write_mask_slices(records, root, MaskOptions(**options))
    return root


def a_mask_run(folder: Path, model: str = MODEL, seed: int = 0, **overrides: Any) -> RunFolder:
    """A run below ``folder``, whose slices lie in ``folder / "images"``; ``__`` in a key stands for a point."""
    plan = {"input.size": 32, "training.batch": 8, "training.learning_rate": 0.02}
    changes = plan | {key.replace("__", "."): value for key, value in overrides.items()}
    system = load_system(SYSTEM, overrides=changes)
    names = {MODEL: {"architecture": MODEL}, "unet-three": {"architecture": "unet-three"}}
    system = replace(system, models=system.models | names)
    return open_run(folder / model, Setup(system, model, seed, "phantom", ""))
