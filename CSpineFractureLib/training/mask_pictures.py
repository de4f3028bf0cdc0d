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
from CSpineFractureLib.models.column_square import SquareOnSlice
from CSpineFractureLib.models.slice_input import square_image
from CSpineFractureLib.training.mask_augment import MaskAugmentation
from CSpineFractureLib.training.slice_pictures import MOST_BYTES

Sample = tuple[torch.Tensor, torch.Tensor]
CHANNELS = 3
MARGIN = 1.25
"""How much wider squares around the column are read than the network sees them, so that moved ones have no edge."""


class MaskPictures(Dataset):
    """Slices of one split: ``(picture, labels)``, float32 ``[3, size, size]`` 0..1 and uint8 ``[size, size]`` 0-8.

    Only slices asked for as ``(epoch, index)`` are augmented, in a way that depends on nothing but the seed, the epoch
    and the index. With ``most_per_study`` only so many slices of each study are there, spread from top to bottom. With
    ``spacing_mm`` they are squares of such pixels around the column (``models.column_square``), whose middle in a slice
    is that of its map, or of the nearest slice of the study that has one; else they are whole slices.

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
        spacing_mm: float | None = None,
    ) -> None:
        self.root, self.size, self.seed, self.augmentation = root, size, seed, augmentation
        self.spacing_mm = spacing_mm
        self.rows = [row for row in read_slice_table(root).values() if row["split"] == split]
        if not self.rows or "mask" not in self.rows[0]:
            message = f"'{root / SLICE_TABLE}' lists no slice with a map in the split '{split}': make the images again."
            raise UserError(message)
        if not (root / folder_of(window)).is_dir():
            message = (
                f"'{root}' holds no slices in the window {window}: add it to data.further and make the images again."
            )
            raise UserError(message)
        self._centres = {} if spacing_mm is None else _centres(self.rows, root)
        if most_per_study is not None:
            self.rows = _thinned(self.rows, most_per_study)
        self._folder = folder_of(window)
        moved = augmentation is not None and spacing_mm is not None
        self._read = 2 * round(size * MARGIN / 2) if moved else size
        self._kept: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        square, map_ = self._square(index) if self._kept is None else (kept[index] for kept in self._kept)
        picture = torch.tensor(square).permute(2, 0, 1).float() / 255
        labels = torch.tensor(map_)
        if epoch is not None and self.augmentation is not None:
            picture, labels = self.augmentation(picture, labels, np.random.default_rng([self.seed, epoch, index]))
        edge = (self._read - self.size) // 2
        inner = slice(edge, edge + self.size)
        return picture[:, inner, inner].contiguous(), labels[inner, inner].contiguous()

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
        count, size = len(self), self._read
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
        square = self.square(index, self._read)
        if square is not None:
            return square.cut(image), square.cut_labels(labels)
        return square_image(image, self.size), square_labels(labels, self.size)

    def square(self, index: int, size: int | None = None) -> SquareOnSlice | None:
        """Where the square of a slice lies on it, ``None`` for whole slices; ``size`` pixels wide where given."""
        if self.spacing_mm is None:
            return None
        row = self.rows[index]
        pixel_mm = float(row["row_mm"]), float(row["column_mm"])
        centre, shape = self._centres[row["mask"]]
        return SquareOnSlice(shape, pixel_mm, centre, size or self.size, self.spacing_mm)


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


def _centres(rows: list[dict[str, str]], root: Path) -> dict[str, tuple[tuple[float, float], tuple[int, int]]]:
    """By map: the middle j, i of the column in the slice, and the slice's rows and columns.

    Slices without bone take the middle of the nearest one of their study; without any, that of the picture.
    """
    studies: dict[str, list[tuple[int, str, tuple[float, float] | None, tuple[int, int]]]] = {}
    for row in rows:
        _must_exist(root / row["mask"])
        labels = read_image(root / row["mask"])
        j, i = np.nonzero(labels)
        middle = ((j.min() + j.max()) / 2, (i.min() + i.max()) / 2) if len(j) else None
        studies.setdefault(row["study"], []).append((int(row["k"]), row["mask"], middle, labels.shape[:2]))
    found = {}
    for own in studies.values():
        known = [(k, middle) for k, _, middle, _ in own if middle is not None]
        for k, mask, _, shape in own:
            nearest = min(known, key=lambda one: abs(one[0] - k))[1] if known else ((n - 1) / 2 for n in shape)
            found[mask] = (tuple(nearest), shape)
    return found


def _must_exist(path: Path) -> None:
    if not path.is_file():
        message = f"'{path}' is missing though '{SLICE_TABLE}' lists it: make the images again."
        raise UserError(message)
