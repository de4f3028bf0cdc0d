"""One image of a training set: its file, where it comes from, its boxes; and ``slices.csv``, which lists them."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically

CLASSES = {"vertebrae": LEVELS, "fracture": ("fracture",), "both": (*LEVELS, "fracture")}
"""Names of the classes, in the order of their ids."""
SLICE_TABLE = "slices.csv"
_COLUMNS = ("file", "study", "group", "split", "k")
_FURTHER = ("from_top_mm", "ratio", "strata")
_SLICE_NAME = re.compile(r"(?P<study>.+)_k(?P<k>\d+)")


@dataclass(frozen=True)
class ClassBox:
    """A box of class ``name``; left and upper pixel edge and size, as in ``SliceBox``."""

    name: str
    x: float
    y: float
    width: float
    height: float

    def clipped(self, width: int, height: int) -> ClassBox | None:
        """The part inside an image of ``width`` x ``height`` pixels; ``None`` where nothing of it is inside."""
        x0, y0 = max(0, self.x), max(0, self.y)
        x1, y1 = min(width, self.x + self.width), min(height, self.y + self.height)
        if x1 <= x0 or y1 <= y0:
            return None
        return ClassBox(self.name, *(round(float(value), 4) for value in (x0, y0, x1 - x0, y1 - y0)))


@dataclass(frozen=True)
class LabelledImage:
    """An image, ``width`` x ``height`` pixels, of slice ``k`` of a study; ``file`` is relative to the data set.

    ``from_top_mm`` is how far below the highest slice of the study it lies, ``ratio`` the same as a share (0 highest, 1
    lowest): the metadata of document 004. ``strata`` tells which fractures the slice shows (``displaced``,
    ``hairline``) and whether the study holds ``mimics``. These three stand in ``slices.csv`` alone.
    """

    file: str
    study: str
    group: str
    split: str
    k: int
    width: int
    height: int
    boxes: tuple[ClassBox, ...] = ()
    from_top_mm: float = field(default=0.0, compare=False)
    ratio: float = field(default=0.0, compare=False)
    strata: tuple[str, ...] = field(default=(), compare=False)

    @property
    def names(self) -> frozenset[str]:
        """The classes that its boxes have."""
        return frozenset(box.name for box in self.boxes)


def slice_name(study: str, k: int) -> str:
    """File name without ending: study and slice. A study id with unusual characters gets a short hash instead."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", study)
    if plain != study:
        plain += "-" + hashlib.sha256(study.encode()).hexdigest()[:8]
    return f"{plain}_k{k:04d}"


def parts_of_name(stem: str) -> tuple[str, int]:
    """Study and slice of a file name as ``slice_name`` makes them; another name is a study of its own, slice 0."""
    found = _SLICE_NAME.fullmatch(stem)
    return (found["study"], int(found["k"])) if found else (stem, 0)


def write_slice_table(root: Path, images: Iterable[LabelledImage], names: tuple[str, ...]) -> None:
    """Write ``slices.csv``: file, study, group (patient), split, k, place, strata; per class whether it is shown."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*_COLUMNS, *_FURTHER, *names])
    for image in images:
        shown = [int(name in image.names) for name in names]
        place = [round(image.from_top_mm, 3), round(image.ratio, 5), "+".join(image.strata)]
        table.writerow([image.file, image.study, image.group, image.split, image.k, *place, *shown])
    write_text_atomically(text.getvalue(), root / SLICE_TABLE)


def read_slice_table(root: Path) -> dict[str, dict[str, str]]:
    """The rows of ``slices.csv`` by ``file``; empty where there is none. Raises ``UserError`` for a broken table."""
    path = root / SLICE_TABLE
    if not path.exists():
        return {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            int(row["k"])
        return {row["file"]: row for row in rows if row["study"] and row["group"] and row["split"]}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        message = f"'{path}' cannot be read as a table of {', '.join(_COLUMNS)}; copy it or make the set again."
        raise UserError(message) from error


def origin_of(file: Path, root: Path, table: dict[str, dict[str, str]]) -> tuple[str, str, int]:
    """Study, group and slice of an image below ``root``: from its row, else from its name (group = study)."""
    row = table.get(file.relative_to(root).as_posix())
    if row:
        return row["study"], row["group"], int(row["k"])
    study, k = parts_of_name(file.stem)
    return study, study, k
