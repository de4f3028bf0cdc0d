"""Figures of a classifier of radiographs: what it said of each, and how right that was (document 001, table 1 ff)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.radiographs import CLASSES, RadiographRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.training.bootstrap import Figures
from CSpineFractureLib.training.rank_auc import rank_auc

CHANCES = tuple(f"p_{name}" for name in CLASSES)


@dataclass(frozen=True)
class Answers:
    """What was said of ``n`` radiographs: files, persons, strata, true class ``[n]``, probabilities ``[n, 3]``."""

    files: list[str]
    groups: np.ndarray
    strata: list[frozenset[str]]
    truth: np.ndarray
    probability: np.ndarray


def radiograph_figures(truth: np.ndarray, probability: np.ndarray) -> Figures:
    """accuracy, macro_precision, macro_recall, macro_f1, auc; precision, recall and f1 of each class (``f1_normal``).

    ``truth`` numbers of classes ``[n]``, ``probability`` ``[n, 3]``; the most probable class is the answer. ``auc`` is
    the mean of each class against the others. ``None`` where a figure is not defined; the means leave out classes that
    the truth does not have, and count a precision without any answer as 0.
    """
    matrix = radiograph_confusion(truth, probability)
    classes = class_figures(truth, probability)
    there = [classes[name] for n, name in enumerate(CLASSES) if matrix[n].sum()]
    figures: Figures = {"accuracy": float(np.trace(matrix) / matrix.sum()) if matrix.sum() else None}
    for key in ("precision", "recall", "f1"):
        figures[f"macro_{key}"] = float(np.mean([one[key] or 0.0 for one in there])) if there else None
    areas = [one["auc"] for one in there if one["auc"] is not None]
    figures["auc"] = float(np.mean(areas)) if areas else None
    for name, one in classes.items():
        figures |= {f"{key}_{name}": one[key] for key in ("precision", "recall", "f1")}
    return figures


def class_figures(truth: np.ndarray, probability: np.ndarray) -> dict[str, Figures]:
    """precision, recall, f1, specificity, auc and images by class, as document 001 defines them."""
    matrix = radiograph_confusion(truth, probability).astype(float)
    found = {}
    for n, name in enumerate(CLASSES):
        right, called, there = matrix[n, n], matrix[:, n].sum(), matrix[n].sum()
        others = matrix.sum() - there
        found[name] = {
            "precision": right / called if called else None,
            "recall": right / there if there else None,
            "f1": 2 * right / (called + there) if there else None,
            "specificity": (others - called + right) / others if others else None,
            "auc": rank_auc(np.asarray(truth) == n, np.asarray(probability)[:, n]),
            "images": int(there),
        }
    return found


def radiograph_confusion(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Counts ``[3, 3]``: rows true, columns answered, in the order of ``CLASSES``."""
    count = len(CLASSES)
    called = np.asarray(probability).argmax(axis=1) if len(probability) else np.zeros(0, int)
    return np.bincount(count * np.asarray(truth, int) + called, minlength=count**2).reshape(count, count)


def strata_of(answers: Answers) -> dict[str, np.ndarray]:
    """Which rows belong to each stratum, bool ``[n]``; one that is empty or everything is left out."""
    names = sorted({word for words in answers.strata for word in words})
    rows = {name: np.array([name in words for words in answers.strata], bool) for name in names}
    return {name: here for name, here in rows.items() if here.any() and not here.all()}


def write_answers(path: Path, records: Sequence[RadiographRecord], probability: np.ndarray) -> None:
    """Write ``file,study,class,strata,answer,p_normal,p_fracture,p_dislocation``; the file is whole or absent."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "study", "class", "strata", "answer", *CHANCES])
    for record, chances in zip(records, probability, strict=True):
        answer = CLASSES[int(np.argmax(chances))]
        tags = "+".join(sorted(record.strata))
        table.writerow([record.file, record.group, record.kind, tags, answer, *(f"{p:.6f}" for p in chances)])
    write_text_atomically(text.getvalue(), path)


def read_answers(path: Path) -> Answers:
    """Read what ``write_answers`` wrote. Raises ``UserError`` where it is missing, empty, or a value is wrong."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        truth = np.array([CLASSES.index(row["class"]) for row in rows], int)
        probability = np.array([[float(row[name]) for name in CHANCES] for row in rows]).reshape(-1, len(CLASSES))
        groups = np.array([row["study"] for row in rows])
        strata = [frozenset(row["strata"].split("+")) - {""} for row in rows]
        files = [row["file"] for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError, AttributeError) as error:
        message = f"'{path}' is missing or damaged ({error}); let the run look at that set again."
        raise UserError(message) from error
    if not rows or not ((probability >= 0) & (probability <= 1)).all():
        message = f"'{path}' holds no answers, or some that are no probabilities; let the run look at that set again."
        raise UserError(message)
    return Answers(files, groups, strata, truth, probability)
