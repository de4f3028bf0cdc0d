"""Drawn pictures of a column of blocks that a small network learns to tell apart in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from CSpineFractureLib.datasets.radiographs import CLASSES
from CSpineFractureLib.training.systems import System, load_system


def draw(kind: str, seed: int, edge: int = 72) -> np.ndarray:
    """uint8: six blocks above each other; one is missing (fracture), or the lower ones stand aside (dislocation)."""
    rng = np.random.default_rng([seed, CLASSES.index(kind)])
    picture = rng.normal(60, 8, (edge, edge))
    left, broken = rng.integers(16, 24), rng.integers(2, 4)
    for n in range(6):
        shift = 16 if kind == "dislocation" and n >= broken else 0
        if kind != "fracture" or n != broken:
            picture[4 + 11 * n : 13 + 11 * n, left + shift : left + shift + 22] += 130
    return np.clip(picture, 0, 255).astype(np.uint8)


def radiographs_in(root: Path, each: int = 20) -> Path:
    """A folder of each class with ``each`` pictures, and their table, in which two classes share each person."""
    lines = ["file,class,seed,mimics"]
    for kind in CLASSES:
        (root / kind).mkdir(parents=True)
        for n in range(each):
            Image.fromarray(draw(kind, n)).save(root / kind / f"{n:03d}.png")
            seed = n if kind != "dislocation" else 1000 + n
            lines.append(f"{kind}/{n:03d}.png,{kind},{seed},{'C4 fissure' if n % 2 else ''}")
    (root / "truth.csv").write_text("\n".join(lines))
    return root


def small_system(**training) -> System:
    """The quick recipe on pictures of 64 pixels with a narrow AlexNet."""
    system = load_system("001-radiograph", quick=True).to_dict()
    system["input"]["size"] = [64, 64]
    system["models"]["radiograph-alexnet"]["arguments"] = {"fc_width": 16, "batch_norm": True, "dropout": 0.0}
    system["training"] |= {"epochs": 2} | training
    system["augmentation"] = {"shift": 0.02}
    return System.from_dict(system)
