"""Measure what a segmentation run found on a set: figures with intervals over studies, by stratum, and plots."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.mask_slices import THORACIC
from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.unet import CLASSES
from CSpineFractureLib.training import plots
from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.measure_run import Measured, write_measured
from CSpineFractureLib.training.metrics_file import Metrics
from CSpineFractureLib.training.read_predictions import strata_in, stratum_rows
from CSpineFractureLib.training.run_folder import RunFolder
from CSpineFractureLib.training.segment_sheet import sheet_plot
from CSpineFractureLib.training.segmentation_report import (
    StudyScores,
    class_rows,
    confusion_of,
    level_distances,
    segmentation_figures,
)


@dataclass
class _Study:
    """The slices of one study by ``k``, and its spacing along k, j, i in mm."""

    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def spacing_kji(self) -> tuple[float, float, float]:
        return tuple(float(self.rows[0][key]) for key in ("slice_mm", "row_mm", "column_mm"))

    @property
    def whole(self) -> bool:
        """No slice between the first and the last is missing."""
        return all(int(b["k"]) - int(a["k"]) == 1 for a, b in zip(self.rows, self.rows[1:], strict=False))


def measure(run: RunFolder, set_name: str) -> Metrics:
    """Measure a run on a set that ``look`` has segmented; writes ``metrics-<set>.json`` and the plots.

    Strata are of studies: those with displaced or hairline fractures, with mimics, or sound. Surface distances need all
    slices of a study. Raises ``UserError`` where the predictions or the maps they name are missing or damaged.
    """
    rows = read_found(run.predictions(set_name))
    images = run.images_of(set_name)
    studies: dict[str, _Study] = {}
    for row in sorted(rows, key=lambda row: (row["study"], int(row["k"]))):
        studies.setdefault(row["study"], _Study()).rows.append(row)
    scores = _scores(list(studies.values()), images, run.path)
    ordered = [row for study in studies.values() for row in study.rows]
    # Figures are of studies: the first slice of each stands for it in the bootstrap, the others for nothing.
    numbers = np.concatenate([[n] + [-1] * (len(study.rows) - 1) for n, study in enumerate(studies.values())])

    def figures(marks: np.ndarray) -> Figures:
        return segmentation_figures(scores.of(marks[marks >= 0]))

    names = np.array([row["study"] for row in ordered])
    measured = Measured(figures, names, (numbers,), stratum_rows(names, [strata_in(row["strata"]) for row in ordered]))
    measured.per_class = class_rows(scores)
    matrix, labels = scores.confusion.sum(axis=0), ["no bone", *CLASSES[1:]]
    measured.confusion = {"labels": labels, "matrix": matrix.tolist()}
    measured.plots["confusion"] = lambda path, title, note: plots.confusion_plot(path, matrix, labels, title, note)
    measured.plots["outlines"] = partial(_sheet, ordered, images, run.path)
    return write_measured(run, set_name, measured)


def read_found(path: Path) -> list[dict[str, str]]:
    """The rows of ``predictions-<set>.csv``. Raises ``UserError`` where it is missing, empty, or lacks a value."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            int(row["k"]), strata_in(row["strata"])
            sizes = [float(row[key]) for key in ("column_mm", "row_mm", "slice_mm")]
            if min(sizes) <= 0 or not (row["mask"] and row["found"] and row["study"]):
                message = "a value is missing"
                raise ValueError(message)
    except FileNotFoundError as error:
        message = f"'{path}' does not exist; let the run predict that set first ('cspine train', to its end)."
        raise UserError(message) from error
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError, AttributeError) as error:
        message = f"'{path}' cannot be used ({error}); let the run predict that set again."
        raise UserError(message) from error
    if not rows:
        message = f"'{path}' has no rows; let the run predict that set again."
        raise UserError(message)
    return rows


def read_maps(row: dict[str, str], images: Path, run: Path) -> tuple[np.ndarray, np.ndarray]:
    """True and found map of a slice, uint8 ``[j, i]``. Raises ``UserError`` where one is missing or they differ."""
    truth, found = read_image(images / row["mask"]), read_image(run / row["found"])
    if truth.shape != found.shape or truth.ndim != 2 or max(truth.max(), found.max()) > THORACIC:
        message = f"'{run / row['found']}' does not fit '{images / row['mask']}'; let the run predict that set again."
        raise UserError(message)
    return truth, found


def _scores(studies: list[_Study], images: Path, run: Path) -> StudyScores:
    count, levels = len(studies), THORACIC - 1
    scores = StudyScores(
        np.zeros((count, len(CLASSES), len(CLASSES)), np.int64), *(np.full((count, levels), np.nan) for _ in range(2))
    )
    for n, study in enumerate(studies):
        pairs = [read_maps(row, images, run) for row in study.rows]
        scores.confusion[n] = sum(confusion_of(*pair) for pair in pairs)
        if study.whole and len({pair[0].shape for pair in pairs}) == 1:
            truth, found = (np.stack(side) for side in zip(*pairs, strict=True))
            scores.surface[n], scores.hd95[n] = level_distances(truth, found, study.spacing_kji)
    return scores


def _sheet(rows: list[dict[str, str]], images: Path, run: Path, path: Path, title: str, note: str) -> None:
    def read(row: dict[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return read_image(images / row["file"]), *read_maps(row, images, run)

    sheet_plot(path, rows, read, title, note)
