"""Records to a folder of images: study by study, resumable, and whole or not at all (see ``part_folder``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from CSpineFractureLib.datasets.labelled_image import ClassBox, LabelledImage, slice_name, write_slice_table
from CSpineFractureLib.datasets.part_folder import Progress, no_progress, note_of, part_folder
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.sampling import StudySlices, plan_slices
from CSpineFractureLib.datasets.splits import check_groups, shares_of
from CSpineFractureLib.datasets.study_images import ImageOptions, Place, make_images, shown_boxes, usable
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically

Finish = Callable[[Path, list[LabelledImage]], None]


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
    with part_folder(out, _fingerprint(plans, options, kind)) as part:
        images = _all_images(plans, part, options, place, on_progress)
        ratios = options.slice_ratios
        splits = {str(plan.record.split) for plan in plans} if ratios is None else set(shares_of(ratios))
        _check_splits(splits, {image.split for image in images})
        write_slice_table(part, images, options.names)
        finish(part, images)
    return images


def plans_of(records: list[StudyRecord], options: ImageOptions) -> list[StudySlices]:
    """What each study gives. Raises ``UserError`` where that is nothing at all, or a split gets nothing."""
    if options.slice_ratios is None:
        check_groups(records)
    else:
        records = [replace(record, split=None) for record in records]
    able = [record for record in records if usable(record, options)]
    needed = "a slice known to show a fracture" if options.classes == "fracture" else "the masks that are needed"
    if options.classes == "fracture":
        plans = plan_slices(
            able, options.ratio, options.added, options.seed, options.unannotated_as_negative, options.most_per_study
        )
    else:
        plans = [StudySlices(record) for record in sorted(able, key=lambda record: record.id)]
    if not plans:
        message = f"None of the {len(records)} studies has {needed}: add studies that have."
        raise UserError(message)
    lacking = sorted({str(record.split) for record in records} - {str(plan.record.split) for plan in plans})
    if lacking:
        message = (
            f"The split '{lacking[0]}' would have no images, for none of its studies has {needed}: add studies that"
            " have, or choose another split."
        )
        raise UserError(message)
    return plans


def _all_images(
    plans: list[StudySlices], part: Path, options: ImageOptions, place: Place, on_progress: Progress
) -> list[LabelledImage]:
    """The images of all studies, sorted by file; a study with too few negatives leaves the rest to the next ones."""
    images: list[LabelledImage] = []
    owed: dict[str | None, int] = {}
    for done, plan in enumerate(plans):
        on_progress(done, len(plans))
        split, note = plan.record.split, note_of(part, slice_name(plan.record.id, 0))
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
