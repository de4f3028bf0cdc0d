"""The tables of RSNA-2022 (cervical spine fracture detection): ``train.csv`` and ``train_bounding_boxes.csv``.

Layout as the competition ships it, see https://www.kaggle.com/competitions/rsna-2022-cervical-spine-fracture-detection.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.errors import UserError

IMAGES, MASKS = "train_images", "segmentations"
LABEL_TABLE, BOX_TABLE = "train.csv", "train_bounding_boxes.csv"
TEST_TABLE, SUBMISSION_TABLE = "test.csv", "sample_submission.csv"
LABEL_COLUMNS = ("StudyInstanceUID", "patient_overall", *LEVELS)
BOX_COLUMNS = ("StudyInstanceUID", "x", "y", "width", "height", "slice_number")
HIGHEST_LABEL = 19
"""Masks: 1-7 = C1-C7, 8-19 = T1-T12."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class LabelRow:
    """One study of ``train.csv``; ``line`` is its line in the file, from 1."""

    uid: str
    overall: bool
    fractured: dict[str, bool]
    line: int

    @property
    def fault(self) -> str | None:
        """A sentence where ``patient_overall`` disagrees with the levels."""
        found = [level for level, yes in self.fractured.items() if yes]
        if self.overall == bool(found):
            return None
        levels = f"{', '.join(found)} fractured" if found else "no level fractured"
        return (
            f"{LABEL_TABLE}, line {self.line}: patient_overall is {int(self.overall)} for {self.uid}, but the row has "
            f"{levels}; correct the row."
        )


@dataclass(frozen=True)
class BoxRow:
    """One box: upper left corner and size in pixels (edges), and the number of the file it lies in."""

    uid: str
    x: float
    y: float
    width: float
    height: float
    slice_number: int
    line: int


def read_labels(root: Path) -> tuple[list[LabelRow], list[str]]:
    """The rows of ``train.csv``, and one sentence for each row that cannot be used.

    Raises ``UserError`` where the table is missing, unreadable or lacks a column.
    """
    rows, faults = _read(root / LABEL_TABLE, LABEL_COLUMNS, _label_row)
    seen: dict[str, LabelRow] = {}
    for row in rows:
        if row.uid in seen:
            faults.append(f"{LABEL_TABLE}, line {row.line}: {row.uid} is in line {seen[row.uid].line} too; remove one.")
        seen.setdefault(row.uid, row)
    return list(seen.values()), faults


def read_boxes(root: Path) -> tuple[list[BoxRow], list[str]]:
    """The rows of ``train_bounding_boxes.csv``, and one sentence for each row that cannot be used.

    A missing table has no rows. Raises ``UserError`` where it is unreadable or lacks a column.
    """
    path = root / BOX_TABLE
    return _read(path, BOX_COLUMNS, _box_row) if path.exists() else ([], [])


def _read(
    path: Path, columns: tuple[str, ...], parse: Callable[[dict[str, str], int], Row]
) -> tuple[list[Row], list[str]]:
    rows, faults = [], []
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            missing = [name for name in columns if name not in (table.fieldnames or ())]
            if missing:
                message = f"'{path}' has no column {', '.join(missing)}; use the table as RSNA-2022 ships it."
                raise UserError(message)
            for cells in table:
                try:
                    rows.append(parse(cells, table.line_num))
                except (ValueError, TypeError, OverflowError):
                    faults.append(f"{path.name}, line {table.line_num}: a value is missing or wrong; correct the row.")
    except FileNotFoundError as error:
        message = f"'{path}' does not exist; give the folder of an RSNA-2022 data set, which holds it."
        raise UserError(message) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"'{path}' cannot be read as a table ({error}); copy it again."
        raise UserError(message) from error
    return rows, faults


def _label_row(cells: dict[str, str], line: int) -> LabelRow:
    fractured = {level: _yes(cells[level]) for level in LEVELS}
    return LabelRow(_uid(cells), _yes(cells["patient_overall"]), fractured, line)


def _box_row(cells: dict[str, str], line: int) -> BoxRow:
    numbers = [float(cells[name]) for name in BOX_COLUMNS[1:]]
    if not all(math.isfinite(number) for number in numbers) or numbers[4] != int(numbers[4]):
        raise ValueError
    return BoxRow(_uid(cells), *numbers[:4], int(numbers[4]), line)


def _uid(cells: dict[str, str]) -> str:
    """The study's UID, which names a folder: digits and points only."""
    uid = cells["StudyInstanceUID"].strip()
    if not uid or not set(uid) <= set("0123456789.") or uid.startswith("."):
        raise ValueError
    return uid


def _yes(cell: str) -> bool:
    number = float(cell)
    if number not in (0.0, 1.0):
        raise ValueError
    return number == 1.0
