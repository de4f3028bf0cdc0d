"""Sets of made vertebra crops that a network learns in seconds, and runs that train on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from CSpineFractureLib.datasets.crop_table import CropRow, write_crop_table
from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.training.run_folder import RunFolder, Setup, open_run
from CSpineFractureLib.training.run_images import MADE_FILE
from CSpineFractureLib.training.systems import load_system

SYSTEM, SLICES, SIZE = "002-vertebra-fracture", 5, 32
STILL = {f"augmentation__{key}": 0 for key in ("blur", "distortion", "sharpen", "brightness", "rotation_deg", "scale")}
"""For ``a_run``: the crops as they are."""


def make_crops(
    root: Path, train: int, val: int, split: str = "val", cracks: bool = False, middle: bool = False
) -> Path:
    """Studies of four levels each, every second vertebra with a dark gap through two of its slices.

    With ``cracks`` the samples of all levels but C5 tell where that is; with ``middle`` one of the two is the
    middle one.
    """
    rng = np.random.default_rng([train, val])
    rows = []
    for number in range(train + val):
        part, name = ("train" if number < train else split), f"study{number:03d}"
        for place, level in enumerate(LEVELS[1:5]):
            broken = (number + place) % 2
            strata = "+".join(["hairline" if place == 3 else "displaced"] * broken + ["mimics"] * (number % 3 == 0))
            file = f"{part}/{name}_{level}.npz"
            rows.append(CropRow(file, name, name, part, level, broken, strata, 1.0, 10 * place, 10 * place + 9))
            (root / part).mkdir(parents=True, exist_ok=True)
            crop, gap = _vertebra(rng, bool(broken), middle)
            known = {"cracks": gap} if cracks and level != "C5" else {}
            np.savez_compressed(root / file, crop=crop, whole=np.roll(crop, 3, axis=2), **known)
    write_crop_table(root, rows)
    made = {"source": "phantom", "root": "studies"}
    (root / MADE_FILE).write_text(yaml.safe_dump(made), encoding="utf-8")
    return root


def a_run(folder: Path, model: str = "vertebra-cnn-lstm", seed: int = 0, **overrides: Any) -> RunFolder:
    """A run below ``folder``, whose crops lie in ``folder / "images"``; ``__`` in a key stands for a point."""
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    system = load_system(SYSTEM, quick=True, overrides={"input.size": SIZE, **changes})
    system.input["slices"] = SLICES
    return open_run(folder / model, Setup(system, model, seed, "phantom", "studies", ""))


def _vertebra(rng: np.random.Generator, broken: bool, middle: bool) -> tuple[np.ndarray, np.ndarray]:
    """uint8 ``[5, 4, 32, 32]``: a bright disc in noise, with its mask; and ``[5, 32, 32]``, 255 in its gap."""
    j, i = np.mgrid[:SIZE, :SIZE] - (SIZE / 2 + rng.uniform(-2, 2, 2))[:, None, None]
    disc = j**2 + i**2 < rng.uniform(8, 11) ** 2
    pictures = rng.normal(60, 8, (SLICES, 3, SIZE, SIZE)) + 120 * disc
    gap = np.zeros((SLICES, SIZE, SIZE), np.uint8)
    if broken:
        angle, first = rng.uniform(0, np.pi), rng.integers(*((1, SLICES // 2 + 1) if middle else (0, SLICES - 1)))
        line = np.abs(j * np.cos(angle) + i * np.sin(angle)) < 2.0
        pictures[first : first + 2, :, line & disc] -= 110
        gap[first : first + 2, line & disc] = 255
    mask = np.broadcast_to(255 * disc, (SLICES, 1, SIZE, SIZE))
    return np.concatenate([pictures, mask], axis=1).clip(0, 255).astype(np.uint8), gap
