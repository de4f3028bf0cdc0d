"""The slices and maps a segmentation run learns from or is measured on, made from studies of any source."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from CSpineFractureLib.datasets.mask_slices import MaskOptions, write_mask_slices
from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.datasets.sources import read_source
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.training.run_images import MADE_FILE, check_classes
from CSpineFractureLib.training.systems import System

FIVE_FOLD = "5-fold"


def make_images(
    system: System,
    source: str,
    root: Path,
    out: Path,
    seed: int = 0,
    single_set: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make the slices of ``system`` from the studies below ``root`` in ``out``, unless they are there already.

    Split by patient as the system says: with ``5-fold`` the fold ``data.fold`` (0-4) is ``val`` and the others
    ``train``; all are ``test`` with ``single_set``. Goes on where an earlier try was broken off. Raises ``UserError``
    where ``out`` holds other images, no study has a mask, or a level is in no slice of a split.
    """
    data = yaml.safe_load(yaml.safe_dump(system.data))
    made = {"data": data, "source": source, "root": str(root), "seed": seed, "single_set": single_set}
    if (out / MADE_FILE).is_file():
        if yaml.safe_load((out / MADE_FILE).read_text(encoding="utf-8")) != made:
            message = f"'{out}' holds images of other data or options: delete it, or choose another --output."
            raise UserError(message)
        return
    options = _options(system, seed)
    records = [record for record in read_source(source, root) if record.load_levels is not None]
    if not records:
        message = f"No study in '{root}' has a vertebra mask: choose other studies."
        raise UserError(message)
    split = [replace(one, split="test") for one in records] if single_set else split_studies(records, system.data, seed)
    write_mask_slices(split, out, options, on_progress)
    try:
        check_classes(out, LEVELS, single_set)
    except UserError:
        shutil.rmtree(out, ignore_errors=True)
        raise
    write_text_atomically(yaml.safe_dump(made, sort_keys=False), out / MADE_FILE)


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


def _options(system: System, seed: int) -> MaskOptions:
    given = {key: value for key, value in system.data.items() if key not in ("split", "fold")}
    try:
        return MaskOptions(**{**given, "further": tuple(given.get("further") or ())}, seed=seed)
    except TypeError as error:
        message = f"The data of system {system.name} cannot be used ({error}): correct its keys."
        raise UserError(message) from error
