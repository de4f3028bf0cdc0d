"""The crops of vertebrae a run learns from or is measured on, made from studies of any source.

``data.masks`` says whose masks cut out the vertebrae and are their channel: those of the studies, or those that
``unet-cracknet`` draws (``found_masks``).
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from CSpineFractureLib.datasets.crop_table import read_crop_table
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.sources import read_source
from CSpineFractureLib.datasets.vertebra_crops import CropOptions, usable, write_crops
from CSpineFractureLib.datasets.vertebra_places import read_level_boxes
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.unet_segment import SEGMENTATION
from CSpineFractureLib.training.data_options import options_of
from CSpineFractureLib.training.found_masks import STUDY, masks_drawn_by, with_found_masks
from CSpineFractureLib.training.run_images import already_made, made_from, note_made, split_studies
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
    """Make the crops of ``system`` from the studies below ``root`` in ``out``, unless they are there already.

    Split by patient as ``data.split`` and ``data.fold`` say, or all in the split ``test`` with ``single_set``. Goes on
    where an earlier try was broken off. Raises ``UserError`` where ``out`` holds other crops, no study tells what is
    needed, or a split lacks fractured or normal vertebrae.
    """
    drawing = masks_drawn_by(system.data.get("masks", STUDY))
    data = {**system.data, "slices": system.input["slices"], "size": system.size}
    if drawing is not None:
        data["masks"] = drawing.entry(SEGMENTATION).sha256
    made = made_from(data, source, root, seed, single_set)
    if already_made(out, made):
        return
    options = _options(system, data.get("masks", STUDY), seed)
    boxed = read_level_boxes(Path(options.boxes)) if options.boxes else {}
    records = read_source(source, root)
    if drawing is not None:
        records = with_found_masks(records, drawing)
    records = [record for record in records if usable(record, boxed)]
    if not records:
        message = f"No study in '{root}' has a vertebra mask and known fractures of its levels: choose other studies."
        raise UserError(message)
    if single_set:
        split = [replace(record, split="test") for record in records]
    else:
        split = split_studies(records, system.data, seed)
    write_crops(split, out, options, on_progress)
    try:
        check_classes(out, single_set)
    except UserError:
        shutil.rmtree(out, ignore_errors=True)
        raise
    note_made(out, made)


def check_classes(crops: Path, single_set: bool = False) -> None:
    """Raise ``UserError`` where a split lacks fractured or normal vertebrae."""
    rows = read_crop_table(crops)
    for split in ("test",) if single_set else ("train", "val"):
        for label, kind in ((1, "fractured"), (0, "normal")):
            if not any(row.split == split and row.label == label for row in rows):
                message = f"No vertebra of the split '{split}' is {kind} ('{crops}'): give more studies."
                raise UserError(message)


def _options(system: System, masks: str, seed: int) -> CropOptions:
    given = {"slices": system.input["slices"], "size": system.size, "masks": masks, "seed": seed}
    return options_of(CropOptions, system, ("split", "fold", "masks"), **given)
