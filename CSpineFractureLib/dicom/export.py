"""A result as two DICOM files, written both or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from CSpineFractureLib.dicom.label_file import read_labels
from CSpineFractureLib.dicom.provenance import Export
from CSpineFractureLib.dicom.report_sr import make_report
from CSpineFractureLib.dicom.segmentation import make_segmentation
from CSpineFractureLib.dicom.source_series import check_has_dicom_source, read_source_series
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import read_result
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.volume.quiet import quiet_libraries

SEG_NAME, SR_NAME = "seg.dcm", "sr.dcm"


@dataclass(frozen=True)
class Exported:
    """The files written; ``seg`` is ``None`` where no level has voxels (profiles that give boxes alone)."""

    seg: Path | None
    sr: Path


def export_result(
    result: StudyResult,
    labels: np.ndarray,
    dicom: str | Path,
    folder: str | Path,
    *,
    name: str = "The result",
    reader: str | None = None,
    moment: datetime | None = None,
) -> Exported:
    """Write ``seg.dcm`` and ``sr.dcm`` of a result into ``folder`` (made if absent; older ones are replaced).

    ``labels``: uint8 ``[k, j, i]`` (1-7 = C1-C7) on the grid of ``result.volume``. ``dicom`` is the folder or .zip of
    the source series; patient and study are taken over from it. ``name`` is the result's name in messages, ``reader``
    the person who reviewed it (only with consent), ``moment`` the time of the export, by default now. Raises
    ``UserError`` where the result has no DICOM source, the series does not match it, or nothing can be written; both
    files are then as they were.
    """
    check_has_dicom_source(result, name)
    folder = Path(folder)
    _check_place(folder)
    with quiet_libraries():  # their warnings may quote patient data
        source = read_source_series(dicom, result.volume)
        export = Export.of(result, labels, moment)
        segmentation = make_segmentation(result, labels, source, export)
        report = make_report(result, source, segmentation, export, reader)
        return _write(segmentation, report, folder)


def export_folder(run: str | Path, dicom: str | Path, folder: str | Path) -> Exported:
    """``export_result`` of what ``cspine run`` wrote into the folder ``run``; raises ``UserError`` as that does."""
    run = Path(run)
    result = read_result(run / "result.json")
    check_has_dicom_source(result, str(run / "result.json"))
    return export_result(result, _labels_of(run, result), dicom, folder, name=str(run / "result.json"))


def _labels_of(run: Path, result: StudyResult) -> np.ndarray:
    path = run / "vertebrae.seg.nrrd"
    if path.is_file():
        return read_labels(path, result.volume)
    if any(vertebra.volume_mm3 > 0 for vertebra in result.vertebrae):
        message = f"'{path}' is missing, so there are no vertebrae to write: run the study again with the Slicer "
        message += "libraries installed (pip install 'CSpineFracture[standalone]')."
        raise UserError(message)
    return np.zeros(result.volume.shape_kji, np.uint8)


def _check_place(folder: Path) -> None:
    """What would stop the writing is said before the work."""
    if folder.exists() and not folder.is_dir():
        message = f"'{folder}' is a file: name a folder for the DICOM files with -o."
        raise UserError(message)
    for name in (SEG_NAME, SR_NAME):
        if (folder / name).is_dir():
            message = f"'{folder / name}' is a folder: name another folder for the DICOM files."
            raise UserError(message)


def _write(segmentation: Dataset | None, report: Dataset, folder: Path) -> Exported:
    """Both files are made in a hidden folder and then renamed; an old ``seg.dcm`` goes where there is no new one."""
    temporary: Path | None = None
    made = not folder.exists()
    done = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".cspine-", suffix=".part"))
        report.save_as(temporary / SR_NAME, enforce_file_format=True)
        if segmentation is not None:
            segmentation.save_as(temporary / SEG_NAME, enforce_file_format=True)
            os.replace(temporary / SEG_NAME, folder / SEG_NAME)
        else:
            (folder / SEG_NAME).unlink(missing_ok=True)
        os.replace(temporary / SR_NAME, folder / SR_NAME)
        done = True
    except OSError as error:
        message = f"'{folder}' cannot be written ({error.strerror or error}); choose a folder with space you may use."
        raise UserError(message) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if made and not done:
            shutil.rmtree(folder, ignore_errors=True)
    return Exported(folder / SEG_NAME if segmentation is not None else None, folder / SR_NAME)
