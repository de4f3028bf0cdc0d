"""The radiographs of one split as pictures, and the batches that a network learns from."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import yaml
from torch.utils.data import DataLoader, Dataset

from CSpineFractureLib.datasets.radiographs import CLASSES, read_table
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.radiograph_input import radiograph_picture
from CSpineFractureLib.training.picture_augment import Augmentation
from CSpineFractureLib.training.run_folder import RunFolder
from CSpineFractureLib.training.run_images import MADE_FILE
from CSpineFractureLib.training.slice_pictures import EpochSampler
from CSpineFractureLib.volume.radiograph_image import read_radiograph

Progress = Callable[[int, int], None]


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

    def read_all(self, on_progress: Progress = lambda done, total: None) -> np.ndarray:
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


class RadiographData(lightning.LightningDataModule):
    """Training and validation pictures of a run; the order of the former follows from the seed and the epoch."""

    def __init__(self, run: RunFolder, workers: int = 0) -> None:
        super().__init__()
        system, seed = run.setup.system, run.setup.seed
        self._batch, self._workers, self._seed = int(system.training["batch"]), workers, seed
        self.training = RadiographPictures(run.images, "train", system.size, Augmentation.of(system.augmentation), seed)
        self.validation = RadiographPictures(run.images, "val", system.size)

    def setup(self, stage: str) -> None:
        """In each process."""
        self.training.read_all()
        self.validation.read_all()

    def train_dataloader(self) -> DataLoader:
        """From where the checkpoint was written, where that was inside an epoch."""
        trainer, fit = self.trainer, self.trainer.fit_loop
        seen = self._batch * fit.epoch_loop.batch_progress.current.processed if fit.restarting else 0
        place = (trainer.world_size, trainer.global_rank)
        sampler = EpochSampler(self.training, *place, self._seed, trainer.current_epoch, seen)
        lonely = len(sampler) % self._batch == 1 and len(sampler) > 1  # batch normalisation cannot learn from one
        return self._loader(self.training, self._batch, sampler=sampler, drop_last=lonely)

    def val_dataloader(self) -> DataLoader:
        """In the order of the table."""
        return self._loader(self.validation, 2 * self._batch)

    def _loader(self, pictures: RadiographPictures, batch: int, **more: Any) -> DataLoader:
        steady = {"num_workers": self._workers, "persistent_workers": self._workers > 0}
        return DataLoader(pictures, batch, pin_memory=torch.cuda.is_available(), **steady, **more)


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
