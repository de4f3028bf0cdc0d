"""What a trained detector finds in the pictures of a set, beside the true boxes: ``detections-<set>.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from CSpineFractureLib.datasets.labelled_image import CLASSES, origin_of, read_slice_table
from CSpineFractureLib.datasets.slice_image import pictures_below, read_image
from CSpineFractureLib.datasets.yolo import IMAGES, label_file, read_data_file, read_yolo_boxes
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.registry import create, prepare_for_inference
from CSpineFractureLib.models.slice_input import SquareFit, square_image
from CSpineFractureLib.models.weights_file import load_weights
from CSpineFractureLib.models.yolo import Detections, detect
from CSpineFractureLib.training.run_folder import RunFolder

LEAST_SCORE, MOST_OVERLAP, MOST_BOXES = 0.001, 0.6, 100
"""Of the boxes kept for measuring; ultralytics measures down to the same score."""
BATCH = 16
OnEvent = Callable[[dict[str, Any]], None]
Row = list[float]
"""Class, score, and left, top, right, bottom in pixels of the picture as it is stored."""


def find_boxes(run: RunFolder, set_name: str, device: str, on_event: OnEvent) -> Path:
    """Let the exported network look at a set (``val``, or one with images of its own); writes and returns
    ``run.detections(set_name)``, whole or as before.

    Raises ``UserError`` where the network or the pictures are missing or damaged, or the device is not there.
    """
    names, root = class_names(run), run.images_of(set_name)
    files = pictures_of(root, set_name)
    model = trained_model(run).to(choose_device(device))
    table, images = read_slice_table(root), []
    for file, (picture, found) in zip(files, found_in(model, map(read_image, files), run.setup.size), strict=True):
        height, width = picture.shape[:2]
        study, _, k = origin_of(file, root, table)
        name = file.relative_to(root).as_posix()
        images.append(
            {
                "file": name,
                "study": study,
                "k": k,
                "strata": table.get(name, {}).get("strata") or "",
                "width": width,
                "height": height,
                "truth": _truth(root, name, (width, height), names),
                "found": found,
            }
        )
        message = f"Looking at the set {set_name}"
        on_event({"stage": "find", "done": len(images), "total": len(files), "message": message})
    write_text_atomically(json.dumps({"classes": names, "images": images}) + "\n", run.detections(set_name))
    return run.detections(set_name)


def trained_model(run: RunFolder) -> nn.Module:
    """The exported network of a run, ready for use, on the CPU. Raises ``UserError`` where there is none yet."""
    if not run.weights.is_file():
        message = f"'{run.path}' holds no trained network yet: go on with it with the same 'cspine train' command."
        raise UserError(message)
    entry = run.entry()
    return prepare_for_inference(load_weights(create(entry.architecture, **entry.arguments), run.weights))


def found_in(
    model: nn.Module, pictures: Iterable[np.ndarray], size: int, batch: int = BATCH
) -> Iterator[tuple[np.ndarray, list[Row]]]:
    """Each picture (uint8 ``[h, w]`` or ``[h, w, 3]``, R, G, B) with the boxes that a YOLO network finds in it.

    ``model`` is one of ``models.yolo.build_yolo`` in evaluation mode, ``size`` the edge of the squares it was trained
    on. Boxes are those above ``LEAST_SCORE``, best first, and end at the edges of the picture.
    """
    weight, rest = next(model.parameters()), iter(pictures)
    while some := list(islice(rest, batch)):
        squares = np.stack([square_picture(picture, size, weight.shape[1]) for picture in some])
        images = torch.from_numpy(squares).to(weight.device).permute(0, 3, 1, 2).float() / 255
        found = detect(model, images, LEAST_SCORE, MOST_OVERLAP, MOST_BOXES, multi_label=True)
        for picture, detections in zip(some, found, strict=True):
            yield picture, _rows(detections, picture.shape[0], picture.shape[1], size)


def square_picture(picture: np.ndarray, size: int, channels: int) -> np.ndarray:
    """uint8 ``[size, size, channels]`` of a picture, grey repeated; air where it is not square.

    Raises ``UserError`` for a coloured picture where the network takes another number of channels.
    """
    square = square_image(picture, size)
    if square.ndim == 2:
        return np.repeat(square[..., None], channels, axis=2)
    if square.shape[2] != channels:
        message = (
            f"The pictures have {square.shape[2]} channels and the network takes {channels}: set its channels to"
            f" {square.shape[2]}, or make the pictures in one window."
        )
        raise UserError(message)
    return square


def class_names(run: RunFolder) -> list[str]:
    """The classes of a run's pictures, in the order of their ids. Raises ``UserError`` where its network has others."""
    names = list(CLASSES[run.setup.system.data.get("classes", "vertebrae")])
    classes = run.entry().arguments.get("classes", 7)
    if classes != len(names):
        message = (
            f"Model {run.setup.model} has {classes} classes and the pictures of system {run.setup.system.name} have"
            f" {len(names)}: set its argument classes to {len(names)}."
        )
        raise UserError(message)
    return names


def pictures_of(root: Path, set_name: str) -> list[Path]:
    """The pictures of the set ``val`` of a YOLO tree, or of the split ``test``. Raises ``UserError`` for none."""
    folders = read_data_file(root)[1]["val"] if set_name == "val" else [f"{IMAGES}/test"]
    files = [file for folder in folders for file in pictures_below(root / folder)]
    if not files:
        message = f"'{root}' has no pictures of the set '{set_name}' ({', '.join(folders)}): make its images again."
        raise UserError(message)
    return files


def _truth(root: Path, name: str, size: tuple[int, int], names: list[str]) -> list[Row]:
    path = label_file(root, name)
    boxes = read_yolo_boxes(path, size, names) if path.is_file() else []
    return [[names.index(one.name), one.x, one.y, one.x + one.width, one.y + one.height] for one in boxes]


def _rows(found: Detections, height: int, width: int, size: int) -> list[Row]:
    fit, rows = SquareFit.of(height, width, size), []
    for box, score, number in zip(
        found.boxes_xyxy.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
    ):
        x0, y0 = (max(0.0, value) for value in fit.to_slice(box[0], box[1]))
        x1, y1 = fit.to_slice(box[2], box[3])
        x1, y1 = min(float(width), x1), min(float(height), y1)
        if x1 > x0 and y1 > y0:
            rows.append([number, round(score, 5), *(round(value, 2) for value in (x0, y0, x1, y1))])
    return rows
