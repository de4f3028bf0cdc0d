"""A reader's answers beside a network's (document 001, table 2): how many of the same radiographs each got right."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.radiographs import CLASSES
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.metrics_file import Figure
from CSpineFractureLib.training.radiograph_report import class_figures, radiograph_confusion, read_answers


@dataclass(frozen=True)
class ReaderReport:
    """What one reader got right.

    ``answers`` and ``truth`` are classes by file, of the files answered; ``missing`` counts those that were not.
    ``accuracy`` has the exact 95 % interval (Clopper and Pearson, 1934). ``confusion`` ``[3, 3]``: rows true.
    """

    name: str
    answers: dict[str, str]
    truth: dict[str, str]
    missing: int
    accuracy: Figure
    confusion: np.ndarray
    per_class: dict[str, dict]

    @property
    def right(self) -> int:
        """How many answers were right."""
        return int(np.trace(self.confusion))

    @property
    def wrong(self) -> int:
        """How many were not."""
        return int(self.confusion.sum()) - self.right


def reader_report(path: Path, truth: Mapping[str, str], name: str = "") -> ReaderReport:
    """Compare ``path``, a CSV with the columns ``file`` and ``answer``, with the true classes by file.

    A file may be named by its path below the folder of the radiographs, or by its name alone where that is unique.
    Raises ``UserError`` where the CSV cannot be read, names an unknown class or radiograph, or one twice.
    """
    return _report(name or path.stem, _answers(path, truth), truth)


def model_report(predictions: Path, name: str) -> ReaderReport:
    """The same of a network, from its ``predictions-<set>.csv``. Raises ``UserError`` where that is damaged."""
    said = read_answers(predictions)
    truth = {file: CLASSES[kind] for file, kind in zip(said.files, said.truth, strict=True)}
    called = said.probability.argmax(axis=1)
    return _report(name, {file: CLASSES[kind] for file, kind in zip(said.files, called, strict=True)}, truth)


def difference(one: ReaderReport, other: ReaderReport) -> tuple[int, int, float]:
    """Radiographs that ``one`` alone and ``other`` alone got right, of those both answered, and how likely so uneven a
    share is by chance (exact McNemar test)."""
    from scipy.stats import binomtest

    both = [file for file in one.answers if file in other.answers]
    ahead = sum(one.answers[f] == one.truth[f] != other.answers[f] for f in both)
    behind = sum(other.answers[f] == one.truth[f] != one.answers[f] for f in both)
    chance = float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0
    return ahead, behind, chance


def reader_table(network: ReaderReport, readers: list[ReaderReport], synthetic: bool) -> str:
    """Table 2 of document 001 as Markdown, from our own radiographs: a row each, then what differs."""
    kind = "synthetic radiographs" if synthetic else "radiographs"
    lines = [
        f"Measured here on {kind}. The paper prints 78 right and 2 wrong for its network, 71 and 9 for radiologists.",
        "",
        "| Method | Radiographs | Right | Wrong | Accuracy (95 % interval) | Recall normal | Fracture | Dislocation |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in (network, *readers):
        accuracy = f"{one.accuracy.value:.3f} ({one.accuracy.low:.3f} to {one.accuracy.high:.3f})"
        recalls = [one.per_class[name]["recall"] for name in CLASSES]
        cells = " | ".join("not there" if value is None else f"{value:.3f}" for value in recalls)
        lines.append(f"| {one.name} | {one.right + one.wrong} | {one.right} | {one.wrong} | {accuracy} | {cells} |")
    lines.append("")
    for one in readers:
        ahead, behind, chance = difference(network, one)
        lines.append(
            f"{network.name} alone was right {ahead} times, {one.name} alone {behind} times (exact McNemar test, "
            f"p = {chance:.3f}); {one.missing} radiographs have no answer of {one.name}."
        )
    return "\n".join(lines) + "\n"


def _report(name: str, answers: dict[str, str], truth: Mapping[str, str]) -> ReaderReport:
    from scipy.stats import binomtest

    files = list(answers)
    true = np.array([CLASSES.index(truth[file]) for file in files], int)
    chances = np.eye(len(CLASSES))[[CLASSES.index(answers[file]) for file in files]]
    matrix = radiograph_confusion(true, chances)
    right = int(np.trace(matrix))
    low, high = binomtest(right, len(files)).proportion_ci()
    accuracy = Figure(right / len(files), float(low), float(high))
    own = {file: truth[file] for file in files}
    return ReaderReport(name, answers, own, len(truth) - len(files), accuracy, matrix, class_figures(true, chances))


def _answers(path: Path, truth: Mapping[str, str]) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = [(row["file"].strip(), row["answer"].strip().lower()) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        message = f"'{path}' cannot be read as a table of answers ({error}); give a CSV with the columns file,answer."
        raise UserError(message) from error
    by_name: dict[str, list[str]] = {}
    for file in truth:
        by_name.setdefault(file.rpartition("/")[2], []).append(file)
    answers: dict[str, str] = {}
    for file, answer in rows:
        file = file.replace("\\", "/")
        meant = [file] if file in truth else by_name.get(file, [])
        if len(meant) != 1:
            why = "is none of the radiographs" if not meant else "is the name of several radiographs"
            message = f"'{path}': '{file}' {why}; name files by their path below the folder of the radiographs."
            raise UserError(message)
        if answer not in CLASSES:
            message = f"'{path}': '{answer}' for '{file}' is no class; write {', '.join(CLASSES)}."
            raise UserError(message)
        if meant[0] in answers:
            message = f"'{path}' answers '{file}' twice; leave one answer."
            raise UserError(message)
        answers[meant[0]] = answer
    if not answers:
        message = f"'{path}' holds no answers; give a CSV with the columns file,answer."
        raise UserError(message)
    return answers
