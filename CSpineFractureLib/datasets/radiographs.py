"""Radiographs in a folder per class, and how they are split: pictures of one person always share their side.

``normal``, ``fracture`` and ``dislocation`` (any name that holds one of the words, such as "spine fracture"). Where a
``truth.csv`` lies beside them, its columns ``file`` and ``patient`` or ``seed`` tell who is who, and ``mimics`` which
pictures show what only looks like an injury. Otherwise files with the same content count as one person.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.splits import Group, deal, shares_of
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.volume.radiograph_image import PICTURE_SUFFIXES

CLASSES = ("normal", "fracture", "dislocation")
SOURCES = ("radiographs", "phantom")
TRUTH, TABLE = "truth.csv", "radiographs.csv"
COLUMNS = ("file", "class", "group", "strata", "split")
SUFFIXES = (*PICTURE_SUFFIXES, ".dcm", ".dicom")


@dataclass(frozen=True)
class RadiographRecord:
    """One radiograph: ``file`` below the root (with ``/``), class, who it is of, strata, and its split once dealt."""

    file: str
    kind: str
    group: str
    strata: frozenset[str] = field(default_factory=frozenset)
    split: str = ""


def read_radiographs(root: Path) -> list[RadiographRecord]:
    """The radiographs below ``root``, by file.

    Raises ``UserError`` where there is no such folder, a class has none, or ``truth.csv`` contradicts the folders.
    """
    if not root.is_dir():
        fault = "is not a folder" if root.exists() else "does not exist"
        message = f"'{root}' {fault}; name a folder with radiographs in normal, fracture and dislocation."
        raise UserError(message)
    found: dict[str, str] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        kind = _class_of(folder.name)
        if kind is None:
            continue
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix.lower() in SUFFIXES and ".part" not in path.name:
                found[path.relative_to(root).as_posix()] = kind
    if not found:
        message = f"'{root}' holds no radiographs: put them into folders named normal, fracture and dislocation."
        raise UserError(message)
    told = _truth(root / TRUTH)
    records = []
    for file, kind in found.items():
        row = told.get(file, {})
        if row.get("class", kind) != kind:
            message = f"'{root / TRUTH}' calls '{file}' {row['class']!r}, but it lies with {kind}: correct one of them."
            raise UserError(message)
        group = row.get("patient") or row.get("seed") or _fingerprint(root / file)
        strata = {"mimics"} if row.get("mimics") else {"no mimics"} if "mimics" in row else set()
        records.append(RadiographRecord(file, kind, group, frozenset(strata)))
    return records


def split_radiographs(
    records: Sequence[RadiographRecord], ratios: str, seed: int = 0, folds: int = 0, fold: int = 0
) -> list[RadiographRecord]:
    """The records with their split, the classes spread evenly: ``train``, ``val``, ``test`` by ``ratios``.

    With ``folds`` (k-fold, document 001, section 4.1) ``val`` is part ``fold`` (from 0) of that many, ``train`` the
    rest; ``ratios`` is then not used. Raises ``UserError`` for other numbers, or too few persons.
    """
    records = sorted(records, key=lambda record: record.file)
    if folds:
        side = _fold(records, folds, fold, seed)
    else:
        if not {"train", "val"} <= set(shares_of(ratios)):
            message = f"data.split {ratios} does not serve radiographs: use 80:20, 70:20:10 or 70:15:15, or data.folds."
            raise UserError(message)
        members: dict[str, list[RadiographRecord]] = {}
        for record in records:
            members.setdefault(record.group, []).append(record)
        groups = {name: Group(" ".join(sorted({r.kind for r in own})), len(own)) for name, own in members.items()}
        side = deal(groups, ratios, seed)
    return [replace(record, split=side[record.group]) for record in records]


def write_table(records: Sequence[RadiographRecord], folder: Path) -> None:
    """Write ``radiographs.csv``: one row per radiograph. Raises ``UserError`` where it cannot be written."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in records:
        table.writerow([one.file, one.kind, one.group, "+".join(sorted(one.strata)), one.split])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"'{folder}' cannot be written ({error.strerror or error}); choose a folder with space you may use."
        raise UserError(message) from error
    write_text_atomically(text.getvalue(), folder / TABLE)


def read_table(folder: Path, split: str | None = None) -> list[RadiographRecord]:
    """The radiographs of ``radiographs.csv``, of one split or of all. Raises ``UserError`` where it is damaged."""
    path = folder / TABLE
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = [
                RadiographRecord(
                    row["file"], row["class"], row["group"], frozenset(row["strata"].split("+")) - {""}, row["split"]
                )
                for row in csv.DictReader(stream)
            ]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        message = f"'{path}' is missing or damaged: delete its folder and give the same command again."
        raise UserError(message) from error
    if any(row.kind not in CLASSES for row in rows):
        message = f"'{path}' holds a class other than {', '.join(CLASSES)}: delete its folder and start again."
        raise UserError(message)
    return rows if split is None else [row for row in rows if row.split == split]


def _class_of(name: str) -> str | None:
    """The class that a folder's name holds; ``None`` for none or several."""
    held = [kind for kind in CLASSES if kind in name.lower()]
    return held[0] if len(held) == 1 else None


def _truth(path: Path) -> dict[str, dict[str, str]]:
    """Rows of ``truth.csv`` by file; none where there is no such file."""
    if not path.is_file():
        return {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return {row["file"].replace("\\", "/"): row for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        message = f"'{path}' cannot be read as a table with a column 'file' ({error}): correct or remove it."
        raise UserError(message) from error


def _fingerprint(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        message = f"'{path}' cannot be read ({error.strerror or error}); check the disk or copy it elsewhere."
        raise UserError(message) from error


def _fold(records: Sequence[RadiographRecord], folds: int, fold: int, seed: int) -> dict[str, str]:
    from sklearn.model_selection import StratifiedGroupKFold  # imported late: it takes a second

    groups = np.array([record.group for record in records])
    kinds = np.array([record.kind for record in records])
    if not 2 <= folds <= len(set(groups)) or not 0 <= fold < folds:
        message = (
            f"data.folds {folds} and data.fold {fold} do not serve {len(set(groups))} persons: "
            f"give folds from 2, and a fold from 0 to folds - 1."
        )
        raise UserError(message)
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(kinds, kinds, groups)
    held_out = set(groups[list(parts)[fold][1]])
    return {name: "val" if name in held_out else "train" for name in set(groups)}
