"""The slices of one split with their maps of vertebrae, as the segmentation network of document 002 takes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from CSpineFractureLib.datasets.labelled_image import SLICE_TABLE, read_slice_table
from CSpineFractureLib.datasets.mask_slices import THORACIC, folder_of
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.slice_input import square_image
from CSpineFractureLib.training.mask_augment import MaskAugmentation
from CSpineFractureLib.training.slice_pictures import MOST_BYTES

Sample = tuple[torch.Tensor, torch.Tensor]
CHANNELS = 3


class MaskPictures(Dataset):
    """Slices of one split: ``(picture, labels)``, float32 ``[3, size, size]`` 0..1 and uint8 ``[size, size]`` 0-8.

    Only slices asked for as ``(epoch, index)`` are augmented, in a way that depends on nothing but the seed, the epoch
    and the index. With ``most_per_study`` only so many slices of each study are there, spread from top to bottom.

    Raises ``UserError`` where the tree has no table, no such split, or no pictures in this ``window``.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        size: int,
        window: str = "three",
        augmentation: MaskAugmentation | None = None,
        seed: int = 0,
        most_per_study: int | None = None,
    ) -> None:
        self.root, self.size, self.seed, self.augmentation = root, size, seed, augmentation
        self.rows = [row for row in read_slice_table(root).values() if row["split"] == split]
        if not self.rows or "mask" not in self.rows[0]:
            message = f"'{root / SLICE_TABLE}' lists no slice with a map in the split '{split}': make the images again."
            raise UserError(message)
        if not (root / folder_of(window)).is_dir():
            message = (
                f"'{root}' holds no slices in the window {window}: add it to data.further and make the images again."
            )
            raise UserError(message)
        if most_per_study is not None:
            self.rows = _thinned(self.rows, most_per_study)
        self._folder = folder_of(window)
        self._kept: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        square, map_ = self._square(index) if self._kept is None else (kept[index] for kept in self._kept)
        picture = torch.tensor(square).permute(2, 0, 1).float() / 255
        labels = torch.tensor(map_)
        if epoch is not None and self.augmentation is not None:
            return self.augmentation(picture, labels, np.random.default_rng([self.seed, epoch, index]))
        return picture.contiguous(), labels

    def __getstate__(self) -> dict:
        """Another process reads the pictures itself: that is quicker than sending them."""
        return {**self.__dict__, "_kept": None}

    def picture_file(self, index: int) -> Path:
        """The slice's picture in this window."""
        return self.root / self._folder / PurePosixPath(*PurePosixPath(self.rows[index]["file"]).parts[1:])

    def truth(self, index: int) -> np.ndarray:
        """The map in the slice's own pixels, uint8 ``[j, i]``. Raises ``UserError`` for a missing or foreign one."""
        path = self.root / self.rows[index]["mask"]
        _must_exist(path)
        labels = read_image(path)
        if labels.ndim != 2 or labels.max() > THORACIC:
            message = f"'{path}' is no map of the classes 0 to {THORACIC}: make the images again."
            raise UserError(message)
        return labels

    def read_all(self, on_progress: Progress = no_progress) -> None:
        """Read all slices into memory, unless too many. Raises ``UserError`` for a missing or damaged one."""
        if self._kept is not None:
            return
        count, size = len(self), self.size
        fits = count * size**2 * (CHANNELS + 1) <= MOST_BYTES
        if fits:
            kept = np.empty((count, size, size, CHANNELS), np.uint8), np.empty((count, size, size), np.uint8)
        with ThreadPoolExecutor(4) as pool:
            for index, found in enumerate(pool.map(self._square if fits else self._there, range(count))):
                if fits:
                    kept[0][index], kept[1][index] = found
                if index % 100 == 99 or index + 1 == count:
                    on_progress(index + 1, count)
        self._kept = kept if fits else None

    def _there(self, index: int) -> None:
        for path in (self.picture_file(index), self.root / self.rows[index]["mask"]):
            _must_exist(path)

    def _square(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 ``[size, size, 3]`` and ``[size, size]``."""
        path = self.picture_file(index)
        _must_exist(path)
        image, labels = read_image(path), self.truth(index)
        if image.shape != (*labels.shape, CHANNELS):
            sizes = [" x ".join(str(n) for n in shape) for shape in (image.shape, labels.shape)]
            message = f"'{path}' is {sizes[0]} pixels, its map {sizes[1]}: make the images again."
            raise UserError(message)
        return square_image(image, self.size), square_labels(labels, self.size)


def square_labels(labels: np.ndarray, size: int) -> np.ndarray:
    """A map ``[h, w]`` as ``square_image`` lays out its slice; each pixel takes the class nearest to its middle."""
    side = max(labels.shape)
    square = square_image(labels, side)  # pads only
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_NEAREST_EXACT) if side != size else square


def _thinned(rows: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    """``most`` rows of each study, evenly spread over its slices."""
    members: dict[str, list[dict[str, str]]] = {}
    for row in sorted(rows, key=lambda row: int(row["k"])):
        members.setdefault(row["study"], []).append(row)
    chosen = []
    for _, own in sorted(members.items()):
        count = min(most, len(own))
        chosen += [own[int((n + 0.5) * len(own) / count)] for n in range(count)]
    return chosen


def _must_exist(path: Path) -> None:
    if not path.is_file():
        message = f"'{path}' is missing though '{SLICE_TABLE}' lists it: make the images again."
        raise UserError(message)
