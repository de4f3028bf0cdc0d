"""Studies that a person has reviewed, kept for training again: one folder each.

``ct.nii.gz``, ``vertebrae.nii.gz`` (where there are levels), ``result.json`` and ``correction.json``, which names the
group. No names, comments, warnings or DICOM identifiers are kept: they may tell who the patient is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.box_slices import slice_boxes
from CSpineFractureLib.datasets.nifti_mask import mask_grid, onto_grid, read_mask, write_mask
from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import read_result, write_result
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.volume import CTVolume, read_volume
from CSpineFractureLib.volume.itk_image import itk_image, write_whole

CT_FILE, LABEL_FILE, RESULT_FILE, MARK_FILE = "ct.nii.gz", "vertebrae.nii.gz", "result.json", "correction.json"
SCHEMA = "cspine-correction/1"
POSITIVE = ("accepted", "added")


def write_corrections(
    folder: Path, ct: CTVolume, levels: np.ndarray | None, result: StudyResult, group: str = ""
) -> None:
    """Write one reviewed study; ``folder`` appears whole or not at all, an older one is replaced.

    Parameters
    ----------
    ct
        The volume that was analysed.
    levels
        uint8 ``[k, j, i]`` on its grid, 1-7 = C1-C7.
    result
        With the reviewer's verdicts: ``accepted`` and ``added`` fractures are true, ``rejected`` ones are not, and
        ``suggested`` ones were not looked at.
    group
        A pseudonym of the patient; by default one made from the voxels, so that the same CT is one patient always.

    Raises ``UserError`` where the grids differ or the folder cannot be written.
    """
    if tuple(result.volume.shape_kji) != ct.shape_kji or (levels is not None and levels.shape != ct.shape_kji):
        message = f"The CT, its vertebrae and the findings for '{folder.name}' are not on one grid; analyse it again."
        raise UserError(message)
    group = group or hashlib.sha256(np.ascontiguousarray(ct.hu).tobytes()).hexdigest()[:16]
    partial = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_whole(itk_image(ct.hu, ct.ijk_to_ras), partial / CT_FILE)
        if levels is not None:
            write_mask(levels.astype(np.uint8), ct.ijk_to_ras, partial / LABEL_FILE)
        write_result(_anonymous(result), partial / RESULT_FILE)
        mark = {"schema": SCHEMA, "group": group}
        (partial / MARK_FILE).write_text(json.dumps(mark, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: SimpleITK cannot write
        message = f"'{folder}' cannot be written; choose a folder with space you may use."
        raise UserError(message) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def correction_folders(root: Path) -> list[Path]:
    """The folders of reviewed studies in ``root`` (or ``root`` itself), sorted."""
    if (root / MARK_FILE).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{MARK_FILE}"))


def read_corrections(root: Path) -> list[StudyRecord]:
    """The reviewed studies of ``root`` as records; volumes and masks are read when asked for.

    A study with a fracture that nobody looked at is not labelled: neither ``boxes`` nor ``fractured`` are known. Raises
    ``UserError`` where there is no study or a file is broken.
    """
    folders = correction_folders(root)
    if not folders:
        message = f"'{root}' holds no reviewed studies; export some from the module's panel first."
        raise UserError(message)
    return [read_correction(folder) for folder in folders]


def read_correction(folder: Path) -> StudyRecord:
    """The record of one reviewed study; see ``read_corrections``."""
    result, mask = read_result(folder / RESULT_FILE), folder / LABEL_FILE
    return StudyRecord(
        id=folder.name,
        load_volume=lambda: read_volume(folder / CT_FILE),
        load_levels=(lambda: _levels(folder)) if mask.is_file() else None,
        fractured=fractured_of(result),
        boxes=boxes_of(result),
        group=_group(folder / MARK_FILE),
    )


def boxes_of(result: StudyResult) -> list[SliceBox] | None:
    """The boxes of true fractures per slice; ``None`` where a suggested one is left."""
    if any(finding.status == "suggested" for finding in result.fractures):
        return None
    shape, matrix = tuple(result.volume.shape_kji), np.array(result.volume.ijk_to_ras)
    return [
        replace(box, level=finding.level if finding.level in LEVELS else None)
        for finding in result.fractures
        if finding.status in POSITIVE
        for box in slice_boxes(finding.box, matrix, shape)
    ]


def fractured_of(result: StudyResult) -> dict[str, bool] | None:
    """Which of C1-C7 are fractured; ``None`` where a suggested fracture, or a true one of unknown level, is left."""
    true = [finding.level for finding in result.fractures if finding.status in POSITIVE]
    if any(finding.status == "suggested" for finding in result.fractures) or not set(true) <= set(LEVELS):
        return None
    return {level: level in true for level in LEVELS}


def _levels(folder: Path) -> np.ndarray:
    """The mask on the grid of the CT; one that was edited and saved elsewhere may be stored in another order."""
    labels, grid = read_mask(folder / LABEL_FILE)
    ct = mask_grid(folder / CT_FILE)
    return onto_grid(labels, grid, ct.ijk_to_ras, ct.shape_kji)


def _group(path: Path) -> str:
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
        if mark["schema"] == SCHEMA and mark["group"]:
            return str(mark["group"])
        raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"'{path}' does not name the study's group ({SCHEMA}); export the study again."
        raise UserError(message) from error


def _anonymous(result: StudyResult) -> StudyResult:
    volume = replace(result.volume, series_uid=None, frame_of_reference_uid=None, sop_instance_uids=None)
    fractures = [replace(finding, comment="") for finding in result.fractures]
    return replace(result, volume=volume, fractures=fractures, warnings=[])
