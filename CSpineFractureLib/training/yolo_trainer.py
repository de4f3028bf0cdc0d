"""ultralytics' detection trainer on one run folder: our network, our pictures, our checkpoints; nothing else changed.

Each epoch has random streams of its own, drawn from the run's seed. A run that is gone on with after a kill therefore
sees the same pictures in the same order as one that was never broken off.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.models.quiet_ultralytics import ultralytics_training_parts
from CSpineFractureLib.training.yolo_checkpoint import State, write_best, write_last
from CSpineFractureLib.training.yolo_pictures import SquarePictures

_LIBRARY = ultralytics_training_parts()
OnEvent = Callable[[dict[str, Any]], None]
MEMORY, MOST_MOMENTUM = 20, 0.2
"""Batch statistics are averaged over a twentieth of the run's batches: at least 5, at most ultralytics' own 33."""
_SCORES = {"mAP50": "metrics/mAP50(B)", "mAP50-95": "metrics/mAP50-95(B)"}


class RunTrainer(_LIBRARY.DetectionTrainer):
    """Trains ``network`` on the pictures that ``data`` describes; its progress goes to ``on_event``.

    Parameters
    ----------
    overrides
        Settings of ultralytics; ``save_dir`` is the folder of the logs.
    data
        As ultralytics' data sets: ``train`` and ``val`` (folders), ``names``, ``nc``, ``channels``; and ``root``.
    checkpoints
        Folder of the checkpoints.
    identity
        What a checkpoint must agree in to be gone on with.
    state
        A checkpoint to go on from.
    """

    def __init__(
        self,
        overrides: dict[str, Any],
        network: nn.Module,
        data: dict[str, Any],
        checkpoints: Path,
        identity: dict[str, Any],
        state: State | None,
        on_event: OnEvent,
    ) -> None:
        self._data, self._network, self._state, self._identity = data, network, state, identity
        self._on_event, self._log, self._asked_batch = on_event, None, overrides["batch"]
        self._seconds_before = 0.0
        threads = torch.get_num_threads()
        super().__init__(overrides=overrides, _callbacks=_LIBRARY.get_default_callbacks())
        torch.set_num_threads(threads)  # ultralytics takes all cores but one, whatever the user asked for
        with contextlib.suppress(OSError):
            self.wdir.rmdir()
        self.wdir = checkpoints
        self.add_callback("on_train_start", RunTrainer._count_on)
        self.add_callback("on_train_start", RunTrainer._quicken_norms)
        self.add_callback("on_train_epoch_start", RunTrainer._begin_epoch)
        self.add_callback("on_train_batch_end", RunTrainer._tell_batch)
        self.add_callback("on_fit_epoch_end", RunTrainer._tell_epoch)
        self.add_callback("teardown", RunTrainer._close_log)

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Go on from the state that was given; ultralytics would unpickle a file here."""
        self.resume = self.args.resume = self._state is not None

    def get_dataset(self) -> dict[str, Any]:
        """The data as given; ultralytics would look for it on the network."""
        return self._data

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> SquarePictures:
        """The pictures of one split, augmented for training."""
        return SquarePictures(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=mode == "train",
            hyp=self.args,
            task="detect",
            data=self.data,
        )

    def setup_model(self) -> State | None:
        """Our network; returns the state to go on from."""
        if self._state is not None:
            self._network.load_state_dict(self._state["model"])
        self.model = self._network
        return self._state

    def resume_training(self, ckpt: State | None) -> None:
        """Put average, optimiser and counters back as they were; drop what was logged after that."""
        if ckpt is None:
            return
        self.ema.ema.load_state_dict(ckpt["average"])
        self.ema.updates = ckpt["updates"]
        for saved, group in zip(ckpt["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
            saved["fused"] = group.get("fused")
        self.optimizer.load_state_dict(ckpt["optimizer"])
        if ckpt["scaler"]:
            self.scaler.load_state_dict(ckpt["scaler"])
        self.best_fitness, self.start_epoch = ckpt["best_fitness"], ckpt["epoch"] + 1
        if self._is_first:
            self._seconds_before = _keep_epochs(self.csv, self.start_epoch)

    def save_model(self) -> bool:
        """Write the checkpoints of this epoch; called after every epoch, on the first process only."""
        if self.best_fitness == self.fitness:
            write_best(self.wdir, self.ema.ema, self.epoch)
        state = {
            "identity": self._identity,
            "epoch": self.epoch,
            "model": _LIBRARY.unwrap_model(self.model).state_dict(),
            "average": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_fitness": float(self.best_fitness),
        }
        write_last(self.wdir, state)
        self._state = None  # frees what was read
        return True

    def final_eval(self) -> None:
        """Nothing: the best weights are measured from the exported file."""

    def plot_metrics(self) -> None:
        """Nothing: plots are made from the logs and the found boxes."""

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Raise ``UserError`` where the loss is no longer a number. Trying again would meet the same numbers."""
        if math.isfinite(float(self.loss)):
            return False
        message = (
            f"Training became unstable in epoch {epoch + 1} (its loss is no longer a number): train into another folder"
            " with a smaller training.learning_rate or with --precision 32."
        )
        raise UserError(message)

    @property
    def _is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0

    def _count_on(self) -> None:
        """Let the column ``time`` of the log go on from the part before, where ultralytics would begin at nought."""
        self.train_time_start -= self._seconds_before

    def _quicken_norms(self) -> None:
        """In short runs, let batch normalisation forget the first steps sooner than ultralytics' 3 % a step does."""
        batches = self.epochs * len(self.train_loader)
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = min(MOST_MOMENTUM, max(module.momentum, MEMORY / batches))

    def _begin_epoch(self) -> None:
        """Random streams of this epoch, and loader processes that start with them."""
        rank = 0 if self._is_first else torch.distributed.get_rank()
        drawn = np.random.SeedSequence([self.args.seed, self.epoch, rank]).generate_state(2)
        self.train_loader.reset()
        self.train_loader.generator.manual_seed(int(drawn[0]))
        random.seed(int(drawn[1]))
        np.random.seed(int(drawn[1]))
        torch.manual_seed(int(drawn[1]))
        self._batch = 0

    def _tell_batch(self) -> None:
        self._batch += 1
        losses = ", ".join(f"{name.removesuffix('_loss')} {float(value):.3f}" for name, value in self.tloss.items())
        self._tell(self._batch, f"Epoch {self.epoch + 1} of {self.epochs}: loss {losses}")

    def _tell_epoch(self) -> None:
        """Tell what the epoch reached; write it to the TensorBoard log."""
        if not self._is_first:
            return
        scores = ", ".join(f"{name} {self.metrics.get(key, 0):.3f}" for name, key in _SCORES.items())
        smaller = "" if self.batch_size == self._asked_batch else f" (batch {self.batch_size}, for lack of GPU memory)"
        self._tell(self._batch, f"Epoch {self.epoch + 1} of {self.epochs}: {scores}{smaller}")
        if self._log is None:
            self._log = _tensorboard(self.save_dir, self.epoch + 1)
        if self._log:
            for name, value in {**self.label_loss_items(self.tloss), **self.metrics, **self.lr}.items():
                self._log.add_scalar(name, float(value), self.epoch + 1)

    def _tell(self, batch: int, message: str) -> None:
        if self._is_first:
            each = len(self.train_loader)
            done, total = self.epoch * each + batch, self.epochs * each
            self._on_event({"stage": "train", "done": done, "total": total, "message": message})

    def _close_log(self) -> None:
        if self._log:
            self._log.close()


def _keep_epochs(path: Path, epochs: int) -> float:
    """Drop the rows of a log after the first ``epochs`` epochs: they were written for an epoch that was not saved.

    Returns the seconds that the last of the others tells.
    """
    if not path.is_file():
        return 0.0
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[: epochs + 1]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text_atomically(text.getvalue(), path)
    return float(rows[-1][1]) if len(rows) > 1 else 0.0


def _tensorboard(folder: Path, epoch: int) -> Any:
    """A TensorBoard log in ``folder`` from ``epoch`` on; ``False`` where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder), purge_step=epoch)
