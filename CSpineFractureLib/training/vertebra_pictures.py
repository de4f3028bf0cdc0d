"""The crops of one split, as the vertebra classifiers take them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from CSpineFractureLib.datasets.crop_table import CROP_TABLE, read_crop_table
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.vertebra_crops import CHANNELS, read_crop
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.slice_pictures import MOST_BYTES
from CSpineFractureLib.training.vertebra_augment import WINDOWS, VertebraAugmentation

KINDS = {"vertebra-crop": "crop", "vertebra-whole": "whole"}
"""``input.image`` of a system or model, and the pictures of a sample."""
Sample = tuple[torch.Tensor, torch.Tensor]


def input_of(setup: Setup) -> dict[str, Any]:
    """What the run's model takes: the system's ``input``, changed by the model's own (``image``, ``slices``, ``mask``).

    Raises ``UserError`` where that cannot be made.
    """
    given = {**setup.system.input, **setup.system.model(setup.model).get("input", {})}
    slices = given.get("slices")
    number = isinstance(slices, int) and not isinstance(slices, bool)
    if given.get("image") not in KINDS or not number or not 1 <= slices <= setup.system.input["slices"]:
        message = (
            f"Model {setup.model} takes input that vertebra crops do not give ({given.get('image')}, {slices} slices): "
            f"use {' or '.join(KINDS)} and 1 to {setup.system.input['slices']} slices."
        )
        raise UserError(message)
    return given


@dataclass(frozen=True)
class Shown:
    """Which part of the samples is shown: their ``kind``, ``slices`` of the ``stored`` ones, ``size``, with mask."""

    kind: str
    slices: int
    stored: int
    size: int
    mask: bool

    @classmethod
    def of(cls, setup: Setup) -> Shown:
        """By what the run's model takes."""
        given = input_of(setup)
        stored = int(setup.system.input["slices"])
        return cls(KINDS[given["image"]], int(given["slices"]), stored, setup.system.size, bool(given.get("mask")))

    @property
    def channels(self) -> int:
        """3 windows, and the mask."""
        return WINDOWS + self.mask

    def read(self, path: Path) -> np.ndarray:
        """uint8 ``[slices, channels, size, size]``, slices evenly from top to bottom. Raises ``UserError``."""
        pictures = read_crop(path, self.kind, (self.stored, CHANNELS, self.size, self.size))
        chosen = np.linspace(0, self.stored - 1, self.slices + 2)[1:-1] if self.slices < self.stored else None
        numbers = np.arange(self.stored) if chosen is None else np.rint(chosen).astype(int)
        return np.ascontiguousarray(pictures[numbers, : self.channels])


class VertebraPictures(Dataset):
    """Vertebrae of one split: float32 ``[slices, channels, s, s]`` 0..1, and 1.0 where it is fractured.

    Only vertebrae asked for as ``(epoch, index)`` are augmented, in a way that depends on nothing but the seed, the
    epoch and the index. Raises ``UserError`` where the set has no table or no such split.
    """

    def __init__(
        self, root: Path, split: str, shown: Shown, augmentation: VertebraAugmentation | None = None, seed: int = 0
    ) -> None:
        self.root, self.shown, self.augmentation, self.seed = root, shown, augmentation, seed
        self.rows = [row for row in read_crop_table(root) if row.split == split]
        if not self.rows:
            message = f"'{root / CROP_TABLE}' lists no vertebra of the split '{split}': make the crops again."
            raise UserError(message)
        self.targets = torch.tensor([float(row.label) for row in self.rows])
        self._kept: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        crop = torch.tensor(self._read(index) if self._kept is None else self._kept[index]).float() / 255
        if epoch is not None and self.augmentation is not None:
            crop = self.augmentation(crop, np.random.default_rng([self.seed, epoch, index]))
        return crop, self.targets[index]

    def __getstate__(self) -> dict:
        """Another process reads the crops itself: that is quicker than sending them."""
        return {**self.__dict__, "_kept": None}

    def read_all(self, on_progress: Progress = no_progress) -> None:
        """Read all crops into memory, unless too many. Raises ``UserError`` for a missing or damaged one."""
        shown = self.shown
        shape = (len(self), shown.slices, shown.channels, shown.size, shown.size)
        if self._kept is not None or np.prod(shape, dtype=float) > MOST_BYTES:
            return
        kept = np.empty(shape, np.uint8)
        with ThreadPoolExecutor(4) as pool:
            for index, crop in enumerate(pool.map(self._read, range(len(self)))):
                kept[index] = crop
                if index % 20 == 19 or index + 1 == len(self):
                    on_progress(index + 1, len(self))
        self._kept = kept

    def _read(self, index: int) -> np.ndarray:
        return self.shown.read(self.root / self.rows[index].file)


def vertebra_data(run: RunFolder, workers: int = 0) -> EpochData:
    """The training and validation vertebrae of a run. Raises ``UserError`` as ``VertebraPictures`` does."""
    setup, system = run.setup, run.setup.system
    shown, augmentation = Shown.of(setup), VertebraAugmentation.of(system.augmentation)
    training = VertebraPictures(run.images, "train", shown, augmentation, setup.seed)
    return EpochData(training, VertebraPictures(run.images, "val", shown), int(system.training["batch"]), workers)
