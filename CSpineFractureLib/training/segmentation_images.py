"""The slices and maps a segmentation run learns from or is measured on, made from studies of any source."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from CSpineFractureLib.datasets.mask_slices import MaskOptions, write_mask_slices
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.datasets.sources import read_source
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.data_options import options_of
from CSpineFractureLib.training.run_images import already_made, check_classes, made_from, note_made, split_studies
from CSpineFractureLib.training.segmentation_more import reviewed_columns
from CSpineFractureLib.training.systems import System


def make_images(
    system: System,
    source: str,
    root: Path,
    out: Path,
    seed: int = 0,
    single_set: bool = False,
    on_progress: Progress = no_progress,
) -> None:
    """Make the slices of ``system`` from the studies below ``root`` in ``out``, unless they are there already.

    Split by patient as the system says: with ``5-fold`` the fold ``data.fold`` (0-4) is ``val`` and the others
    ``train``; all are ``test`` with ``single_set``. Goes on where an earlier try was broken off. Raises ``UserError``
    where ``out`` holds other images, no study has a mask, or a level is in no slice of a split.

    ``data.more`` of the recipe names a folder of reviewed studies that are added to those of ``root`` (real CT from
    ``cspine dataset sound``, say), and are divided by patient with them; a ``single_set`` is without them.
    """
    made = made_from(system.data, source, root, seed, single_set)
    if already_made(out, made):
        return
    options = _options(system, seed)
    more = system.data.get("more") if not single_set else None
    records = [record for record in read_source(source, root) if record.load_levels is not None]
    records += reviewed_columns(Path(str(more))) if more else []
    if not records:
        message = f"No study in '{root}' has a vertebra mask: choose other studies."
        raise UserError(message)
    split = [replace(one, split="test") for one in records] if single_set else split_studies(records, system.data, seed)
    write_mask_slices(split, out, options, on_progress)
    try:
        check_classes(out, LEVELS, root, single_set)
    except UserError:
        shutil.rmtree(out, ignore_errors=True)
        raise
    note_made(out, made)


def _options(system: System, seed: int) -> MaskOptions:
    further = tuple(system.data.get("further") or ())
    return options_of(MaskOptions, system, ("split", "fold", "more", "further"), further=further, seed=seed)
