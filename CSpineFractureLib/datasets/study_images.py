"""The training images of one study: which slices, which boxes, drawn in which window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.labelled_image import CLASSES, ClassBox, LabelledImage
from CSpineFractureLib.datasets.record import SliceBox, StudyRecord
from CSpineFractureLib.datasets.sampling import (
    at_most,
    draw_slices,
    gives_negatives,
    study_stream,
)
from CSpineFractureLib.datasets.slice_image import SUFFIXES, painter, write_image
from CSpineFractureLib.datasets.splits import shares_of, slice_splits
from CSpineFractureLib.datasets.vertebra_boxes import slices_with_vertebrae, vertebra_boxes
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import CTVolume

Place = Callable[[LabelledImage], str]


@dataclass(frozen=True)
class ImageOptions:
    """What the images show; raises ``UserError`` where options do not exist or fit together.

    Parameters
    ----------
    classes
        ``vertebrae`` (boxes from masks), ``fracture`` (fracture boxes, one class) or ``both``.
    window
        See ``slice_image.painter``.
    image_format
        ``png`` or ``jpeg``.
    negatives
        Slices without a box per slice with one: for fractures slices known to have none, otherwise slices of the same
        study that show none of C1-C7. ``None``: 1 for fractures, else 0.
    added
        Instead, for fractures: so many fracture-free slices in all (document 004, section 2.6).
    least_pixels
        Vertebrae of fewer pixels in a slice get no box.
    seed
        Of all drawing.
    unannotated_as_negative
        The flaw of document 000, see ``sampling``.
    slice_ratios
        The leak of document 000: slices, not studies, are split, in these ratios; see ``splits.slice_splits``.
    most_per_study
        At most so many slices with boxes of each study, drawn by ``seed``; for small sets. ``None``: all.
    """

    classes: str = "vertebrae"
    window: str = "500/2000"
    image_format: str = "png"
    negatives: float | None = None
    added: int | None = None
    least_pixels: int = 1
    seed: int = 0
    unannotated_as_negative: bool = False
    slice_ratios: str | None = None
    most_per_study: int | None = None

    def __post_init__(self) -> None:
        painter(str(self.window))
        for key, kinds, least in (
            ("negatives", (int, float), 0),
            ("added", int, 0),
            ("least_pixels", int, 1),
            ("most_per_study", int, 1),
        ):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, kinds) and least <= value < math.inf):
                message = f"data.{key} is {value!r}: give a number from {least}."
                raise UserError(message)
        for value, known in ((self.classes, CLASSES), (self.image_format, SUFFIXES)):
            if value not in known:
                message = f"'{value}' is not known; give one of {', '.join(known)}."
                raise UserError(message)
        if self.slice_ratios is not None:
            shares_of(self.slice_ratios)
        if self.added is not None and (self.negatives is not None or self.classes != "fracture"):
            message = "A number of added slices goes with the class fracture alone, and without a ratio of negatives."
            raise UserError(message)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their ids."""
        return CLASSES[self.classes]

    @property
    def ratio(self) -> float:
        """Negatives per positive."""
        return self.negatives if self.negatives is not None else float(self.classes == "fracture")


def usable(record: StudyRecord, options: ImageOptions) -> bool:
    """Whether a study has what the images need: a mask for vertebrae, labelled slices for fractures."""
    labelled = record.boxes is not None or gives_negatives(record, options.unannotated_as_negative)
    masked = record.load_levels is not None
    return {"vertebrae": masked, "fracture": labelled, "both": masked and labelled}[options.classes]


def shown_boxes(record: StudyRecord, options: ImageOptions) -> Sequence[SliceBox]:
    """The fracture boxes that belong on the images; reading them may take headers of all slices."""
    return () if options.classes == "vertebrae" else record.boxes or ()


def make_images(
    record: StudyRecord, negatives: int, folder: Path, options: ImageOptions, place: Place
) -> list[LabelledImage]:
    """Write the images of one study below ``folder`` and tell what they show.

    ``negatives`` is how many slices without a box are wanted of a fracture set; there may be fewer. ``place`` names
    the file of an image without its ending. Raises ``UserError`` where boxes or mask do not fit the volume.
    """
    volume = record.load_volume()
    height, width = volume.shape_kji[1:]
    boxes, free = _boxes_and_free(record, volume.shape_kji, options)
    positives = at_most((k for k in boxes if boxes[k]), options.most_per_study, record.id, options.seed)
    wanted = negatives if options.classes == "fracture" else round(options.ratio * len(positives))
    chosen = sorted({*positives, *draw_slices(free, wanted, record.id, options.seed)})
    splits = [record.split or ""] * len(chosen)
    if options.slice_ratios is not None:
        splits = slice_splits(len(chosen), options.slice_ratios, study_stream(options.seed, record.id, 1))
    paint, made = painter(options.window), []
    below, kinds = _below_top(volume), _kinds(record)
    for k, split in zip(chosen, splits, strict=True):
        image = LabelledImage("", record.id, record.group, split, k, width, height, tuple(boxes[k]))
        image = replace(image, from_top_mm=float(below[k]), ratio=float(below[k] / max(below.max(), 1e-6)))
        image = replace(image, strata=(*sorted(kinds.get(k, ())), *({"mimics"} & {*record.strata})))
        image = replace(image, file=place(image) + SUFFIXES[options.image_format])
        path = folder / image.file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(paint(volume.hu[k]), path)
        made.append(image)
    return made


def _boxes_and_free(
    record: StudyRecord, shape_kji: tuple[int, int, int], options: ImageOptions
) -> tuple[dict[int, list[ClassBox]], set[int]]:
    """The boxes of each slice, and the slices that show nothing of the classes."""
    slices, height, width = shape_kji
    boxes: dict[int, list[ClassBox]] = {k: [] for k in range(slices)}
    free = set(boxes)
    if options.classes != "fracture":
        levels = record.load_levels()
        if levels.shape != shape_kji:
            message = (
                f"Study '{record.id}' has a mask of {_times(levels.shape)} voxels for a CT of {_times(shape_kji)}; "
                f"give it the mask of this CT."
            )
            raise UserError(message)
        for k in map(int, np.flatnonzero(slices_with_vertebrae(levels))):
            boxes[k] += vertebra_boxes(levels[k], options.least_pixels)
            free.discard(k)
    for box in shown_boxes(record, options):
        if not 0 <= box.k < slices:
            message = (
                f"Study '{record.id}' has a fracture box in slice {box.k}, but {slices} slices; "
                f"correct its boxes or copy its missing slices."
            )
            raise UserError(message)
        inside = ClassBox("fracture", box.x, box.y, box.width, box.height).clipped(width, height)
        boxes[box.k] += [inside] if inside else []
        free.discard(box.k)
    return boxes, free


def _below_top(volume: CTVolume) -> np.ndarray:
    """How far each slice lies below the highest one, in mm; ``[k]``."""
    heights = volume.ijk_to_ras[2, 2] * np.arange(volume.shape_kji[0])
    return heights.max() - heights


def _kinds(record: StudyRecord) -> dict[int, set[str]]:
    """Which kinds of fractures each slice shows, as far as known."""
    kinds: dict[int, set[str]] = {}
    for box in record.boxes or ():
        kinds.setdefault(box.k, set()).update({box.kind} - {None})
    return kinds


def _times(shape_kji: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in reversed(shape_kji))
