"""Training of the network that finds the column: the functions of ``tasks``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from CSpineFractureLib.datasets.column_volumes import (
    BODIES,
    ColumnVolume,
    add_column_volumes,
    read_column_table,
    read_column_volume,
    write_column_volumes,
)
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.datasets.sources import read_source
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.weights_file import load_weights
from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.column_samples import draw_slices
from CSpineFractureLib.training.column_task import ColumnTask
from CSpineFractureLib.training.data_options import check_keys
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.learner import Learner
from CSpineFractureLib.training.lightning_fit import fit_lightning, one_sentence, telling
from CSpineFractureLib.training.lightning_keep import BEST
from CSpineFractureLib.training.lightning_log import OnEvent
from CSpineFractureLib.training.measure_run import Measured, write_measured
from CSpineFractureLib.training.metrics_file import Metrics
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.run_images import already_made, made_from, note_made
from CSpineFractureLib.training.slice_export import check_network, export_weights, exported_network, new_network
from CSpineFractureLib.training.systems import System

SLICES, LOOK_SLICES = 3, 1
"""Sagittal slices of a study in one visit."""
NEAR_MM = 6.0
"""A body counts as found where the highest heat lies so near to its middle."""


def make_images(
    system: System,
    source: str,
    root: Path,
    out: Path,
    seed: int = 0,
    single_set: bool = False,
    on_progress: Progress = no_progress,
) -> None:
    """Coarse volumes of the studies below ``root`` in ``out``, unless they are there; split by patient.

    ``data.more`` of the recipe names a folder of further ones to train on (``cspine dataset located``). Raises
    ``UserError`` where ``out`` holds others, no study has a vertebra mask, or a split would be empty.
    """
    check_keys(system, ("split", "more"))
    made = made_from(system.data, source, root, seed, single_set)
    if already_made(out, made, "volumes"):
        return
    records = [record for record in read_source(source, root) if record.load_levels is not None]
    if not records:
        message = f"No study in '{root}' has a vertebra mask: choose other studies."
        raise UserError(message)
    ratios = str(system.data.get("split", "80:20"))
    split = [replace(r, split="test") for r in records] if single_set else split_records(records, ratios, seed)
    empty = {"test"} if single_set else {"train", "val"}
    empty -= {record.split for record in split}
    if empty:
        message = f"The split '{empty.pop()}' of '{root}' has no study: give more studies."
        raise UserError(message)
    more = Path(str(system.data["more"])) if system.data.get("more") and not single_set else None
    if more:
        read_column_table(more)  # before the long work
    try:
        write_column_volumes(split, out, on_progress)
        if more:
            add_column_volumes(out, more)
        note_made(out, made)
    except OSError as error:
        shutil.rmtree(out, ignore_errors=True)
        message = f"'{out}' cannot be written ({error.strerror or error}): free some space, or choose another --output."
        raise UserError(message) from error


class ColumnVolumes(Dataset):
    """The coarse volumes of one split, each read once."""

    def __init__(self, root: Path, split: str, seed: int = 0) -> None:
        self.root, self.seed = root, seed
        self.rows = [row for row in read_column_table(root) if row["split"] == split]
        if not self.rows:
            message = f"'{root}' lists no study of the split '{split}': make the volumes again."
            raise UserError(message)
        self._kept: dict[int, ColumnVolume] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def volume(self, index: int) -> ColumnVolume:
        """A coarse volume; it is kept."""
        if index not in self._kept:
            self._kept[index] = read_column_volume(self.root / self.rows[index]["file"])
        return self._kept[index]

    def read_all(self, on_progress: Progress = no_progress) -> None:
        """Read all volumes that are not there yet. Raises ``UserError`` for a missing or damaged one."""
        for index in range(len(self)):
            self.volume(index)
            on_progress(index + 1, len(self))


class ColumnSlices(ColumnVolumes):
    """Slices of one split: ``(images, labels, heat, known)`` of one study, cast about when asked for as
    ``(epoch, index)``, in a way that depends on nothing but the seed, the epoch and the index."""

    def __init__(self, root: Path, split: str, size: int, seed: int = 0) -> None:
        super().__init__(root, split, seed)
        self.size = size

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, ...]:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        rng = np.random.default_rng([self.seed, epoch or 0, index])
        count = LOOK_SLICES if epoch is None else SLICES
        made = draw_slices(self.volume(index), count, self.size, rng, plain=epoch is None)
        return made.images, made.labels, made.heat, torch.full((count,), float(made.known))


def check(setup: Setup) -> None:
    """Raise ``UserError`` where the network cannot take slices of its size, or not start from the weights."""
    check_network(setup)


def column_data(run: RunFolder, workers: int = 0) -> EpochData:
    """The training and validation slices of a run. Raises ``UserError`` as ``ColumnSlices`` does."""
    system, seed = run.setup.system, run.setup.seed
    training, validation = (ColumnSlices(run.images, split, run.setup.size, seed) for split in ("train", "val"))
    studies = max(1, int(system.training["batch"]) // SLICES)
    return EpochData(training, validation, studies, workers, alone=True, join=joined)


def joined(visits: list[tuple[torch.Tensor, ...]]) -> list[torch.Tensor]:
    """One batch of the samples of several visits, each ``[n, ...]``."""
    return [torch.cat(parts) for parts in zip(*visits, strict=True)]


def fit(run: RunFolder, options: FitOptions, on_event: OnEvent) -> None:
    """Train the network of a run, or go on with it, and export the weights of its best epoch.

    Raises ``UserError`` where volumes or starting weights do not serve, the checkpoints are of another network, or
    memory or disk space are short; ``KeyboardInterrupt`` goes through, and the last checkpoint stays.
    """
    fit_on_volumes(run, options, on_event, column_data, ColumnTask)


def fit_on_volumes(
    run: RunFolder,
    options: FitOptions,
    on_event: OnEvent,
    data_of: Callable[[RunFolder, int], EpochData],
    task: Callable[[nn.Module, System, int], Learner],
) -> None:
    """As ``fit``, of any task that learns from coarse volumes; ``data_of`` gives a run's samples."""
    if run.weights.is_file():
        return
    with one_sentence(run):
        data = data_of(run, options.workers)
        data.read_all(telling(on_event, "volumes", "Reading the volumes"))
        lightning.seed_everything(run.setup.seed, workers=True, verbose=False)
        module = task(new_network(run.setup), run.setup.system, run.setup.seed)
        fit_lightning(run, module, data, options, on_event)
        export_weights(run, load_weights(module.network, run.checkpoints / BEST, run.remedy))


def write_found(run: RunFolder, set_name: str, found: Mapping[str, Sequence]) -> Path:
    """Write what a network said of a set, arrays by name, as ``predictions-<set>.npz``; returns it."""
    path = run.path / f"predictions-{set_name}.npz"
    np.savez_compressed(path, **{name: np.array(values) for name, values in found.items()})
    return path


def read_found(run: RunFolder, set_name: str) -> dict[str, np.ndarray]:
    """What ``write_found`` wrote."""
    with np.load(run.path / f"predictions-{set_name}.npz", allow_pickle=False) as found:
        return dict(found)


def look(
    run: RunFolder, set_name: str, device: str | torch.device = "auto", on_event: OnEvent = lambda event: None
) -> Path:
    """Let the run's network look at the middle slice of each study of a set; returns ``predictions-<set>.npz``.

    It holds per study: ``both`` and ``sizes`` ``[n, 9]``, pixels in common and in all of each class, and ``away``
    ``[n, 8]``, mm from the highest heat to the middle of C1-C7 and T1 (NaN where that is not in the slice).
    """
    where = choose_device(str(device))
    network = exported_network(run).to(where)
    slices = ColumnSlices(run.images_of(set_name), "val" if set_name == "val" else "test", run.setup.size)
    found: dict[str, list] = {"studies": [], "both": [], "sizes": [], "away": []}
    tell = telling(on_event, "predict", f"Looking at the studies of {set_name}")
    for index, row in enumerate(slices.rows):
        images, labels, heat, _known = slices[index]
        with torch.inference_mode():
            logits = network(images.to(where)).float().cpu()
        said = torch.nn.functional.one_hot(logits[0, :9].argmax(0), 9)
        true = torch.nn.functional.one_hot(labels[0], 9)
        found["studies"].append(row["study"])
        found["both"].append((said * true).sum((0, 1)).numpy())
        found["sizes"].append((said + true).sum((0, 1)).numpy())
        found["away"].append(_away(logits[0, 9:], heat[0]))
        tell(index + 1, len(slices))
    return write_found(run, set_name, found)


def _away(said: torch.Tensor, true: torch.Tensor) -> np.ndarray:
    """mm between the peaks of each body; NaN where there is none in the slice."""
    away = np.full(len(BODIES), np.nan)
    for level in range(len(BODIES)):
        if true[level].max() >= 0.5:
            peaks = [np.array(np.unravel_index(int(one[level].argmax()), one[level].shape)) for one in (said, true)]
            away[level] = 2.0 * np.linalg.norm(peaks[0] - peaks[1])
    return away


def measure(run: RunFolder, set_name: str) -> Metrics:
    """Dice per level in the middle slices, and the share of bodies found, with intervals over studies."""
    found = read_found(run, set_name)
    studies, arrays = found["studies"], tuple(found[name] for name in ("both", "sizes", "away"))
    return write_measured(run, set_name, Measured(_figures, studies, arrays, {"all": np.ones(len(studies), bool)}))


def _figures(both: np.ndarray, sizes: np.ndarray, away: np.ndarray) -> Figures:
    total = sizes.sum(axis=0)[1:8]
    dice = np.where(total > 0, 2 * both.sum(axis=0)[1:8] / np.maximum(total, 1), np.nan)
    seen = np.isfinite(away[:, : len(LEVELS)])
    figures: Figures = {f"dice_{level}": _number(value) for level, value in zip(LEVELS, dice, strict=True)}
    figures["dice"] = _number(np.nanmean(dice)) if np.isfinite(dice).any() else None
    near = away[:, : len(LEVELS)][seen] <= NEAR_MM
    figures["bodies_found"] = float(near.mean()) if near.size else None
    return figures


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
