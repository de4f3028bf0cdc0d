"""Slices as plain pictures: class folders for the classifier of document 000, or a table of levels (004).

``fracture``: ``<split>/fracture`` and ``<split>/normal``. ``vertebrae``: ``images/<split>``; which of C1-C7 a slice
shows stands in ``slices.csv``. ``both``: as ``vertebrae``, with a column for fractures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from CSpineFractureLib.datasets.image_tree import write_images
from CSpineFractureLib.datasets.labelled_image import LabelledImage, slice_name
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.datasets.yolo import image_place


def write_slice_folders(
    records: Iterable[StudyRecord],
    out: Path,
    options: ImageOptions | None = None,
    on_progress: Progress = no_progress,
) -> list[LabelledImage]:
    """Write slices of split ``records`` to ``out``; raises ``UserError`` as ``write_images`` does."""
    options = options or ImageOptions(classes="fracture")
    place = _class_place if options.classes == "fracture" else image_place
    return write_images(records, out, options, "png", place, lambda root, images: None, on_progress)


def _class_place(image: LabelledImage) -> str:
    kind = "fracture" if image.boxes else "normal"
    return f"{image.split}/{kind}/{slice_name(image.study, image.k)}"
