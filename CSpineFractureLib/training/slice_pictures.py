"""The pictures of one split of an image tree, as the torch systems take them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from CSpineFractureLib.datasets.labelled_image import LEVELS, SLICE_TABLE, read_slice_table
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.slice_input import square_image
from CSpineFractureLib.training.picture_augment import Augmentation

MOST_BYTES = 4 * 2**30
"""Sets of more bytes than this are read from disk again in every epoch."""
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class SlicePictures(Dataset):
    """Slices of one split: ``(picture, metadata, target)``.

    ``picture`` is float32 ``[1, size, size]`` 0..1; ``metadata`` float32 ``[2]``, mm below the highest slice and the
    same as a share; ``target`` a 0/1 integer (``fracture``) for the task ``slice-classifier``, else float32 ``[7]``,
    which of C1-C7 the slice shows. Only pictures asked for as ``(epoch, index)`` are augmented, in a way that depends
    on nothing but the seed, the epoch and the index.

    Raises ``UserError`` where the tree has no table, no such split, or no columns for the task.
    """

    def __init__(
        self, root: Path, split: str, task: str, size: int, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.root, self.size, self.seed = root, size, seed
        self.augmentation = augmentation
        self.names = ("fracture",) if task == "slice-classifier" else LEVELS
        self.rows = [row for row in read_slice_table(root).values() if row["split"] == split]
        if not self.rows:
            message = f"'{root / SLICE_TABLE}' lists no image of the split '{split}': make the images again."
            raise UserError(message)
        try:
            places = [[float(row["from_top_mm"]), float(row["ratio"])] for row in self.rows]
            shown = [[int(row[name]) for name in self.names] for row in self.rows]
        except (KeyError, TypeError, ValueError) as error:
            message = f"'{root / SLICE_TABLE}' lacks what the {task} learns from ({error}): make the images again."
            raise UserError(message) from error
        self.metadata = torch.tensor(places, dtype=torch.float32)
        levels = torch.tensor(shown)
        self.targets = levels[:, 0] if task == "slice-classifier" else levels.float()
        self._kept: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        square = self._square(index) if self._kept is None else self._kept[index]
        picture = torch.tensor(square)[None].float() / 255
        if epoch is not None and self.augmentation is not None:
            picture = self.augmentation(picture, np.random.default_rng([self.seed, epoch, index]))
        return picture, self.metadata[index], self.targets[index]

    def __getstate__(self) -> dict:
        """Another process reads the pictures itself: that is quicker than sending them."""
        return {**self.__dict__, "_kept": None}

    def read_all(self, on_progress: Progress = no_progress) -> None:
        """Read all pictures into memory, unless too many. Raises ``UserError`` for a missing or damaged one."""
        if self._kept is not None:
            return
        kept = None
        if len(self) * self.size**2 <= MOST_BYTES:
            kept = np.empty((len(self), self.size, self.size), np.uint8)
        with ThreadPoolExecutor(4) as pool:
            read = self._square if kept is not None else self._found
            for index, square in enumerate(pool.map(read, range(len(self)))):
                if kept is not None:
                    kept[index] = square
                if index % 100 == 99 or index + 1 == len(self):
                    on_progress(index + 1, len(self))
        self._kept = kept

    def _found(self, index: int) -> None:
        path = self.root / self.rows[index]["file"]
        if not path.is_file():
            message = f"'{path}' is missing though '{SLICE_TABLE}' lists it: make the images again."
            raise UserError(message)

    def _square(self, index: int) -> np.ndarray:
        """uint8 ``[size, size]``; colours are averaged."""
        self._found(index)
        image = read_image(self.root / self.rows[index]["file"])
        if image.ndim == 3:
            image = image.mean(axis=2).astype(np.uint8)
        return square_image(image, self.size)
