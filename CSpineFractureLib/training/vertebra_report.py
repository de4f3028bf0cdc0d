"""What a vertebra classifier said, as a table, and its figures: in all, per level and by stratum."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.crop_table import CropRow, read_crop_table
from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.training import plots
from CSpineFractureLib.training.binary_report import binary_figures, confusion, quick_binary_figures
from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.measure_run import Measured, roc_curves, scaled_figures, write_measured
from CSpineFractureLib.training.metrics_file import Metrics, metrics_path, write_metrics
from CSpineFractureLib.training.read_predictions import read_detections, read_predictions, stratum_rows
from CSpineFractureLib.training.run_folder import RunFolder

COLUMNS = ("file", "study", "level", "split", "strata", "truth", "probability")
BOXES = "yolo-boxes"
"""A fracture detector that answers for vertebrae, as a model of the tables."""
_SMALLEST = 1e-6
"""Nearest that a probability comes to 0 and 1 in the log loss; predictions have six digits."""


def write_answers(path: Path, rows: Iterable[CropRow], probabilities: Sequence[float]) -> None:
    """Write ``predictions-<set>.csv``: file, study, level, split, strata, truth and probability of each vertebra."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row, said in zip(rows, probabilities, strict=True):
        table.writerow([row.file, row.study, row.level, row.split, row.strata, row.label, f"{float(said):.6f}"])
    write_text_atomically(text.getvalue(), path)


def measure(run: RunFolder, set_name: str, samples: int | None = None) -> Metrics:
    """Figures of the answers for a set, with intervals over studies; writes ``metrics-<set>.json`` and plots.

    The figures of ``binary_figures`` (``recall`` is the sensitivity) and ``loss``, the binary cross entropy; a
    vertebra counts as fractured from 0.5. Strata are ``displaced``, ``hairline`` (each with all normal vertebrae),
    ``mimics``, ``sound`` and the levels. ``samples`` of the bootstrap, else as many as ``measure_run`` draws. Raises
    ``UserError`` where there are no answers, or they are broken.
    """
    path = run.predictions(set_name)
    said = read_predictions(path)
    levels = _levels(path)
    truth, probability = said.truth, said.probability
    if truth.ndim != 1 or len(levels) != len(truth):
        message = f"'{path}' holds no answers for vertebrae; let the run predict that set again."
        raise UserError(message)
    by_level = {level: here for level in LEVELS if (here := levels == level).any()}
    strata = stratum_rows(said.studies, said.strata, truth) | by_level
    matrix, names = confusion(truth, probability), ["normal", "fractured"]
    measured = Measured(_figures, said.studies, (truth, probability), strata, quick=_quick_figures)
    measured.further = scaled_figures(run, set_name, truth, probability)
    measured.per_class = {}
    for level, here in by_level.items():
        counts = {"support": int(truth[here].sum()), "vertebrae": int(here.sum())}
        measured.per_class[level] = _figures(truth[here], probability[here]) | counts
    measured.confusion = {"labels": names, "matrix": matrix.tolist()}
    measured.plots["confusion"] = lambda file, title, note: plots.confusion_plot(file, matrix, names, title, note)
    parts = {"all": np.ones(len(truth), bool)} | {name: here for name, here in strata.items() if name not in LEVELS}
    if curves := roc_curves({name: (truth[here], probability[here]) for name, here in parts.items()}):
        measured.plots["roc"] = lambda file, title, note: plots.roc_plot(file, curves, title, note)
    return write_measured(run, set_name, measured, samples=samples)


def measure_boxes(run: RunFolder, set_name: str, detections: Path, samples: int | None = None) -> Metrics:
    """Measure a fracture detector as a classifier of vertebrae (row "YOLOv5" of document 002's table II).

    ``detections`` is the ``detections-<set>.json`` of a fracture detector on the same studies; ``run`` is a run folder
    of the vertebra system whose crops of the set are there. The predictions, figures and plots lie beside that run, in
    the folder ``BOXES``. Raises ``UserError`` as ``box_answers`` and ``measure`` do.
    """
    split = "val" if set_name == "val" else "test"
    rows = [row for row in read_crop_table(run.images_of(set_name)) if row.split == split]
    answers = box_answers(rows, detections)
    beside = RunFolder(run.path.parent / BOXES, replace(run.setup, model=BOXES))
    beside.path.mkdir(exist_ok=True)
    write_answers(beside.predictions(set_name), rows, answers)
    words = ["cspine", "evaluate", "vertebra-boxes", run.path.name, "--detections", detections.name, "--set", set_name]
    command = shlex.join(words)
    metrics = replace(measure(beside, set_name, samples=samples), epochs=0, seconds=0.0, command=command)
    write_metrics(metrics_path(beside.path, set_name), metrics)
    return metrics


def box_answers(rows: Sequence[CropRow], detections: Path) -> np.ndarray:
    """``[n]``: the highest score of a fracture box in the slices of each vertebra, 0 without any.

    Raises ``UserError`` where the file holds no detections, or none of a vertebra's study.
    """
    best: dict[str, dict[int, float]] = {}
    document = read_detections(detections)
    fracture = {number for number, name in enumerate(document["classes"]) if name == "fracture"}
    for image in document["images"]:
        scores = [float(box[1]) for box in image["found"] if int(box[0]) in fracture]
        best.setdefault(str(image["study"]), {})[int(image["k"])] = max(scores, default=0.0)
    unseen = sorted({row.study for row in rows} - set(best))
    if unseen or not fracture:
        what = f"nothing of study '{unseen[0]}'" if unseen else "no class 'fracture'"
        message = f"'{detections}' holds {what}: let a fracture detector look at the studies of these vertebrae."
        raise UserError(message)
    inside = [[score for k, score in best[row.study].items() if row.k0 <= k <= row.k1] for row in rows]
    return np.array([max(scores, default=0.0) for scores in inside])


def _figures(truth: np.ndarray, probability: np.ndarray) -> Figures:
    return {**binary_figures(truth, probability), "loss": _loss(truth, probability)}


def _quick_figures(truth: np.ndarray, probability: np.ndarray) -> Figures:
    return {**quick_binary_figures(truth, probability), "loss": _loss(truth, probability)}


def _loss(truth: np.ndarray, probability: np.ndarray) -> float | None:
    """Binary cross entropy (document 002, formula 2)."""
    if not len(truth):
        return None
    inside = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return float(-np.log(np.where(np.asarray(truth, bool), inside, 1 - inside)).mean())


def _levels(path: Path) -> np.ndarray:
    with open(path, encoding="utf-8", newline="") as stream:
        return np.array([row.get("level") for row in csv.DictReader(stream) if row.get("level") in LEVELS])
