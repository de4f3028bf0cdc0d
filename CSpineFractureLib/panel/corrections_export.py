"""Corrected studies as training data, and back: the folders that ``cspine train --source corrections`` reads.

A study's folder holds what ``datasets.corrections`` writes (CT, vertebra mask, result, pseudonym of the patient), the
findings as ``findings.csv``, and its labelled slices with YOLO boxes under ``yolo``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.corrections import CT_FILE, LABEL_FILE, RESULT_FILE, read_correction, write_corrections
from CSpineFractureLib.datasets.nifti_mask import onto_grid, read_mask
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.study_images import ImageOptions, usable
from CSpineFractureLib.datasets.yolo import write_yolo
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.csv_file import write_findings_csv
from CSpineFractureLib.findings.result_file import read_result
from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.scene.corrections import Corrections
from CSpineFractureLib.scene.volume_node import volume_of_node
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.read import read_volume
from CSpineFractureLib.volume.resample import resample_like

CSV_FILE, YOLO_FOLDER = "findings.csv", "yolo"
SAME_MM = 1e-3


@dataclass(frozen=True)
class ExportedStudy:
    """What was written: the study's folder, how many fractures nobody has judged, and the kind of the YOLO boxes.

    While a fracture is unjudged the study's fractures are not trained on. ``boxes`` is ``"both"`` (vertebrae and
    fractures), one of these, or ``None`` where the study gives no labelled slice.
    """

    folder: Path
    unjudged: int
    boxes: str | None


def export_corrections(corrections: Corrections, root: str | Path, group: str = "") -> ExportedStudy:
    """Write a corrected study below ``root``, in a folder named by the study's ID; an older one is replaced.

    ``group`` is a pseudonym of the patient, see ``write_corrections``. Comments, warnings, DICOM identifiers and the
    log of corrections are left out: they may tell who somebody is. Raises ``UserError`` where the scene has no CT for
    the study, the CT holds no Hounsfield units, or the folder cannot be written; nothing half-written stays.
    """
    if corrections.nodes.volume is None or not corrections.scene.IsNodePresent(corrections.nodes.volume):
        message = "The CT of the study is no longer in the scene: load the scene that holds it, and export again."
        raise UserError(message)
    labels, result = corrections.labels(), corrections.result
    ct = _on_grid_of(volume_of_node(corrections.nodes.volume), result)
    root = Path(root)
    folder = root / result.id
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=root) as place:
            part = Path(place) / result.id
            write_corrections(part, ct, labels if labels.any() else None, result, group)
            write_findings_csv(read_result(part / RESULT_FILE), part / CSV_FILE)
            boxes = _write_yolo(read_correction(part), part / YOLO_FOLDER)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(part, folder)
    except OSError as error:
        message = f"'{folder}' cannot be written ({error.strerror or error}); choose a folder with space you may use."
        raise UserError(message) from error
    unjudged = sum(finding.status == "suggested" for finding in result.fractures)
    return ExportedStudy(folder, unjudged, boxes)


def read_export(folder: str | Path) -> tuple[CTVolume, StudyOutput]:
    """An exported study as what ``scene.build.build_scene`` takes: the CT, the result and its labels, without Grad-CAM.

    Raises ``UserError`` where a file is missing or broken, or the files are not on one grid.
    """
    folder = Path(folder)
    result = read_result(folder / RESULT_FILE)
    return _on_grid_of(read_volume(folder / CT_FILE), result), StudyOutput(result, _labels(folder, result))


def import_corrections(corrections: Corrections, folder: str | Path) -> bool:
    """Let a study in the scene be as it was exported: one step that can be undone. ``False`` where nothing differs.

    What an export leaves out (comments, warnings, DICOM identifiers) stays as it is in the scene. Raises ``UserError``
    where the export is of another study or cannot be read.
    """
    folder = Path(folder)
    corrections.take_in()
    now, read = corrections.result, read_result(folder / RESULT_FILE)
    if read.id != now.id or read.volume.shape_kji != now.volume.shape_kji:
        message = f"'{folder}' holds another study than the one in the scene; choose the folder named '{now.id}'."
        raise UserError(message)
    comments = {finding.id: finding.comment for finding in now.fractures}
    fractures = [replace(one, comment=comments.get(one.id, "")) for one in read.fractures]
    result = replace(read, fractures=fractures, warnings=now.warnings, volume=now.volume)
    return corrections.set_all(result, _labels(folder, read), "Exported corrections read")


def _labels(folder: Path, result: StudyResult) -> np.ndarray:
    """The vertebra mask of an export on the result's grid; zeros where it has none."""
    shape, matrix = tuple(result.volume.shape_kji), np.array(result.volume.ijk_to_ras)
    if not (folder / LABEL_FILE).is_file():
        return np.zeros(shape, np.uint8)
    mask, grid = read_mask(folder / LABEL_FILE)
    return onto_grid(mask, grid, matrix, shape)


def _write_yolo(record: StudyRecord, out: Path) -> str | None:
    """Labelled slices of one study; as one set, for patients are split only where a training set is made of many."""
    record = replace(record, split="test")
    for classes in ("both", "vertebrae", "fracture"):
        options = ImageOptions(classes=classes)
        shows = record.boxes or classes != "fracture"  # one without any would give no slice
        if usable(record, options) and shows:
            write_yolo([record], out, options)
            return classes
    return None


def _on_grid_of(volume: CTVolume, result: StudyResult) -> CTVolume:
    """The CT on the grid of the result, where it is stored on another or in another order."""
    shape, matrix = tuple(result.volume.shape_kji), np.array(result.volume.ijk_to_ras)
    if volume.shape_kji == shape and _same_grid(volume.ijk_to_ras, matrix, shape):
        return replace(volume, ijk_to_ras=matrix)
    return resample_like(volume, matrix, shape)


def _same_grid(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> bool:
    ends = np.array([[i, j, k, 1] for i in (0, shape[2]) for j in (0, shape[1]) for k in (0, shape[0])])
    return bool(np.abs(ends @ (one - other).T).max() < SAME_MM)
