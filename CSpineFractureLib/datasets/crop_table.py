"""``crops.csv``, which lists the samples of a set of vertebra crops: one row per study and level."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically

CROP_TABLE = "crops.csv"


@dataclass(frozen=True)
class CropRow:
    """A vertebra: its file below the set, study, patient (``group``), split, level, and 1 where it is fractured.

    ``strata`` are words joined by ``+``: ``displaced``, ``hairline`` (its own fractures), ``mimics`` (its study has
    what only looks like one). ``visible`` is the share of it that the scan shows. ``k0`` to ``k1`` are its slices as
    the CT is stored; -1 where the CT is not stored in axial slices.
    """

    file: str
    study: str
    group: str
    split: str
    level: str
    label: int
    strata: str
    visible: float
    k0: int
    k1: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> CropRow:
        """From text or JSON values. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
        row = cls(**{one.name: _KINDS[one.type](values[one.name]) for one in fields(cls)})
        if row.label not in (0, 1) or row.level not in LEVELS or not (row.file and row.study and row.group):
            message = f"row {row.file or row.study!r} is wrong"
            raise ValueError(message)
        return row


_KINDS = {"str": str, "int": int, "float": float}


def write_crop_table(root: Path, rows: Iterable[CropRow]) -> None:
    """Write ``crops.csv`` below ``root``."""
    text = io.StringIO()
    table = csv.DictWriter(text, [one.name for one in fields(CropRow)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    write_text_atomically(text.getvalue(), root / CROP_TABLE)


def read_crop_table(root: Path) -> list[CropRow]:
    """The rows of ``crops.csv``. Raises ``UserError`` where it is missing, empty or broken."""
    path = root / CROP_TABLE
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = [CropRow.of(row) for row in csv.DictReader(stream)]
    except OSError as error:
        message = f"'{path}' cannot be read ({error.strerror or error}): make the crops again."
        raise UserError(message) from error
    except (UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        message = f"'{path}' is no table of vertebra crops ({error}): make the crops again."
        raise UserError(message) from error
    if not rows:
        message = f"'{path}' lists no vertebra: make the crops again."
        raise UserError(message)
    return rows
