"""The images a run learns from or is measured on, made from studies of any source as the system asks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from CSpineFractureLib.datasets.labelled_image import LEVELS, read_slice_table
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.slice_folders import write_slice_folders
from CSpineFractureLib.datasets.sources import read_source
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.datasets.study_images import ImageOptions, usable
from CSpineFractureLib.datasets.yolo import write_yolo
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.training.data_options import options_of
from CSpineFractureLib.training.systems import System

MADE_FILE = "made.yaml"
FIVE_FOLD = "5-fold"


def make_images(
    system: System,
    source: str,
    root: Path,
    out: Path,
    seed: int = 0,
    single_set: bool = False,
    on_progress: Progress = no_progress,
) -> None:
    """Make the images of ``system`` from the studies below ``root`` in ``out``, unless they are there already.

    Split by patient as the system says, or all in the split ``test`` with ``single_set``. Goes on where an earlier try
    was broken off. Raises ``UserError`` where ``out`` holds other images, the studies lack what is needed, or a class
    is empty.
    """
    made = made_from(system.data, source, root, seed, single_set)
    if already_made(out, made):
        return
    options = options_of(ImageOptions, system, ("split",), seed=seed)
    records = [record for record in read_source(source, root) if usable(record, options)]
    if not records:
        needed = "a vertebra mask" if options.classes == "vertebrae" else "slices known to show a fracture or none"
        message = f"No study in '{root}' has {needed}: choose other studies."
        raise UserError(message)
    ratios = str(system.data.get("split", "80:20"))
    split = [replace(r, split="test") for r in records] if single_set else split_records(records, ratios, seed)
    write = write_yolo if system.trainer == "ultralytics" else write_slice_folders
    write(split, out, options, on_progress)
    try:
        check_classes(out, options.names, root, single_set)
    except UserError:
        shutil.rmtree(out, ignore_errors=True)
        raise
    note_made(out, made)


def check_classes(images: Path, names: tuple[str, ...], root: Path, single_set: bool = False) -> None:
    """Raise ``UserError`` where the table of the images has an empty split, or a split without one of the classes.

    ``root`` is the folder of the studies they were made from.
    """
    rows = list(read_slice_table(images).values())
    for split in ("test",) if single_set else ("train", "val"):
        own = [row for row in rows if row["split"] == split]
        for name in names:
            shown = sum(row.get(name) == "1" for row in own)
            if not shown:
                kind = "shows a fracture" if name not in LEVELS else f"shows {name}"
                message = f"No image of the split '{split}' {kind} (of those made from '{root}'): add studies that do."
                raise UserError(message)
        if names == ("fracture",) and all(row["fracture"] == "1" for row in own):
            message = (
                f"Every image of the split '{split}' shows a fracture (of those made from '{root}'): add studies"
                " without one."
            )
            raise UserError(message)


def split_studies(records: Sequence[StudyRecord], data: dict[str, Any], seed: int) -> list[StudyRecord]:
    """The records with their split by ``data.split`` and ``data.fold``. Raises ``UserError`` for unknown ones."""
    ratios, fold = str(data.get("split", FIVE_FOLD)), data.get("fold", 0)
    split = split_records(records, ratios, seed)
    if ratios != FIVE_FOLD:
        return split
    if isinstance(fold, bool) or fold not in range(5):
        message = f"data.fold is {fold!r}: use a number from 0 to 4."
        raise UserError(message)
    return [replace(record, split="val" if record.split == f"fold{fold}" else "train") for record in split]


def made_from(data: dict[str, Any], source: str, root: Path, seed: int, single_set: bool) -> dict[str, Any]:
    """What images are made from: ``data`` of the system, in YAML's own kinds, the studies, the seed, and whether they
    are one set."""
    plain = yaml.safe_load(yaml.safe_dump(dict(data)))
    return {"data": plain, "source": source, "root": str(root), "seed": seed, "single_set": single_set}


def already_made(out: Path, made: dict[str, Any], what: str = "images") -> bool:
    """Whether ``out`` was made from the same, see ``made_from``. Raises ``UserError`` where it was from other."""
    if not (out / MADE_FILE).is_file():
        return False
    try:
        noted = yaml.safe_load((out / MADE_FILE).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        noted = None  # damaged: nobody knows what was made there
    if noted != made:
        message = (
            f"'{out}' holds {what} of other data or options: delete it, or choose another --output (when measuring, "
            f"another --set)."
        )
        raise UserError(message)
    return True


def note_made(out: Path, made: dict[str, Any]) -> None:
    """Note in ``out`` what it was made from. Raises ``OSError`` where it cannot be written."""
    write_text_atomically(yaml.safe_dump(made, sort_keys=False), out / MADE_FILE)
