"""Radiographs in class folders, ``<split>/<class>/<group>__<number>.png``, as torchvision's ``ImageFolder`` wants them.

Classes of document 001: normal, fracture, dislocation. Images of one patient (group) share a split.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.labelled_image import read_slice_table
from CSpineFractureLib.datasets.slice_image import pictures_below, write_image
from CSpineFractureLib.datasets.splits import Group, deal
from CSpineFractureLib.errors import UserError

CLASSES = ("normal", "fracture", "dislocation")
SPLIT_FOLDER = re.compile(r"train|val|test|fold\d+")
_NAME = re.compile(r"(?P<group>.+)__\d+")


@dataclass(frozen=True)
class ClassImage:
    """A picture to write: its class, its patient, and what gives it (uint8 ``[j, i]`` or ``[j, i, 3]``)."""

    load: Callable[[], np.ndarray]
    kind: str
    group: str


@dataclass(frozen=True)
class FolderImage:
    """A picture of a class folder."""

    path: Path
    kind: str
    group: str
    split: str


def write_image_folder(items: Iterable[ClassImage], out: Path, ratios: str, seed: int = 0) -> list[FolderImage]:
    """Write the items, split by group and alike in classes; ``out`` appears whole or not at all.

    Raises ``UserError`` where a class is unknown, there are fewer groups than splits, or ``out`` holds files.
    """
    items = list(items)
    unknown = sorted({item.kind for item in items} - set(CLASSES))
    if unknown:
        message = f"'{unknown[0]}' is no class of radiographs; use {', '.join(CLASSES)}."
        raise UserError(message)
    members: dict[str, list[ClassImage]] = {}
    for item in items:
        members.setdefault(item.group, []).append(item)
    kinds = {group: " ".join(sorted({item.kind for item in own})) for group, own in members.items()}
    split_of = deal({group: Group(kinds[group], len(own)) for group, own in members.items()}, ratios, seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"'{out}' exists and is not an empty folder; remove it or choose another one."
        raise UserError(message)
    part = out.with_name(out.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        for group, own in sorted(members.items()):
            for number, item in enumerate(own):
                path = part / split_of[group] / item.kind / f"{re.sub(r'[^A-Za-z0-9._-]', '_', group)}__{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(item.load(), path)
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except OSError as error:
        message = f"'{out}' cannot be written ({error.strerror or error}); choose a folder with space you may use."
        raise UserError(message) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return read_image_folder(out)


def read_image_folder(root: Path) -> list[FolderImage]:
    """The pictures of all splits and classes, sorted by path; one whose name tells no group is its own.

    Raises ``UserError`` where there is no ``<split>/<class>`` folder with pictures.
    """
    table = read_slice_table(root)
    images = [
        FolderImage(path, path.parent.name, group_of(path, root, table), split.name)
        for split in split_folders(root)
        for path in pictures_below(split)
        if path.parent.parent == split
    ]
    if not images:
        message = f"'{root}' holds no pictures in <split>/<class> folders such as train/normal; give such a folder."
        raise UserError(message)
    return images


def split_folders(root: Path) -> list[Path]:
    """The folders of ``root`` that are named as splits, sorted."""
    return sorted(path for path in root.glob("*/") if path.is_dir() and SPLIT_FOLDER.fullmatch(path.name))


def group_of(path: Path, root: Path, table: dict[str, dict[str, str]]) -> str:
    """The patient: as ``slices.csv`` says, else as the file is named."""
    row = table.get(path.relative_to(root).as_posix())
    if row:
        return row["group"]
    found = _NAME.fullmatch(path.stem)
    return found["group"] if found else path.stem
