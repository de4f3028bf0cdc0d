"""Training of the YOLO systems (documents 000, 003 and 004) with ultralytics' own trainer, in a run folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from CSpineFractureLib.datasets.labelled_image import SLICE_TABLE, read_slice_table
from CSpineFractureLib.datasets.slice_image import pictures_below
from CSpineFractureLib.datasets.yolo import label_file, label_lines, read_data_file
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import as_metadata
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.weights_file import load_weights, save_weights
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import RunFolder
from CSpineFractureLib.training.yolo_checkpoint import BEST, State, read_last
from CSpineFractureLib.training.yolo_find import class_names, find_boxes
from CSpineFractureLib.training.yolo_settings import trainer_settings
from CSpineFractureLib.training.yolo_start import first_network

__all__ = ["find_boxes", "fit_boxes"]

OnEvent = Callable[[dict[str, Any]], None]


def fit_boxes(run: RunFolder, options: FitOptions, on_event: OnEvent, images: Path | None = None) -> None:
    """Train the network of a run, or go on with it, and export its best weights to ``run.weights``.

    Best is the epoch of the highest mAP50-95 on the validation pictures, and its weights are averaged over the steps,
    both as ultralytics does. ``images`` is the YOLO tree where it is not ``run.images``. Events have the stage
    ``train`` and count batches. A run that has its weights already returns at once.

    Raises ``UserError`` for pictures, starting weights, checkpoints or a device that are missing or do not fit, and
    where the disk is full. After ``KeyboardInterrupt`` or a kill the same call goes on after the last whole epoch.
    """
    if run.weights.is_file():
        return
    images = images or run.images
    data, settings = training_data(run, images), trainer_settings(run, options)
    state = read_last(run.checkpoints, identity(run))
    try:
        if state is None or state["epoch"] + 1 < settings["epochs"]:
            run.logs.mkdir(parents=True, exist_ok=True)
            if options.devices > 1:
                from CSpineFractureLib.training.yolo_gpus import train_on_gpus

                train_on_gpus(run, options, on_event, images)
            else:
                train_here(run, settings, data, state, on_event)
        export_best(run)
    except OSError as error:
        message = f"'{run.path}' cannot be written ({error.strerror or error}): free some space and go on with the run."
        raise UserError(message) from error


def train_here(
    run: RunFolder, settings: dict[str, Any], data: dict[str, Any], state: State | None, on_event: OnEvent
) -> None:
    """Train in this process, as one of several where ``torchrun`` started it."""
    from CSpineFractureLib.training.yolo_trainer import RunTrainer

    network = first_network(run)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that have no deterministic form
            RunTrainer(settings, network, data, run.checkpoints, identity(run), state, on_event).train()
    except UserError as error:
        lines = str(error).strip().splitlines()  # a loader process puts its whole traceback before the sentence
        raise UserError(lines[-1].rpartition("UserError: ")[2]) from error
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in ("out of memory", "allocate memory")):
            raise
        message = (
            f"The memory does not suffice for a batch of {settings['batch']}: train into another folder with a smaller"
            " --set training.batch."
        )
        raise UserError(message) from error


def training_data(run: RunFolder, images: Path) -> dict[str, Any]:
    """The YOLO tree ``images`` as ultralytics' trainer takes it.

    Raises ``UserError`` where it has no ``data.yaml``, other classes than the run, or a split without a class, and
    where pictures of its table are missing.
    """
    names, found = class_names(run), read_data_file(images)
    if found[0] != names:
        message = f"'{images}' has the classes {', '.join(found[0])}, not {', '.join(names)}: make its images again."
        raise UserError(message)
    _check_listed(images)
    folders = {split: [images / folder for folder in found[1][split]] for split in ("train", "val")}
    for split, own in folders.items():
        shown = _classes_shown(images, own)
        lacking = [name for number, name in enumerate(names) if str(number) not in shown]
        if lacking:
            message = f"No picture of the split '{split}' has a box of {lacking[0]} ('{images}'): give more studies."
            raise UserError(message)
    return {
        **{split: [str(folder) for folder in own] for split, own in folders.items()},
        "names": dict(enumerate(names)),
        "nc": len(names),
        "channels": run.entry().arguments.get("channels", 3),
        "root": str(images),
    }


def identity(run: RunFolder) -> dict[str, Any]:
    """What a checkpoint must agree in to be gone on with."""
    entry = run.entry()
    return {"architecture": entry.architecture, "arguments": dict(entry.arguments), "size": run.setup.size}


def _check_listed(images: Path) -> None:
    """Raise ``UserError`` where a picture that the tree's table lists is missing; a tree may have no table."""
    lost = next((file for file in read_slice_table(images) if not (images / file).is_file()), None)
    if lost:
        message = f"'{images / lost}' is missing though '{SLICE_TABLE}' lists it: make the images again."
        raise UserError(message)


def _classes_shown(root: Path, folders: list[Path]) -> set[str]:
    """The class ids, as written, of all boxes of these pictures."""
    shown = set()
    for folder in folders:
        for picture in pictures_below(folder):
            path = label_file(root, picture.relative_to(root).as_posix())
            if path.is_file():
                shown |= {line.split()[0] for line in label_lines(path) if line.strip()}
    return shown


def export_best(run: RunFolder) -> None:
    """Export the best weights so far with all that is needed to install them."""
    entry = run.entry()
    model = load_weights(create(entry.architecture, **entry.arguments), run.checkpoints / BEST, run.remedy)
    save_weights(model, run.weights, torch.float32, as_metadata(entry))
