"""Whole necks on the coarse grid, for the network that finds the column: a file per study, and a table."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import coarse_hu, coarse_labels, to_coarse
from CSpineFractureLib.volume.ct_volume import CTVolume

TABLE = "volumes.csv"
COLUMNS = ("file", "study", "group", "split")
BODIES = (*LEVELS, "T1")
THORACIC, UNKNOWN = 8, 255


@dataclass(frozen=True)
class ColumnVolume:
    """A canonical study on the coarse grid (see ``volume.coarse_grid``).

    ``hu`` int16 ``[k, j, i]``; ``labels`` uint8, 1-7 = C1-C7, 8 = any thoracic, 255 = does not count; ``bodies``
    float32 ``[8, 3]``, indices k, j, i of the middles of C1-C7 and T1, NaN where not known or not in the scan.
    """

    hu: np.ndarray
    labels: np.ndarray
    bodies: np.ndarray


def column_volume(record: StudyRecord) -> ColumnVolume:
    """A study with a mask, made coarse. Raises ``UserError`` where CT or mask cannot be read or do not fit."""
    volume, levels = record.load_volume(), record.load_levels()
    if levels.shape != volume.hu.shape:
        message = f"Study '{record.id}' has a mask of another size than its CT; give it the mask of this CT."
        raise UserError(message)
    view = CanonicalView.of(volume)
    mask = CanonicalView.of(CTVolume(levels.astype(np.int16), volume.ijk_to_ras)).hu
    bodies = np.full((len(BODIES), 3), np.nan, np.float32)
    for level, centre in (record.load_bodies() if record.load_bodies else {}).items():
        if level in BODIES:
            index = to_coarse(view.ijk_of(np.asarray(centre))[::-1], view.spacing_mm)
            bodies[BODIES.index(level)] = index
    labels = coarse_labels(np.minimum(mask, THORACIC).astype(np.uint8), view.spacing_mm)
    return ColumnVolume(coarse_hu(view.hu, view.spacing_mm), labels, bodies)


def write_column_volumes(
    records: Sequence[StudyRecord], out: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """A compressed file per study below ``out`` (those that are there stay), and the table of all.

    Raises ``UserError`` for studies that cannot be read, ``OSError`` where ``out`` cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for done, record in enumerate(records, start=1):
        file = out / f"{record.id}.npz"
        if not file.is_file():
            made, part = column_volume(record), out / f"{record.id}.part.npz"
            np.savez_compressed(part, hu=made.hu, labels=made.labels, bodies=made.bodies)
            part.replace(file)
        table.writerow([file.name, record.id, record.group, record.split or ""])
        on_progress(done, len(records))
    write_text_atomically(text.getvalue(), out / TABLE)


def add_column_volumes(out: Path, more: Path) -> None:
    """Copy the volumes of another folder of this kind into ``out``, all of them to train on.

    Raises ``UserError`` where ``more`` is not such a folder or has a study of the same name, ``OSError`` where ``out``
    cannot be written.
    """
    rows, further = read_column_table(out), read_column_table(more)
    double = {row["study"] for row in rows} & {row["study"] for row in further}
    if double:
        message = f"'{more}' has a study '{min(double)}' too, like the data: rename one of them."
        raise UserError(message)
    for row in further:
        read_column_volume(more / Path(row["file"]).name)
        shutil.copyfile(more / Path(row["file"]).name, out / Path(row["file"]).name)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows([*rows, *({**row, "file": Path(row["file"]).name, "split": "train"} for row in further)])
    write_text_atomically(text.getvalue(), out / TABLE)


def read_column_table(out: Path) -> list[dict[str, str]]:
    """The rows of the table. Raises ``UserError`` where it is missing or lacks a column."""
    try:
        rows = list(csv.DictReader(io.StringIO((out / TABLE).read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError) as error:
        message = f"'{out / TABLE}' is missing or damaged: make the volumes again."
        raise UserError(message) from error
    if any(None in row.values() or set(row) != set(COLUMNS) for row in rows):
        message = f"'{out / TABLE}' is damaged: make the volumes again."
        raise UserError(message)
    return rows


def read_column_volume(path: Path) -> ColumnVolume:
    """One file of ``write_column_volumes``. Raises ``UserError`` where it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return ColumnVolume(stored["hu"], stored["labels"], stored["bodies"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        message = f"'{path}' is missing or damaged: make the volumes again."
        raise UserError(message) from error
