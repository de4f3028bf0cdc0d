"""Training of the level regressor: the functions of ``tasks``. It learns from the column locator's volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.level_regressor import BLOCK
from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.column_run import (
    ColumnVolumes,
    fit_on_volumes,
    joined,
    make_images,
    read_found,
    write_found,
)
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.lightning_fit import telling
from CSpineFractureLib.training.lightning_log import OnEvent
from CSpineFractureLib.training.measure_run import Measured, write_measured
from CSpineFractureLib.training.metrics_file import Metrics
from CSpineFractureLib.training.regressor_samples import body_blocks, draw_blocks
from CSpineFractureLib.training.regressor_task import RegressorTask, expected
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.slice_export import check_network, exported_network

__all__ = ["check", "fit", "look", "make_images", "measure"]

BLOCKS = 4
"""Blocks of a study in one visit."""
NEAR_MM = 25.0
"""Above and below a body, what is shown of it where only three levels are left."""
NEAR = 0.5
"""Levels from the true position within which what is said names the right level."""
LEAST_BODIES = 2


class Blocks(ColumnVolumes):
    """Blocks of one split with their positions; those at the bodies, unless asked for as ``(epoch, index)``."""

    def read_all(self, on_progress: Progress = no_progress) -> None:
        """As that of ``ColumnVolumes``; raises ``UserError`` where a study shows fewer than two bodies."""
        super().read_all(on_progress)
        for index, row in enumerate(self.rows):
            if np.isfinite(self.volume(index).bodies[:, 0]).sum() < LEAST_BODIES:
                message = f"Study '{row['study']}' shows fewer than two bodies of vertebrae: leave it out."
                raise UserError(message)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, ...]:
        if not isinstance(key, tuple):
            return body_blocks(self.volume(key))
        epoch, index = key
        return draw_blocks(self.volume(index), BLOCKS, np.random.default_rng([self.seed, epoch, index]))


def block_data(run: RunFolder, workers: int = 0) -> EpochData:
    """The training and validation blocks of a run. Raises ``UserError`` as ``Blocks`` does, and for another size."""
    system, seed = run.setup.system, run.setup.seed
    _check_size(run.setup)
    training, validation = (Blocks(run.images, split, seed) for split in ("train", "val"))
    studies = max(1, int(system.training["batch"]) // BLOCKS)
    return EpochData(training, validation, studies, workers, alone=True, join=joined)


def check(setup: Setup) -> None:
    """Raise ``UserError`` where the blocks would have another size, or the network cannot start from the weights."""
    _check_size(setup)
    check_network(setup)


def _check_size(setup: Setup) -> None:
    if setup.size != BLOCK[1]:
        message = f"Blocks are always {BLOCK[1]} x {BLOCK[1]} voxels: leave out input.size."
        raise UserError(message)


def fit(run: RunFolder, options: FitOptions, on_event: OnEvent) -> None:
    """As ``column_run.fit``."""
    fit_on_volumes(run, options, on_event, block_data, RegressorTask)


def look(
    run: RunFolder, set_name: str, device: str | torch.device = "auto", on_event: OnEvent = lambda event: None
) -> Path:
    """Let the run's network look at the bodies of each study of a set; returns ``predictions-<set>.npz``.

    It holds per body: ``studies``, ``level`` (0 for C1 to 7 for T1), and the position said, ``whole`` and ``near``, of
    the whole block and of 25 mm above and below the body.
    """
    where = choose_device(str(device))
    network = exported_network(run).to(where)
    blocks = Blocks(run.images_of(set_name), "val" if set_name == "val" else "test")
    found: dict[str, list] = {"studies": [], "level": [], "whole": [], "near": []}
    tell = telling(on_event, "predict", f"Looking at the studies of {set_name}")
    for index, row in enumerate(blocks.rows):
        for name, near_mm in (("whole", None), ("near", NEAR_MM)):
            shown, levels = body_blocks(blocks.volume(index), near_mm)
            with torch.inference_mode():
                found[name].extend(expected(network(shown.to(where))).cpu().tolist())
        found["level"].extend(levels.tolist())
        found["studies"].extend([row["study"]] * len(levels))
        tell(index + 1, len(blocks))
    return write_found(run, set_name, found)


def measure(run: RunFolder, set_name: str) -> Metrics:
    """How far, in levels, bodies are told from where they are, with intervals over studies."""
    found = read_found(run, set_name)
    studies, arrays = found["studies"], tuple(found[name] for name in ("level", "whole", "near"))
    strata = {"all": np.ones(len(studies), bool)}
    return write_measured(run, set_name, Measured(_figures, studies, arrays, strata))


def _figures(level: np.ndarray, whole: np.ndarray, near: np.ndarray) -> Figures:
    figures: Figures = {}
    for name, said in (("", whole), ("_near", near)):
        figures[f"error_levels{name}"] = float(np.abs(said - level).mean())
        figures[f"within{name}"] = float((np.abs(said - level) < NEAR).mean())
    return figures
