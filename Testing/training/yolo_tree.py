"""A small YOLO tree: bright squares on dark pictures, size and brightness tell the class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from CSpineFractureLib.datasets.labelled_image import CLASSES, ClassBox, LabelledImage, write_slice_table
from CSpineFractureLib.datasets.slice_image import write_image
from CSpineFractureLib.datasets.yolo import label_file, label_text
from CSpineFractureLib.training.run_folder import RunFolder, Setup, open_run
from CSpineFractureLib.training.systems import System, load_system

HEIGHT, WIDTH, SIZE = 96, 80, 96


def a_system(classes: str = "fracture", architecture: str = "yolov8n", **training) -> System:
    """A quick system for the pictures of ``write_tree``; ``training`` changes its training."""
    name = "004-fracture-detector" if classes == "fracture" else "000-vertebra-detector"
    system = load_system(name, quick=True, overrides={"input.size": SIZE})
    model = {"architecture": architecture, "arguments": {"classes": len(CLASSES[classes]), "channels": 3}}
    return replace(
        system,
        models={architecture: model},
        default_model=architecture,
        training={**system.training, "batch": 8, "nominal_batch": 8, **training},
        augmentation={**dict.fromkeys(system.augmentation, 0.0), "fliplr": 0.5},
    )


def a_run(folder: Path, system: System, **setup) -> RunFolder:
    """The run of a system's only model in ``folder``, beside ``folder/images``."""
    return open_run(folder / system.default_model, Setup(system, system.default_model, source="phantom", **setup))


def write_tree(root: Path, classes: str = "fracture", train: int = 40, val: int = 12, test: int = 0) -> Path:
    """Write ``root/images`` with so many pictures of 96 x 80 pixels; returns it."""
    tree, names, rng = root / "images", CLASSES[classes], np.random.default_rng(5)
    images = []
    for split, count in (("train", train), ("val", val), ("test", test)):
        for n in range(count):
            file = f"images/{split}/{split}{n:03d}_k0007.png"
            boxes, picture = _squares(names, n, rng)
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            write_image(picture, tree / file)
            image = LabelledImage(
                file, f"{split}{n:03d}", "group", split, 7, WIDTH, HEIGHT, boxes, strata=("hairline",)
            )
            path = label_file(tree, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(label_text(image, names), encoding="utf-8")
            images.append(image)
    splits = {split: f"images/{split}" for split, n in (("train", train), ("val", val), ("test", test)) if n}
    (tree / "data.yaml").write_text(yaml.safe_dump({**splits, "names": dict(enumerate(names))}), encoding="utf-8")
    write_slice_table(tree, images, names)
    return tree


def _squares(names: tuple[str, ...], n: int, rng: np.random.Generator) -> tuple[tuple[ClassBox, ...], np.ndarray]:
    """Up to two squares side by side, of the next classes in turn."""
    picture = rng.integers(0, 30, (HEIGHT, WIDTH)).astype(np.uint8)
    boxes = []
    for place in range(1 + n % 2):
        number = (n + 3 * place) % len(names)
        edge = 16 + 3 * number
        x, y = int(rng.integers(0, 40 - edge)) + 40 * place, int(rng.integers(0, HEIGHT - edge))
        picture[y : y + edge, x : x + edge] = 80 + 25 * number
        boxes.append(ClassBox(names[number], x, y, edge, edge))
    return tuple(boxes), picture
