"""What a Lightning training tells: one row per epoch in ``metrics.csv``, progress events, and nothing else."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from CSpineFractureLib.findings.atomic_file import write_text_atomically

OnEvent = Callable[[dict[str, Any]], None]
LOG_FILE = "metrics.csv"
_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning")


class EpochTable(Logger):
    """``metrics.csv``, a row per epoch. Lightning's own CSVLogger begins anew in a restart, without the rows before."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / LOG_FILE
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        """Of this kind of log."""
        return "epochs"

    @property
    def version(self) -> str:
        """There is one only."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> None:
        """Reads the rows of an earlier part of the run."""
        if self._path.is_file() and not self._rows:
            with open(self._path, encoding="utf-8", errors="replace", newline="") as stream:
                for row in csv.DictReader(stream):
                    if (row.get("epoch") or "").isdigit():
                        self._rows[int(row["epoch"])] = {key: value for key, value in row.items() if value}

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They stand in ``system.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add figures to the row of their epoch; a row of an epoch that was not finished is replaced."""
        epoch = int(metrics["epoch"])
        self._rows = {number: row for number, row in self._rows.items() if number <= epoch}
        figures = {name: f"{float(value):.6g}" for name, value in metrics.items() if name != "epoch"}
        row = {**self._rows.get(epoch, {}), "epoch": epoch, "step": step, **figures}
        self._rows[epoch] = row
        names = sorted({name for row in self._rows.values() for name in row} - {"epoch", "step"})
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", "step", *names], lineterminator="\n")
        table.writeheader()
        table.writerows(row for _, row in sorted(self._rows.items()))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(text.getvalue(), self._path)


class Progress(Callback):
    """Tells ``on_event`` of each batch: stage ``train``, batches of all epochs, loss and the figure that is watched."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One batch more."""
        if trainer.is_global_zero:
            self._tell(trainer, pl_module, trainer.current_epoch * trainer.num_training_batches + batch_idx + 1)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """The figures of the epoch are known."""
        if trainer.is_global_zero:
            self._tell(trainer, pl_module, (trainer.current_epoch + 1) * trainer.num_training_batches)

    def _tell(self, trainer: Any, pl_module: Any, done: int) -> None:
        known, epochs = trainer.callback_metrics, trainer.max_epochs
        shown = {"loss": known.get("train_loss"), pl_module.monitor.replace("_", " ", 1): known.get(pl_module.monitor)}
        figures = [f"{name} {float(value):.3f}" for name, value in shown.items() if value is not None]
        message = ", ".join([f"Epoch {min(trainer.current_epoch + 1, epochs)} of {epochs}", *figures])
        total = epochs * trainer.num_training_batches
        self._on_event({"stage": "train", "done": done, "total": total, "message": message})


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Inside, Lightning prints neither its banners and tips nor warnings; loggers are as before afterwards."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"  # for processes that it starts
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before
