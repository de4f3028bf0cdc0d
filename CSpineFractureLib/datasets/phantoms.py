"""Synthetic studies (``cspine phantom``) as records."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from CSpineFractureLib.datasets.dicom_grid import dicom_grid
from CSpineFractureLib.datasets.nifti_mask import onto_grid, read_mask
from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.datasets.rsna_write import DICOM_FOLDER
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.files import CT_FILE, FRACTURE_FILE, LABEL_FILE, TRUTH_FILE
from CSpineFractureLib.volume import read_volume

KINDS = ("displaced", "hairline")


def phantom_folders(root: Path) -> list[Path]:
    """The folders of studies in ``root`` (or ``root`` itself), sorted; one lacking a file is among them."""
    marks = (CT_FILE, LABEL_FILE, TRUTH_FILE)
    if any((root / mark).is_file() for mark in marks):
        return [root]
    return sorted({path.parent for mark in marks for path in root.glob(f"*/{mark}") if path.is_file()})


def read_phantoms(root: Path) -> list[StudyRecord]:
    """The studies of ``root``; volumes and masks are read when asked for.

    ``strata`` tells what a study holds: ``displaced`` and ``hairline`` fractures, ``mimics``. Slices of a tilted gantry
    are others than those of the truth: such a study has no boxes. Raises ``UserError`` where there is no study or a
    truth file is broken.
    """
    folders = [folder for folder in phantom_folders(root) if (folder / TRUTH_FILE).is_file()]
    if not folders:
        message = f"'{root}' holds no synthetic studies; make some with 'cspine phantom -o {root} --n 20'."
        raise UserError(message)
    return [_record(folder) for folder in folders]


def read_truth(folder: Path) -> dict[str, Any]:
    """The truth of a study. Raises ``UserError`` where the file is missing, no JSON, or lacks what is read here."""
    path = folder / TRUTH_FILE
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        boxes_of(truth)
        fractured_of(truth)
        strata_of(truth)
    except OSError as error:
        message = f"'{path}' cannot be read ({error.strerror or error}); make the study again."
        raise UserError(message) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"'{path}' is no truth of a synthetic study: it is damaged or from another program; make it again."
        raise UserError(message) from error
    return truth


def boxes_of(truth: dict[str, Any]) -> list[SliceBox] | None:
    """All boxes of the truth; ``None`` where a fracture has none (studies of older versions)."""
    fractures = truth["fractures"]
    if not all(fracture.get("slice_boxes") for fracture in fractures):
        return None
    return [
        SliceBox(int(k), x, y, width, height, fracture["level"], KINDS[bool(fracture["hairline"])])
        for fracture in fractures
        for k, x, y, width, height in fracture["slice_boxes"]
    ]


def fractured_of(truth: dict[str, Any]) -> dict[str, bool]:
    """Which of C1-C7 are fractured."""
    levels = {fracture["level"] for fracture in truth["fractures"]}
    return {level: level in levels for level in LEVELS}


def strata_of(truth: dict[str, Any]) -> tuple[str, ...]:
    """``displaced``, ``hairline``, ``mimics``, as far as they are there."""
    kinds = {KINDS[bool(fracture["hairline"])] for fracture in truth["fractures"]}
    return (*(kind for kind in KINDS if kind in kinds), *(["mimics"] if truth.get("mimics") else []))


def ct_of(folder: Path) -> Path:
    """The CT of a study: a NIfTI file or a folder of DICOM files."""
    dicom = folder / DICOM_FOLDER
    return dicom if dicom.is_dir() else folder / CT_FILE


def _record(folder: Path) -> StudyRecord:
    truth, mask, ct = read_truth(folder), folder / LABEL_FILE, ct_of(folder)
    fractures = folder / FRACTURE_FILE
    return StudyRecord(
        id=folder.name,
        load_volume=partial(read_volume, ct),
        load_levels=partial(_levels, ct, mask) if mask.is_file() else None,
        fractured=fractured_of(truth),
        boxes=None if truth.get("gantry_tilt_deg") else boxes_of(truth),
        load_bodies=lambda: truth.get("centres_ras", {}),
        load_fractures=partial(_levels, ct, fractures) if fractures.is_file() else None,
        strata=strata_of(truth),
    )


def _levels(ct: Path, mask: Path) -> np.ndarray:
    """The mask on the grid of the CT: a NIfTI file has its own; slices of DICOM files may be tilted against it."""
    labels, grid = read_mask(mask)
    if ct.is_file():
        return labels
    slices = dicom_grid(ct)
    return onto_grid(labels, grid, slices.ijk_to_ras, slices.shape_kji)
