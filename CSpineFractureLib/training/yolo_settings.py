"""A system's training, as settings of ultralytics' trainer.

What the documents do not state stays as ultralytics has it, except: gradients may be gathered over another number of
pictures than 64 (``training.nominal_batch``), warm-up takes at most a fifth of the epochs, only SGD warms its biases up
from above, and training never ends early.
"""

from __future__ import annotations

from typing import Any

import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.quiet_ultralytics import ultralytics_parts
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.systems import System
from CSpineFractureLib.training.yolo_find import MOST_BOXES, MOST_OVERLAP

OPTIMISERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
AMP = {"32": False, "16-mixed": True, "bf16-mixed": "bf16"}
NOMINAL_BATCH, WARM_UP_EPOCHS, LEAST_SIZE, STEP = 64, 3.0, 64, 32
"""The first two are ultralytics' own; of pictures below 64 pixels batch normalisation may see a single value."""


def trainer_settings(run: RunFolder, options: FitOptions) -> dict[str, Any]:
    """The ``overrides`` of ultralytics' trainer for a run.

    Raises ``UserError`` for a device that is not there, an optimiser, picture size or augmentation that ultralytics
    does not know, or a batch smaller than the number of GPUs.
    """
    check_size(run.setup)
    system = run.setup.system
    training, size = system.training, run.setup.size
    epochs, batch, optimiser = int(training["epochs"]), int(training["batch"]), str(training.get("optimiser")).lower()
    device = _device(options)
    check_optimiser(run.setup)
    unshared = f"a batch of {batch} cannot be shared by {options.devices} GPUs" if batch < options.devices else ""
    sgd = optimiser == "sgd"
    settings = {
        "model": "",  # our own is put in its place
        "data": str(run.images),
        "imgsz": size,
        "epochs": epochs,
        "patience": epochs,
        "batch": batch,
        "nbs": int(training.get("nominal_batch", NOMINAL_BATCH)),
        "optimizer": OPTIMISERS.get(optimiser),
        "lr0": float(training["learning_rate"]),
        "momentum": float(training.get("momentum", 0.937 if sgd else 0.9)),
        "weight_decay": float(training["weight_decay"]),
        "warmup_epochs": min(WARM_UP_EPOCHS, epochs / 5),
        "warmup_bias_lr": 0.1 if sgd else 0.0,
        "close_mosaic": min(10, epochs // 2) if system.augmentation.get("mosaic") else 0,
        "seed": run.setup.seed,
        "deterministic": True,
        "workers": options.workers,
        "device": device,
        "amp": AMP[options.precision],
        "iou": MOST_OVERLAP,
        "max_det": MOST_BOXES,
        "plots": False,
        "verbose": False,
        "save_dir": str(run.logs),
        **system.augmentation,
    }
    _no_fault(system, unshared or _refused(settings))
    return settings


def check_optimiser(setup: Setup) -> None:
    """Raise ``UserError`` for an optimiser that there is not."""
    name, known = str(setup.system.training.get("optimiser")).lower(), ", ".join(OPTIMISERS.values())
    _no_fault(setup.system, "" if name in OPTIMISERS else f"optimiser '{name}' is not one of {known}")


def _no_fault(system: System, fault: str) -> None:
    if fault:
        message = f"System {system.name} cannot be trained so: {fault}; change it with --set or in its YAML file."
        raise UserError(message)


def check_size(setup: Setup) -> None:
    """Raise ``UserError`` for pictures of a size that the model cannot take."""
    size = setup.size
    if size % STEP or size < LEAST_SIZE:
        message = (
            f"Model {setup.model} cannot take images of {size} x {size} pixels: use --set input.size with a multiple of"
            f" {STEP} of at least {LEAST_SIZE}."
        )
        raise UserError(message)


def _device(options: FitOptions) -> str:
    """The device as ultralytics names it. Raises ``UserError`` where it is not there or cannot do what is asked."""
    device = choose_device(options.device)
    if options.precision != "32" and device.type != "cuda":
        message = f"--precision {options.precision} needs a CUDA device: use --precision 32 on {device.type}."
        raise UserError(message)
    if options.devices == 1:
        return str(device.index or 0) if device.type == "cuda" else device.type
    there = torch.cuda.device_count() if device.type == "cuda" else 0
    if there < options.devices:
        message = f"--gpus {options.devices} cannot be used, for this computer has {there} CUDA device(s)."
        raise UserError(message)
    return ",".join(str(number) for number in range(options.devices))


def _refused(settings: dict[str, Any]) -> str:
    """Why ultralytics refuses the settings, in one line; empty when it takes them."""
    try:
        ultralytics_parts().get_cfg(overrides=settings)
    except (SyntaxError, TypeError, ValueError) as error:
        return str(error).strip().splitlines()[0].rstrip(".")
    return ""
