"""Faults of study folders: synthetic studies and corrections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets import corrections, phantoms
from CSpineFractureLib.datasets.nifti_mask import read_mask
from CSpineFractureLib.datasets.record import SliceBox
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import read_result
from CSpineFractureLib.phantom.files import FRACTURE_FILE, LABEL_FILE, TRUTH_FILE
from CSpineFractureLib.volume import CTVolume, read_volume

HIGHEST_LABEL = 19
"""Vertebra masks: 1-7 = C1-C7, 8-19 = T1-T12."""
_FAULTS = ("missing-slices", "duplicate-slices", "odd-slices", "unreadable-files")
"""Notices of the reader that a user can live with, but not a data set."""


def check_phantoms(root: Path) -> list[str]:
    """Faults of synthetic studies: missing files, masks that do not fit the CT, labels, boxes outside the image."""
    faults: list[str] = []
    for folder in phantoms.phantom_folders(root):
        ct = phantoms.ct_of(folder)
        files = (ct.name, LABEL_FILE, FRACTURE_FILE, TRUTH_FILE)
        missing = [file for file in files if not (folder / file).exists()]
        faults += [f"{folder.name}: {file} is missing; copy it there or make the study again." for file in missing]
        volume = None
        if ct.exists():
            volume, found = _read(ct, folder.name)
            faults += found
        for file in (LABEL_FILE, FRACTURE_FILE):
            if volume and file not in missing:
                faults += _mask_faults(folder / file, folder.name, volume)
        if TRUTH_FILE not in missing:
            try:
                boxes = phantoms.boxes_of(phantoms.read_truth(folder)) or []
            except UserError as error:
                faults.append(str(error))
                continue
            if volume:
                faults += _box_faults(folder.name, boxes, volume.shape_kji)
    return faults


def check_corrections(root: Path) -> list[str]:
    """Faults of corrections: missing or broken files, masks that do not fit the CT, findings of another grid."""
    faults: list[str] = []
    for folder in corrections.correction_folders(root):
        try:
            corrections.read_correction(folder)
            result = read_result(folder / corrections.RESULT_FILE)
        except UserError as error:
            faults.append(str(error))
            result = None
        if not (folder / corrections.CT_FILE).is_file():
            faults.append(f"{folder.name}: {corrections.CT_FILE} is missing; export the study again.")
            continue
        volume, found = _read(folder / corrections.CT_FILE, folder.name)
        faults += found
        if volume and (folder / corrections.LABEL_FILE).is_file():
            faults += _mask_faults(folder / corrections.LABEL_FILE, folder.name, volume)
        if volume and result and tuple(result.volume.shape_kji) != volume.shape_kji:
            faults.append(f"{folder.name}: {corrections.RESULT_FILE} is of another CT; export the study again.")
    return faults


def _read(ct: Path, study: str) -> tuple[CTVolume | None, list[str]]:
    """The CT, where its slices are as they are stored, and what is wrong with it."""
    try:
        volume = read_volume(ct)
    except UserError as error:
        return None, [f"{study}: {error}"]
    faults = [f"{study}: {notice.message}" for notice in volume.notices if notice.code in _FAULTS]
    return (volume if volume.grid == "native" else None), faults


def _mask_faults(path: Path, study: str, ct: CTVolume) -> Iterator[str]:
    try:
        labels, grid = read_mask(path)
    except UserError as error:
        yield str(error)
        return
    shape_kji = ct.shape_kji
    if grid.shape_kji[1:] == shape_kji[1:] and grid.shape_kji[0] > shape_kji[0]:
        missing = grid.shape_kji[0] - shape_kji[0]
        yield f"{study}: {missing} slices are missing from the CT, or {path.name} has too many; copy both again."
    elif grid.shape_kji != shape_kji:
        sizes = f"{_times(grid.shape_kji)} voxels, the CT {_times(shape_kji)}"
        yield f"{study}: {path.name} has {sizes}; give it the mask of this CT."
    elif not np.allclose(grid.ijk_to_ras, ct.ijk_to_ras, atol=1e-2):
        yield f"{study}: {path.name} lies elsewhere in the patient than the CT; give it the mask of this CT."
    if labels.max() > HIGHEST_LABEL:
        yield f"{study}: {path.name} holds the label {labels.max()}; labels go from 0 to {HIGHEST_LABEL} (T12)."


def _box_faults(study: str, boxes: list[SliceBox], shape_kji: tuple[int, int, int]) -> Iterator[str]:
    slices, height, width = shape_kji
    for box in boxes:
        if not 0 <= box.k < slices:
            yield f"{study}: a fracture box lies in slice {box.k}, but the CT has {slices} slices; copy it again."
        elif min(box.x, box.y) < 0 or box.x + box.width > width or box.y + box.height > height:
            yield f"{study}: the fracture box in slice {box.k} reaches outside the image of {width} x {height} pixels."


def _times(shape_kji: tuple[int, int, int]) -> str:
    return " x ".join(str(size) for size in reversed(shape_kji))
