"""Training of the 3D segmentation (document 002, table I): the functions of ``tasks``. It learns from blocks of the
column locator's volumes, and is measured on whole ones in their own voxels of 2 x 2 x 3 mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchmetrics.classification import MulticlassConfusionMatrix

from CSpineFractureLib.datasets.column_volumes import UNKNOWN
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.neck_block import LEAST_BLOCK, network_input
from CSpineFractureLib.models.unet import CLASSES
from CSpineFractureLib.training import plots
from CSpineFractureLib.training.column_run import ColumnVolumes, fit_on_volumes, make_images, read_found, write_found
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.lightning_fit import telling
from CSpineFractureLib.training.lightning_log import OnEvent
from CSpineFractureLib.training.measure_run import Measured, write_measured
from CSpineFractureLib.training.metrics_file import Metrics
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.segmentation_report import (
    StudyScores,
    class_rows,
    confusion_of,
    level_distances,
    segmentation_figures,
)
from CSpineFractureLib.training.segmentation_task import SegmentationTask, segmentation_loss
from CSpineFractureLib.training.slice_export import check_network, exported_network
from CSpineFractureLib.training.systems import System
from CSpineFractureLib.training.volume_samples import block_of, drawn_sample, plain_sample
from CSpineFractureLib.volume.coarse_grid import GRID_MM

__all__ = ["check", "fit", "look", "make_images", "measure"]


def block_shape(setup: Setup) -> tuple[int, int, int]:
    """Voxels of a block along k, j and i. Raises ``UserError`` where ``input.slices`` is no such number."""
    slices = setup.input.get("slices")
    if not isinstance(slices, int) or isinstance(slices, bool) or slices < LEAST_BLOCK[0]:
        message = f"input.slices is {slices!r}: give the height of a block, at least {LEAST_BLOCK[0]} voxels of 2 mm."
        raise UserError(message)
    return slices, setup.size, setup.size


class Blocks(ColumnVolumes):
    """Blocks of one split and their labels; of those asked for as ``(epoch, index)`` the share ``moved`` is cast about,
    the others are as they are."""

    def __init__(self, root: Path, split: str, shape: tuple[int, int, int], seed: int = 0, moved: float = 1.0) -> None:
        super().__init__(root, split, seed)
        self.shape, self.moved = shape, moved

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        rng = np.random.default_rng([self.seed, epoch or 0, index])
        if epoch is None or rng.random() >= self.moved:
            return plain_sample(self.volume(index), self.shape)
        return drawn_sample(self.volume(index), self.shape, rng)


class VolumeTask(SegmentationTask):
    """As ``SegmentationTask``, of blocks ``[n, 2, k, j, i]``; voxels of which nobody knows what they are do not count.

    It may learn from one block at a time, for the network normalises each by itself.
    """

    def __init__(self, network: nn.Module, system: System, seed: int = 0) -> None:
        super().__init__(network, system, seed)
        self.confusion = MulticlassConfusionMatrix(len(CLASSES), ignore_index=UNKNOWN)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``segmentation_loss`` of the voxels that are known."""
        known = labels != UNKNOWN
        return segmentation_loss(logits.movedim(1, -1)[known].T[None], labels[known][None])


def check(setup: Setup) -> None:
    """Raise ``UserError`` where there are no blocks of that size, or the network cannot start from the weights."""
    block_shape(setup)
    check_network(setup)


def block_data(run: RunFolder, workers: int = 0) -> EpochData:
    """The training and validation blocks of a run. Raises ``UserError`` as ``ColumnVolumes`` does."""
    setup, shape = run.setup, block_shape(run.setup)
    moved = float(setup.system.augmentation.get("move", 1.0))
    training, validation = (Blocks(run.images, split, shape, setup.seed, moved) for split in ("train", "val"))
    return EpochData(training, validation, int(setup.system.training["batch"]), workers, alone=True)


def fit(run: RunFolder, options: FitOptions, on_event: OnEvent) -> None:
    """As ``column_run.fit``."""
    fit_on_volumes(run, options, on_event, block_data, VolumeTask)


def look(
    run: RunFolder, set_name: str, device: str | torch.device = "auto", on_event: OnEvent = lambda event: None
) -> Path:
    """Let the run's network segment the neck of each study of a set; returns ``predictions-<set>.npz``.

    It holds per study: ``studies``, ``confusion`` ``[n, 9, 9]`` (rows true) over the voxels of the whole coarse volume
    that are known, and ``surface`` and ``hd95`` ``[n, 7]`` in mm.
    """
    where = choose_device(str(device))
    network = exported_network(run).to(where)
    volumes = ColumnVolumes(run.images_of(set_name), "val" if set_name == "val" else "test")
    found: dict[str, list] = {"studies": [], "confusion": [], "surface": [], "hd95": []}
    tell = telling(on_event, "predict", f"Looking at the studies of {set_name}")
    for index, row in enumerate(volumes.rows):
        volume = volumes.volume(index)
        block = block_of(volume, block_shape(run.setup))
        with torch.inference_mode():
            logits = network(network_input(block.cut(volume.hu))[None].to(where))[0]
        said = block.paste(logits.argmax(0).byte().cpu().numpy(), volume.hu.shape)
        known = volume.labels != UNKNOWN
        surface, hd95 = level_distances(np.where(known, volume.labels, 0), np.where(known, said, 0), GRID_MM)
        found["studies"].append(row["study"])
        found["confusion"].append(confusion_of(volume.labels[known], said[known]))
        found["surface"].append(surface)
        found["hd95"].append(hd95)
        tell(index + 1, len(volumes))
    return write_found(run, set_name, found)


def measure(run: RunFolder, set_name: str) -> Metrics:
    """The figures of ``segmentation_report`` in 3D, with intervals over studies, by class, and the confusion plot."""
    found = read_found(run, set_name)
    studies, scores = found["studies"], StudyScores(*(found[name] for name in ("confusion", "surface", "hd95")))
    numbers = np.arange(len(studies))
    measured = Measured(lambda chosen: segmentation_figures(scores.of(chosen)), studies, (numbers,), strata={})
    measured.per_class = class_rows(scores)
    matrix, labels = scores.confusion.sum(axis=0), ["no bone", *CLASSES[1:]]
    measured.confusion = {"labels": labels, "matrix": matrix.tolist()}
    measured.plots["confusion"] = lambda path, title, note: plots.confusion_plot(path, matrix, labels, title, note)
    return write_measured(run, set_name, measured)
