"""Synthetic studies read back for training: axial slices with masks, at the networks' pixel sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.files import CT_FILE, FRACTURE_FILE, LABEL_FILE, TRUTH_FILE
from CSpineFractureLib.volume.canonical import CanonicalView

THORACIC = 8


@dataclass
class TrainingStudy:
    """One study: ``hu`` int16, ``labels`` uint8 (1-7 cervical, 8 thoracic), ``fracture`` uint8, all ``[k, j, i]``.

    ``pixel_mm`` is the in-plane pixel size, ``slice_mm`` the slice spacing; ``centres`` is ``[k, 2]``, the middle of
    the column (column i, row j) in every slice, interpolated where a slice has no vertebra. ``labelled`` says whether
    slices without a fracture are known to have none.
    """

    name: str
    hu: np.ndarray
    labels: np.ndarray
    fracture: np.ndarray
    pixel_mm: float
    slice_mm: float
    centres: np.ndarray
    labelled: bool = True


def load_studies(root: Path, on_progress: Callable[[int, int], None] = lambda done, total: None) -> list[TrainingStudy]:
    """Read every study folder below ``root``, sorted by name; raises UserError when there is none."""
    folders = sorted(p.parent for p in root.glob(f"*/{TRUTH_FILE}"))
    if not folders:
        message = f"{root}: holds no synthetic studies; make some with 'cspine phantom -o {root} --n 100'."
        raise UserError(message)
    studies = []
    for n, folder in enumerate(folders):
        try:
            image, *masks = (sitk.ReadImage(str(folder / name)) for name in (CT_FILE, LABEL_FILE, FRACTURE_FILE))
        except RuntimeError as error:
            message = f"{folder}: a file of this study is missing or damaged; delete the folder and make it again."
            raise UserError(message) from error
        hu, labels, fracture = (sitk.GetArrayFromImage(one) for one in (image, *masks))
        labels, fracture = np.minimum(labels, THORACIC), (fracture > 0).astype(np.uint8)
        spacing = image.GetSpacing()
        studies.append(TrainingStudy(folder.name, hu, labels, fracture, spacing[0], spacing[2], _centres(labels)))
        on_progress(n + 1, len(folders))
    return studies


def load_records(
    records: list[StudyRecord], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[TrainingStudy]:
    """Studies of any source that have a vertebra mask; fractures are where their boxes lie, as nothing finer is known.

    Slices are those of the canonical view, as the networks see them when they run, whatever the file's axes.

    Raises UserError when none has a mask.
    """
    able, studies = [record for record in records if record.load_levels is not None], []
    if not able:
        message = f"None of the {len(records)} studies has a vertebra mask: choose studies that have one."
        raise UserError(message)
    for n, record in enumerate(able):
        volume, labels = record.load_volume(), np.minimum(record.load_levels(), THORACIC).astype(np.uint8)
        fracture = np.zeros(labels.shape, np.uint8)
        for box in record.boxes or ():
            if not 0 <= box.k < len(labels):
                message = f"Study '{record.id}' has a fracture box in slice {box.k}, but {len(labels)}: correct it."
                raise UserError(message)
            rows = slice(max(0, round(box.y)), max(0, round(box.y + box.height)))
            columns = slice(max(0, round(box.x)), max(0, round(box.x + box.width)))
            fracture[box.k, rows, columns] = labels[box.k, rows, columns] > 0
        views = [CanonicalView.of(replace(volume, hu=a.astype(np.int16))) for a in (volume.hu, labels, fracture)]
        wide, tall, slice_mm = views[0].spacing_mm
        pixel = min(wide, tall)
        ways = ((np.int16, cv2.INTER_LINEAR), (np.uint8, cv2.INTER_NEAREST), (np.uint8, cv2.INTER_NEAREST))
        hu, labels, fracture = (
            _square_pixels(np.ascontiguousarray(view.hu, kind), wide / pixel, tall / pixel, way)
            for view, (kind, way) in zip(views, ways, strict=True)
        )
        labelled = record.slices_are_labelled
        studies.append(TrainingStudy(record.id, hu, labels, fracture, pixel, slice_mm, _centres(labels), labelled))
        on_progress(n + 1, len(able))
    return studies


def _square_pixels(array: np.ndarray, wide: float, tall: float, way: int) -> np.ndarray:
    """Slices ``[k, j, i]`` with so many pixels for one, along i and j."""
    if max(wide, tall) < 1.01:
        return array
    size = (max(1, round(array.shape[2] * wide)), max(1, round(array.shape[1] * tall)))
    return np.stack([cv2.resize(plane, size, interpolation=way) for plane in array])


def sound_only(records: list[StudyRecord], root: Path) -> list[StudyRecord]:
    """The records, if all are known to be free of fractures; else raises UserError, which names ``root``."""
    for record in records:
        if not record.negative or record.boxes:
            message = f"Study '{record.id}' in '{root}' is not known to be free of fractures: leave it out."
            raise UserError(message)
    return records


def split_studies(studies: list[TrainingStudy], share: float = 0.2) -> tuple[list[TrainingStudy], list[TrainingStudy]]:
    """Training and validation studies; every fifth goes to validation, never single slices of a study."""
    step = max(2, round(1 / share))
    return [s for n, s in enumerate(studies) if n % step], [s for n, s in enumerate(studies) if n % step == 0]


def warp(
    image: np.ndarray,
    centre: np.ndarray,
    pixel_in: float,
    pixel_out: float,
    size: int,
    angle_deg: float = 0.0,
    flip: bool = False,
    scale: float = 1.0,
    nearest: bool = False,
    fill: float = -1024,
) -> np.ndarray:
    """Cut a square of ``size`` pixels of ``pixel_out`` mm around ``centre`` (column, row), turned, scaled, mirrored."""
    zoom = pixel_in / pixel_out * scale
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle_deg, zoom)
    matrix[:, 2] += (size - 1) / 2 - np.asarray(centre, float)
    if flip:
        matrix[0] *= -1
        matrix[0, 2] += size - 1
    mode = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpAffine(image, matrix, (size, size), flags=mode, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)


def boxes_of(mask: np.ndarray, least_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes from masks as in document 000: one per label, ``(n, 4)`` xyxy pixels (edges), and ``(n,)`` labels."""
    boxes, labels = [], []
    for label in np.unique(mask):
        if label == 0:
            continue
        rows, columns = np.nonzero(mask == label)
        if len(rows) < least_pixels:
            continue
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        labels.append(int(label))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def _centres(labels: np.ndarray) -> np.ndarray:
    """Middle of the vertebra pixels per slice, ``[k, (column, row)]``, held constant beyond the ends."""
    have, middle = [], []
    for k in range(len(labels)):
        rows, columns = np.nonzero(labels[k])
        if len(rows) > 20:
            have.append(k)
            middle.append([(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2])
    if not have:
        return np.tile(np.array(labels.shape[:0:-1], float) / 2, (len(labels), 1))
    middle = np.array(middle)
    return np.stack([np.interp(np.arange(len(labels)), have, middle[:, axis]) for axis in (0, 1)], axis=1)
