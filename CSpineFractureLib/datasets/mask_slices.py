"""Axial slices with a map of their vertebrae, for the segmentation of document 002 (sections III-A to III-C).

``images/<split>/NAME.png`` is the slice in colour (see ``volume.slice_stack``), ``labels/<split>/NAME.png`` its map: 0
background, 1-7 C1-C7, 8 every thoracic vertebra. ``slices.csv`` lists them. Slices to learn from are chosen; of every
other split all slices are kept, so that results can be measured in 3D.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CSpineFractureLib.datasets.labelled_image import SLICE_TABLE, slice_name
from CSpineFractureLib.datasets.part_folder import Progress, no_progress, note_of, part_folder
from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.datasets.sampling import draw_slices, study_stream
from CSpineFractureLib.datasets.slice_image import write_image
from CSpineFractureLib.datasets.splits import check_groups
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.volume import CTVolume
from CSpineFractureLib.volume.slice_stack import stack_painter

THORACIC = 8
TRAINING = "train"
_SPREAD = 2
"""Number of a study's random stream for its choice of slices, see ``sampling.study_stream``."""
Row = dict[str, Any]


@dataclass(frozen=True)
class MaskOptions:
    """Which slices, in which colours.

    Attributes
    ----------
    window
        ``three`` or ``neighbours:CENTRE/WIDTH``, see ``volume.slice_stack``.
    further
        More such windows: each makes a picture of every slice in a folder of its own.
    empty
        Slices without a vertebra per slice with one, to learn from.
    most_per_study
        At most so many slices with vertebrae of each study to learn from, spread from top to bottom. ``None``: all.
    seed
        Of all drawing.
    """

    window: str = "three"
    further: tuple[str, ...] = ()
    empty: float = 0.15
    most_per_study: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for window in (self.window, *self.further):
            stack_painter(window)
        most = self.most_per_study
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            message = f"data.most_per_study is {most!r}: give a number of slices from 1, or null for all."
            raise UserError(message)
        if isinstance(self.empty, bool) or not isinstance(self.empty, (int, float)) or not 0 <= self.empty <= 100:
            message = f"data.empty is {self.empty!r}: give the share of slices without vertebrae, from 0."
            raise UserError(message)

    @property
    def windows(self) -> tuple[str, ...]:
        """All windows, each once."""
        return tuple(dict.fromkeys((self.window, *self.further)))


def folder_of(window: str) -> str:
    """The folder of the pictures in a window: ``images``, or ``images-neighbours-500-2000``."""
    return "images" if window == "three" else "images-" + "".join(c if c.isalnum() else "-" for c in window)


def write_mask_slices(
    records: Sequence[StudyRecord], out: Path, options: MaskOptions, on_progress: Progress = no_progress
) -> list[Row]:
    """Write the slices of split ``records`` that have masks to ``out``, which appears whole or not at all.

    Columns of ``slices.csv``: file, mask, study, group, split, k, from_top_mm (below the highest slice), ratio (the
    same as a share), strata (of the study), column_mm, row_mm, slice_mm, then 0 or 1 for C1-C7 and thoracic. A run that
    was broken off goes on from ``OUT.part``. Raises ``UserError`` where no study has a mask, a mask does not fit its
    CT or is empty in all studies, ``out`` holds files, or it cannot be written.
    """
    check_groups(records)
    able = sorted((record for record in records if record.load_levels is not None), key=lambda record: record.id)
    if not able:
        message = f"None of the {len(records)} studies has a vertebra mask; choose studies with masks."
        raise UserError(message)
    rows: list[Row] = []
    with part_folder(out, _fingerprint(able, options)) as part:
        for done, record in enumerate(able):
            on_progress(done, len(able))
            rows += _study_rows(record, part, options)
        on_progress(len(able), len(able))
        if not any(row[level] for row in rows for level in LEVELS):
            message = f"The masks of all {len(able)} studies are empty of C1-C7; choose studies with other masks."
            raise UserError(message)
        write_text_atomically(_table(rows), part / SLICE_TABLE)
    return rows


def chosen_slices(labels: np.ndarray, study: str, options: MaskOptions) -> list[int]:
    """The slices to learn from, sorted: those with vertebrae, or some of them spread evenly, and some without."""
    shown = labels.reshape(len(labels), -1).any(axis=1)
    filled = np.flatnonzero(shown)
    most = options.most_per_study
    if most is not None and len(filled) > most:
        offset = study_stream(options.seed, study, _SPREAD).random()
        filled = filled[((np.arange(most) + offset) * len(filled) / most).astype(int)]
    wanted = round(options.empty * len(filled))
    empty = draw_slices((int(k) for k in np.flatnonzero(~shown)), wanted, study, options.seed)
    return sorted({*map(int, filled), *empty})


def _study_rows(record: StudyRecord, part: Path, options: MaskOptions) -> list[Row]:
    """Write the slices of a study and tell of them; one that an earlier run finished is not written again."""
    note = note_of(part, slice_name(record.id, 0))
    if note.is_file():
        return json.loads(note.read_text(encoding="utf-8"))
    volume = record.load_volume()
    labels = _levels(record, volume)
    up = 1 if volume.ijk_to_ras[2, 2] >= 0 else -1
    spacing = [float(size) for size in np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)]
    heights = volume.ijk_to_ras[2, 2] * np.arange(len(labels))
    below = heights.max() - heights
    slices = chosen_slices(labels, record.id, options) if record.split == TRAINING else range(len(labels))
    painters = {window: stack_painter(window) for window in options.windows}
    rows = []
    for k in slices:
        name = f"{record.split}/{slice_name(record.id, k)}.png"
        for window, paint in painters.items():
            _write(paint(volume.hu, k, up), part / folder_of(window) / name)
        _write(labels[k], part / "labels" / name)
        shown = {level: int((labels[k] == n + 1).any()) for n, level in enumerate((*LEVELS, "thoracic"))}
        rows.append(
            {
                "file": f"{folder_of(options.window)}/{name}",
                "mask": f"labels/{name}",
                "study": record.id,
                "group": record.group,
                "split": record.split,
                "k": int(k),
                "from_top_mm": round(float(below[k]), 3),
                "ratio": round(float(below[k] / max(below.max(), 1e-6)), 5),
                "strata": "+".join(sorted(record.strata)),
                "column_mm": round(spacing[0], 5),
                "row_mm": round(spacing[1], 5),
                "slice_mm": round(spacing[2], 5),
                **shown,
            }
        )
    write_text_atomically(json.dumps(rows), note)
    return rows


def _levels(record: StudyRecord, volume: CTVolume) -> np.ndarray:
    """The study's mask as uint8 0-8. Raises ``UserError`` where it does not fit the CT."""
    levels = np.asarray(record.load_levels())
    if levels.shape != volume.shape_kji:
        sizes = [" x ".join(str(size) for size in reversed(shape)) for shape in (levels.shape, volume.shape_kji)]
        message = (
            f"Study '{record.id}' has a mask of {sizes[0]} voxels for a CT of {sizes[1]}; give it the mask of this CT."
        )
        raise UserError(message)
    return np.minimum(levels, THORACIC).astype(np.uint8)


def _write(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(image, path)


def _fingerprint(records: Sequence[StudyRecord], options: MaskOptions) -> str:
    """Changes with anything that changes the pictures, except the voxels."""
    studies = [(record.id, record.group, record.split, sorted(record.strata)) for record in records]
    return hashlib.sha256(json.dumps(["masks", asdict(options), studies]).encode()).hexdigest()


def _table(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda row: row["file"]))
    return text.getvalue()
