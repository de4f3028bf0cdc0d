"""Checkpoints of a Lightning training: whole or absent, and with the one before in reserve."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.weights_file import save_weights
from CSpineFractureLib.training.teachable import plain

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.safetensors"
EVERY_MINUTES = 10.0


class SafeFiles(TorchCheckpointIO):
    """Writes a checkpoint aside and puts it in place; what was there becomes ``previous.ckpt``.

    Lightning writes into the system's temporary folder and copies from there, which a kill can break off.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Raises ``OSError`` where the file cannot be written; those that were there then stay."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        content = io.BytesIO()  # torch's own writer to a file hides why it fails
        torch.save(checkpoint, content)
        try:
            with open(part, "wb") as stream:
                stream.write(content.getbuffer())
                stream.flush()
                os.fsync(stream.fileno())
            if path.is_file():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Onto the CPU, and without running any code that a file may hold."""
        return torch.load(path, map_location="cpu", weights_only=True)


class Keep(Checkpoint):
    """Keeps ``last.ckpt`` after every epoch and every ten minutes, and the weights of the best epoch as exported.

    Best is the highest value of the module's ``monitor``, the first of equals. ``seconds`` counts the time of training,
    over all parts of a run, and is logged.
    """

    def __init__(self, folder: Path, every_minutes: float = EVERY_MINUTES) -> None:
        self._folder, self._every = folder, 60 * every_minutes
        self.best = float("-inf")
        self.seconds = 0.0
        self._since = self._saved = time.monotonic()

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint holds of this."""
        return {"best": self.best, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on with it."""
        self.best, self.seconds = state_dict["best"], state_dict["seconds"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The clocks begin."""
        self._since = self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save inside a long epoch; not after its last batch, for the end of the epoch follows."""
        due = time.monotonic() - self._saved >= self._every
        if trainer.strategy.broadcast(due) and batch_idx + 1 < trainer.num_training_batches:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the weights where they are the best so far, then the state."""
        value = float(trainer.callback_metrics[pl_module.monitor])
        if value > self.best:
            self.best = value
            if trainer.is_global_zero:
                self._keep_best(plain(pl_module.network))
        self._save(trainer)
        pl_module.log("seconds", self.seconds, rank_zero_only=True)

    def _keep_best(self, network: nn.Module) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            save_weights(network, self._folder / BEST, dtype=torch.float32)
        except ValueError as error:
            message = f"Training left the finite numbers ({error}) Train anew with a lower training.learning_rate."
            raise UserError(message) from error

    def _save(self, trainer: Any) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        trainer.save_checkpoint(self._folder / LAST)
        self._saved = time.monotonic()


def checkpoint_of(folder: Path, module: nn.Module) -> Path | None:
    """The newest whole checkpoint in ``folder`` to go on from, or ``None``. It is opened without running any code.

    Raises ``UserError`` where it is of another network than ``module``.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            stored, *_ = (content[key] for key in ("state_dict", "optimizer_states", "pytorch-lightning_version"))
        except Exception:  # missing, truncated, or no checkpoint: torch raises many kinds
            continue
        wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
        if {name: tensor.shape for name, tensor in stored.items()} != wanted:
            message = (
                f"'{path}' is a checkpoint of another architecture: train into another folder, or delete '{folder}' "
                f"to begin anew."
            )
            raise UserError(message)
        return path
    return None
