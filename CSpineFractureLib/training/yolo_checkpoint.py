"""Where the training of a YOLO network stands: ``last.pt`` to go on from, ``best.safetensors`` to export.

ultralytics' own checkpoints are pickled networks, which may run code when they are read. These hold tensors, numbers
and names only and are read with ``weights_only``; both files are written aside and then renamed, so that a kill never
takes the only good one.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.weights_file import save_weights

LAST, BEST = "last.pt", "best.safetensors"
FORMAT = "cspine-yolo-checkpoint/1"
State = dict[str, Any]


def write_last(folder: Path, state: State) -> None:
    """Write ``last.pt``, whole or as before. Raises ``OSError`` where there is no space."""
    folder.mkdir(parents=True, exist_ok=True)
    content, part = io.BytesIO(), folder / f"{LAST}.part"
    torch.save({"format": FORMAT, **state}, content)
    try:
        part.write_bytes(content.getbuffer())
        os.replace(part, folder / LAST)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def write_best(folder: Path, model: nn.Module, epoch: int) -> None:
    """Write the weights of the best epoch as float32. Raises ``UserError`` where they cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder / BEST, torch.float32, {"epoch": str(epoch)})


def read_last(folder: Path, identity: State) -> State | None:
    """What ``last.pt`` holds; ``None`` where there is none.

    Raises ``UserError`` where it is damaged, or of another network: ``identity`` names what must be the same.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise ValueError
        differing = next((key for key, value in identity.items() if state["identity"][key] != value), None)
    except Exception as error:  # torch raises many kinds for damaged files
        message = f"'{path}' is damaged or of another version: delete '{folder}' to train from the beginning."
        raise UserError(message) from error
    if differing:
        message = (
            f"'{path}' belongs to another network ({differing} {state['identity'][differing]} instead of"
            f" {identity[differing]}): delete '{folder}' to train from the beginning."
        )
        raise UserError(message)
    return state
