"""The radiographs of one split as pictures, and the batches that a network learns from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.utils.data import Dataset

from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.radiographs import CLASSES, read_table
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.radiograph_input import radiograph_picture
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.picture_augment import Augmentation
from CSpineFractureLib.training.run_folder import RunFolder
from CSpineFractureLib.training.run_images import MADE_FILE
from CSpineFractureLib.volume.radiograph_image import read_radiograph


class RadiographPictures(Dataset):
    """Radiographs of one split: ``(picture, target)``, float32 ``[1, size, size]`` 0..1 and the number of the class.

    ``folder`` holds the table and says where the radiographs lie. Only pictures asked for as ``(epoch, index)`` are
    augmented, in a way that depends on nothing but the seed, the epoch and the index. Raises ``UserError`` where the
    table is missing or lists none of the split.
    """

    def __init__(
        self, folder: Path, split: str, size: int, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.records = read_table(folder, split)
        if not self.records:
            message = f"'{folder}' lists no radiograph of the split '{split}': give the folder more radiographs."
            raise UserError(message)
        self.root, self.size, self.augmentation, self.seed = root_of(folder), size, augmentation, seed
        self.targets = torch.tensor([CLASSES.index(record.kind) for record in self.records])
        self._kept: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        picture = torch.tensor(self._picture(index) if self._kept is None else self._kept[index])[None].float() / 255
        if epoch is not None and self.augmentation is not None:
            picture = self.augmentation(picture, np.random.default_rng([self.seed, epoch, index]))
        return picture, self.targets[index]

    def __getstate__(self) -> dict:
        """Another process reads the pictures itself: that is quicker than sending them."""
        return {**self.__dict__, "_kept": None}

    def read_all(self, on_progress: Progress = no_progress) -> np.ndarray:
        """All pictures, uint8 ``[n, size, size]``, kept in memory. Raises ``UserError`` for one that cannot be read."""
        if self._kept is None:
            kept = np.empty((len(self), self.size, self.size), np.uint8)
            with ThreadPoolExecutor(4) as pool:
                for index, picture in enumerate(pool.map(self._picture, range(len(self)))):
                    kept[index] = picture
                    if index % 50 == 49 or index + 1 == len(self):
                        on_progress(index + 1, len(self))
            self._kept = kept
        return self._kept

    def _picture(self, index: int) -> np.ndarray:
        image = read_radiograph(self.root / self.records[index].file)
        return np.rint(255 * radiograph_picture(image.pixels, self.size)).astype(np.uint8)


def radiograph_data(run: RunFolder, workers: int = 0) -> EpochData:
    """The training and validation pictures of a run. Raises ``UserError`` as ``RadiographPictures`` does."""
    system = run.setup.system
    augmentation = Augmentation.of(system.augmentation)
    training = RadiographPictures(run.images, "train", run.setup.size, augmentation, run.setup.seed)
    validation = RadiographPictures(run.images, "val", run.setup.size)
    batch = int(system.training["batch"])
    return EpochData(training, validation, batch, workers, watched=2 * batch)


def root_of(folder: Path) -> Path:
    """Where the radiographs of a table lie. Raises ``UserError`` where nobody noted it, or they are gone."""
    try:
        root = Path(yaml.safe_load((folder / MADE_FILE).read_text(encoding="utf-8"))["root"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        message = f"'{folder / MADE_FILE}' is missing or damaged: delete '{folder}' and give the same command again."
        raise UserError(message) from error
    if not root.is_dir():
        message = f"The radiographs were in '{root}', which is gone: put them back, or train into another folder."
        raise UserError(message)
    return root
