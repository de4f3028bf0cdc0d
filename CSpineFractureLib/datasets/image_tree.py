"""Records to a folder of images: study by study, resumable, and whole or not at all.

The images grow in ``OUT.part``, where ``.done`` notes the studies that are finished; a run that was broken off goes on
from there if it is asked for the same again. When all is there the folder is renamed to ``OUT``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from CSpineFractureLib.datasets.labelled_image import ClassBox, LabelledImage, slice_name, write_slice_table
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.sampling import StudySlices, plan_slices
from CSpineFractureLib.datasets.splits import check_groups, shares_of
from CSpineFractureLib.datasets.study_images import ImageOptions, Place, make_images, shown_boxes, usable
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically

Progress = Callable[[int, int], None]
Finish = Callable[[Path, list[LabelledImage]], None]
_PLAN, _DONE = ".plan", ".done"


def no_progress(done: int, total: int) -> None:
    """Studies finished and studies in all, told to nobody."""


def write_images(
    records: Iterable[StudyRecord],
    out: Path,
    options: ImageOptions,
    kind: str,
    place: Place,
    finish: Finish,
    on_progress: Progress = no_progress,
) -> list[LabelledImage]:
    """Write the images of split ``records`` and what ``finish`` adds to the folder it is given, then make it ``out``.

    ``place`` names the file of an image without its ending, relative to ``out``; ``kind`` names the sort of folder.
    ``slices.csv`` lists all images. Raises ``UserError`` where ``out`` holds files, nothing can be made of the records,
    a split would be empty, or a study is at fault; ``OUT.part`` then keeps the finished studies for the next try.
    """
    plans = plans_of(list(records), options)
    part = out.with_name(out.name + ".part")
    try:
        _prepare(out, part, _fingerprint(plans, options, kind))
        try:
            images = _all_images(plans, part, options, place, on_progress)
            ratios = options.slice_ratios
            splits = {str(plan.record.split) for plan in plans} if ratios is None else set(shares_of(ratios))
            _check_splits(splits, {image.split for image in images})
            write_slice_table(part, images, options.names)
            finish(part, images)
        except BaseException:
            if not any((part / _DONE).iterdir()):
                shutil.rmtree(part)
            raise
        shutil.rmtree(part / _DONE)
        (part / _PLAN).unlink()
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except OSError as error:
        message = f"'{out}' cannot be written ({error.strerror or error}); choose a folder with space you may use."
        raise UserError(message) from error
    return images


def plans_of(records: list[StudyRecord], options: ImageOptions) -> list[StudySlices]:
    """What each study gives. Raises ``UserError`` where that is nothing at all, or a split gets nothing."""
    if options.slice_ratios is None:
        check_groups(records)
    else:
        records = [replace(record, split=None) for record in records]
    able = [record for record in records if usable(record, options)]
    if options.classes == "fracture":
        plans = plan_slices(
            able, options.ratio, options.added, options.seed, options.unannotated_as_negative, options.most_per_study
        )
    else:
        plans = [StudySlices(record) for record in sorted(able, key=lambda record: record.id)]
    if not plans:
        needed = "slices known to show a fracture" if options.classes == "fracture" else "the masks that are needed"
        message = f"None of the {len(records)} studies has {needed}; choose other studies or other classes."
        raise UserError(message)
    _check_splits({str(record.split) for record in records}, {str(plan.record.split) for plan in plans})
    return plans


def _all_images(
    plans: list[StudySlices], part: Path, options: ImageOptions, place: Place, on_progress: Progress
) -> list[LabelledImage]:
    """The images of all studies, sorted by file; a study with too few negatives leaves the rest to the next ones."""
    images: list[LabelledImage] = []
    owed: dict[str | None, int] = {}
    for done, plan in enumerate(plans):
        on_progress(done, len(plans))
        split, note = plan.record.split, part / _DONE / f"{slice_name(plan.record.id, 0)}.json"
        wanted = plan.negatives + owed.get(split, 0)
        made = _noted(note)
        if made is None:
            made = make_images(plan.record, wanted, part, options, place)
            write_text_atomically(json.dumps([asdict(image) for image in made]), note)
        owed[split] = wanted - sum(not image.boxes for image in made)
        images += made
    on_progress(len(plans), len(plans))
    return sorted(images, key=lambda image: image.file)


def _noted(note: Path) -> list[LabelledImage] | None:
    """The images of a study that was finished in an earlier run."""
    if not note.is_file():
        return None
    entries = json.loads(note.read_text(encoding="utf-8"))
    return [
        LabelledImage(
            **{**entry, "strata": tuple(entry["strata"]), "boxes": tuple(ClassBox(**box) for box in entry["boxes"])}
        )
        for entry in entries
    ]


def _prepare(out: Path, part: Path, fingerprint: str) -> None:
    """Make ``part`` ready: keep that of the same run, clear that of another one, refuse what is not ours."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"'{out}' exists and is not an empty folder; remove it or choose another one with --output."
        raise UserError(message)
    plan = part / _PLAN
    if part.exists() and not plan.is_file():
        message = f"'{part}' is in the way and was not left by an unfinished run of this command; remove it."
        raise UserError(message)
    if part.exists() and plan.read_text(encoding="utf-8") != fingerprint:
        shutil.rmtree(part)
    (part / _DONE).mkdir(parents=True, exist_ok=True)
    write_text_atomically(fingerprint, plan)


def _fingerprint(plans: list[StudySlices], options: ImageOptions, kind: str) -> str:
    """Changes with anything that changes the images, except the voxels."""
    studies = [
        (one.id, one.group, one.split, plan.negatives, [vars(box) for box in shown_boxes(one, options)])
        for plan in plans
        for one in [plan.record]
    ]
    return hashlib.sha256(json.dumps([kind, asdict(options), studies], default=float).encode()).hexdigest()


def _check_splits(wanted: set[str], present: set[str]) -> None:
    """Raise ``UserError`` where a split has no images."""
    lacking = sorted(wanted - present)
    if lacking:
        message = (
            f"The split '{lacking[0]}' would have no images: too few studies have what is to be shown; "
            f"add some or choose another split."
        )
        raise UserError(message)
