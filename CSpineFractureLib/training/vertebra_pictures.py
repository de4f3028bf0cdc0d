"""The crops of one split, as the vertebra classifiers take them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from CSpineFractureLib.datasets.crop_table import CROP_TABLE, read_crop_table
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.vertebra_crops import CHANNELS, read_crack_map, read_crop
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.slice_pictures import MOST_BYTES
from CSpineFractureLib.training.vertebra_augment import WINDOWS, VertebraAugmentation

KINDS = {"vertebra-crop": "crop", "vertebra-whole": "whole"}
"""``input.image`` of a system or model, and the pictures of a sample."""
UNKNOWN = -1.0
"""In the map of the fracture, where nothing is known about its place."""
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Crop, target, and the map of the fracture; see ``VertebraPictures``."""


def input_of(setup: Setup) -> dict[str, Any]:
    """What the run's model takes: the system's ``input``, changed by the model's own (``image``, ``slices``, ``mask``).

    Raises ``UserError`` where that cannot be made.
    """
    given = setup.input
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
    """Which part of the samples is shown: their ``kind``, ``slices`` of the ``stored`` ones, ``size``, with mask.

    ``cracks``: with a map of the fracture, for a network that learns to draw it.
    """

    kind: str
    slices: int
    stored: int
    size: int
    mask: bool
    cracks: bool = False

    @classmethod
    def of(cls, setup: Setup) -> Shown:
        """By what the run's model takes."""
        given, stored = input_of(setup), int(setup.system.input["slices"])
        kind, mask = KINDS[given["image"]], bool(given.get("mask"))
        cracks = kind == "crop" and bool(setup.system.training.get("draw"))
        return cls(kind, int(given["slices"]), stored, setup.system.size, mask, cracks)

    @property
    def channels(self) -> int:
        """3 windows, and the mask."""
        return WINDOWS + self.mask

    def read(self, path: Path) -> np.ndarray:
        """uint8 ``[slices, channels, size, size]``, slices evenly from top to bottom. Raises ``UserError``.

        With ``cracks`` one channel more, the map of the fracture: 255 there, 1 everywhere where it is not known.
        """
        shape = (self.stored, CHANNELS, self.size, self.size)
        pictures = read_crop(path, self.kind, shape)[:, : self.channels]
        if self.cracks:
            drawn = read_crack_map(path, (self.stored, self.size, self.size))
            pictures = np.concatenate([pictures, np.ones_like(pictures[:, :1]) if drawn is None else drawn[:, None]], 1)
        chosen = np.linspace(0, self.stored - 1, self.slices + 2)[1:-1] if self.slices < self.stored else None
        numbers = np.arange(self.stored) if chosen is None else np.rint(chosen).astype(int)
        return np.ascontiguousarray(pictures[numbers])


class VertebraPictures(Dataset):
    """Vertebrae of one split: float32 ``[slices, channels, s, s]`` 0..1, 1.0 where it is fractured, and where.

    The last is float32 ``[slices, s, s]`` 0..1, 1 on the fracture, all ``UNKNOWN`` where the study does not tell its
    place; empty where it is not ``shown``.

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
        stored = self._read(index) if self._kept is None else self._kept[index]
        known = not self.shown.cracks or stored[0, -1, 0, 0] != 1
        crop = torch.tensor(stored).float() / 255
        if epoch is not None and self.augmentation is not None:
            crop = self.augmentation(crop, np.random.default_rng([self.seed, epoch, index]))
        crop, cracks = crop[:, : self.shown.channels], crop[:, self.shown.channels :].flatten(0, 1)
        return crop, self.targets[index], cracks if known else torch.full_like(cracks, UNKNOWN)

    def __getstate__(self) -> dict:
        """Another process reads the crops itself: that is quicker than sending them."""
        return {**self.__dict__, "_kept": None}

    def read_all(self, on_progress: Progress = no_progress) -> None:
        """Read all crops into memory, unless too many. Raises ``UserError`` for a missing or damaged one."""
        shown = self.shown
        shape = (len(self), shown.slices, shown.channels + shown.cracks, shown.size, shown.size)
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
    validation = VertebraPictures(run.images, "val", replace(shown, cracks=False))
    return EpochData(training, validation, int(system.training["batch"]), workers)
