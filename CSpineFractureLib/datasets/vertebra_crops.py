"""Training data of the vertebra classifiers (document 002, stage 2): per study and level one sample, a file of crops.

A sample is ``<split>/<study>_<level>.npz`` (compressed, no pickles) with ``crop``, uint8 ``[slices, 4, s, s]``: the
three bone windows and the vertebra's mask (empty where the study has none), and, where asked for, ``whole``, the same
slices uncropped, and ``cracks``, uint8 ``[slices, s, s]``, 255 where the crop shows a fracture of this vertebra (as far
as the study tells that). ``crops.csv`` lists the samples. The patient always lies the same way, however the CT is
stored.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from CSpineFractureLib.datasets.crop_table import CropRow, write_crop_table
from CSpineFractureLib.datasets.fracture_map import fracture_map
from CSpineFractureLib.datasets.labelled_image import slice_name
from CSpineFractureLib.datasets.part_folder import Progress, no_progress, note_of, part_folder
from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.datasets.splits import check_groups
from CSpineFractureLib.datasets.vertebra_places import (
    LyingStudy,
    StudyBoxes,
    places_of,
    read_level_boxes,
    visible_shares,
)
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.volume.vertebra_crop import SLICES, VertebraPlace, crop_mask, crop_vertebra

KINDS = ("crop", "whole")
CHANNELS = 4
LEAST_CRACK = 0.2
"""A pixel of a crop shows a fracture where so much of it does: gaps are thinner than a pixel."""


@dataclass(frozen=True)
class CropOptions:
    """What a sample holds; raises ``UserError`` for values that do not serve.

    Parameters
    ----------
    slices, size
        Slices per vertebra and edge in pixels; document 002 takes 30 and 512.
    boxes
        ``detections-<set>.json`` of a vertebra detector, whose boxes then give the crops (YOLOv5 in document 002);
        a vertebra without one is cropped by the mask. Empty: by the mask.
    whole
        Keep the slices uncropped, too, for the comparisons without a crop.
    cracks
        Keep where the fractures lie, too, for networks that learn to draw them.
    normals
        At most so many normal vertebrae per fractured one in the split ``train``, drawn by ``seed``. ``None``: all.
    least_visible
        Vertebrae of which the scan shows less are left out; the fourth of RSNA-2022 calls them normal (ANCHORS 2.1).
    masks
        Whose masks the records have: ``study``, or which network drew them. Nothing but a note.
    """

    slices: int = SLICES
    size: int = 512
    boxes: str = ""
    whole: bool = False
    cracks: bool = False
    normals: float | None = None
    least_visible: float = 0.3
    masks: str = "study"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, sane in (
            ("slices", self.slices, isinstance(self.slices, int) and 1 <= self.slices <= 256),
            ("size", self.size, isinstance(self.size, int) and 32 <= self.size <= 2048 and self.size % 32 == 0),
            ("normals", self.normals, self.normals is None or (_number(self.normals) and self.normals > 0)),
            ("least_visible", self.least_visible, _number(self.least_visible) and 0 <= self.least_visible <= 1),
            ("whole", self.whole, isinstance(self.whole, bool)),
            ("cracks", self.cracks, isinstance(self.cracks, bool)),
        ):
            if not sane:
                place = "input" if name in ("slices", "size") else "data"
                message = f"{place}.{name} of vertebra crops is {value!r}: {_WANTED[name]}."
                raise UserError(message)


_WANTED = {
    "slices": "give a number from 1 to 256",
    "size": "give a multiple of 32 pixels from 32 to 2048",
    "normals": "give a number above 0, or leave it out",
    "least_visible": "give a share from 0 to 1",
    "whole": "give true or false",
    "cracks": "give true or false",
}


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def write_crops(
    records: Iterable[StudyRecord],
    out: Path,
    options: CropOptions,
    on_progress: Progress = no_progress,
) -> list[CropRow]:
    """Write the samples of split ``records`` to ``out``, sorted by file; whole or not at all.

    What is finished is kept in ``OUT.part`` and not made again by the next try with the same records and options.
    Raises ``UserError`` where ``out`` holds files, no vertebra can be cropped, or a study is at fault.
    """
    boxes = read_level_boxes(Path(options.boxes)) if options.boxes else {}
    records = sorted(records, key=lambda record: record.id)
    check_groups(records)
    wanted = _wanted(records, boxes, options)
    with part_folder(out, _plan(records, boxes, wanted, options)) as part:
        rows = _rows(records, wanted, boxes, part, options, on_progress)
        write_crop_table(part, rows)
    return rows


def _rows(
    records: list[StudyRecord],
    wanted: dict[str, dict[str, int]],
    boxes: dict[str, StudyBoxes],
    part: Path,
    options: CropOptions,
    on_progress: Progress,
) -> list[CropRow]:
    """The samples of all studies, sorted by file. Raises ``UserError`` where there are none."""
    rows = []
    for done, record in enumerate(records):
        on_progress(done, len(records))
        if wanted[record.id]:
            rows += _study(record, wanted[record.id], boxes.get(record.id), part, options)
    on_progress(len(records), len(records))
    if not rows:
        message = f"None of the {len(records)} studies shows a vertebra known to be fractured or not; add some."
        raise UserError(message)
    return sorted(rows, key=lambda row: row.file)


def usable(record: StudyRecord, boxed: Iterable[str] = ()) -> bool:
    """Whether levels are known, and a mask or boxes (``boxed``: ids of studies that have some) tell where they lie."""
    return record.fractured is not None and (record.load_levels is not None or record.id in boxed)


def read_crop(path: Path, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 ``shape`` of a sample. Raises ``UserError`` where it is missing, damaged, or not of that kind and shape."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            pictures = stored[kind]
    except FileNotFoundError as error:
        message = f"'{path}' is missing though the table lists it: make the crops again."
        raise UserError(message) from error
    except KeyError as error:
        message = f"'{path}' holds no pictures of the kind '{kind}': make the crops again with data.{kind}=true."
        raise UserError(message) from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        message = f"'{path}' is damaged: make the crops again."
        raise UserError(message) from error
    if pictures.dtype != np.uint8 or pictures.shape != shape:
        message = f"'{path}' holds pictures of the shape {pictures.shape} instead of {shape}: make the crops again."
        raise UserError(message)
    return pictures


def read_crack_map(path: Path, shape: tuple[int, int, int]) -> np.ndarray | None:
    """uint8 ``shape`` of a sample, 255 on the fracture; ``None`` where the study does not tell its place.

    Raises ``UserError`` as ``read_crop`` does.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            if "cracks" not in stored.files:
                return None
    except (OSError, ValueError, EOFError, BadZipFile):
        pass  # read_crop says what is wrong
    return read_crop(path, "cracks", shape)


def _wanted(
    records: list[StudyRecord], boxes: dict[str, StudyBoxes], options: CropOptions
) -> dict[str, dict[str, int]]:
    """Per study the levels to crop and 1 where they are fractured."""
    labels = {}
    for record in records:
        known = record.fractured if usable(record, boxes) else None
        labels[record.id] = {level: int(known[level]) for level in LEVELS if (known or {}).get(level) is not None}
    if options.normals is None:
        return labels
    training = {record.id for record in records if record.split == "train"}
    sound = [(study, level) for study in sorted(training) for level, label in labels[study].items() if not label]
    broken = sum(sum(labels[study].values()) for study in training)
    order = np.random.default_rng([options.seed, 2]).permutation(len(sound))
    for n in order[round(options.normals * broken) :]:
        del labels[sound[n][0]][sound[n][1]]
    return labels


def _study(
    record: StudyRecord, wanted: dict[str, int], boxes: StudyBoxes | None, part: Path, options: CropOptions
) -> list[CropRow]:
    """The samples of one study, made now or by an earlier try."""
    name = re.sub(r"_k0000$", "", slice_name(record.id, 0))
    note = note_of(part, name)
    if note.is_file():
        return [CropRow.of(row) for row in json.loads(note.read_text(encoding="utf-8"))]
    study = LyingStudy.of(record)
    places = places_of(study, boxes)
    shares = visible_shares(study, places)
    cracks = fracture_map(record, study) if options.cracks else None
    rows = []
    for level, label in wanted.items():
        if level not in places or shares[level] < options.least_visible:
            continue
        slices = study.stored_slices(places[level].k0, places[level].k1)
        file = f"{record.split}/{name}_{level}.npz"
        strata = "+".join(_strata(record, level, bool(label)))
        share = round(shares[level], 3)
        rows.append(CropRow(file, record.id, record.group, record.split, level, label, strata, share, *slices))
        _write(part / file, study, places[level], LEVELS.index(level) + 1, options, cracks)
    write_text_atomically(json.dumps([asdict(row) for row in rows]), note)
    return rows


def _write(
    path: Path,
    study: LyingStudy,
    place: VertebraPlace,
    number: int,
    options: CropOptions,
    cracks: np.ndarray | None,
) -> None:
    how = {"size": options.size, "slices": options.slices, "labels": study.labels, "level_number": number}
    pictures = {"crop": crop_vertebra(study.hu, place, **how)}
    if cracks is not None:
        share = crop_mask(cracks == number, place, options.size, options.slices)
        pictures["cracks"] = np.where(share >= LEAST_CRACK, np.uint8(255), np.uint8(0))
    if options.whole:
        everything = VertebraPlace.whole(study.hu.shape, place.k0, place.k1)
        pictures["whole"] = crop_vertebra(study.hu, everything, **how)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with open(unfinished, "wb") as stream:
        np.savez_compressed(stream, **pictures)
    os.replace(unfinished, path)


def _strata(record: StudyRecord, level: str, fractured: bool) -> list[str]:
    """Kinds of the level's own fractures, as far as they are known, and whether its study holds mimics."""
    kinds = {box.kind for box in record.boxes or () if box.level == level and box.kind}
    named = [word for word in record.strata if word != "mimics"]
    if fractured and not kinds and len(named) == 1:
        kinds = set(named)
    return [*(sorted(kinds) if fractured else ()), *({"mimics"} & {*record.strata})]


def _plan(
    records: list[StudyRecord], boxes: dict[str, StudyBoxes], wanted: dict[str, dict[str, int]], options: CropOptions
) -> str:
    """Changes with anything that changes the samples, except the voxels."""
    found = {study: {level: own.tolist() for level, own in levels.items()} for study, levels in boxes.items()}
    studies = [[one.id, one.group, one.split, [vars(box) for box in one.boxes or ()], one.strata] for one in records]
    return json.dumps([asdict(options), studies, wanted, found], sort_keys=True, default=float)
