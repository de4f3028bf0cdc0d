"""RSNA-2022 (cervical spine fracture detection) as study records, read as the competition ships it.

Opening a tree reads its two tables and lists its folders. Headers, pixels and masks are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from CSpineFractureLib.datasets.dicom_grid import DicomGrid, dicom_grid
from CSpineFractureLib.datasets.nifti_mask import onto_grid, read_mask, uncovered_mm
from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.datasets.rsna_tables import (
    BOX_TABLE,
    HIGHEST_LABEL,
    IMAGES,
    LABEL_TABLE,
    MASKS,
    BoxRow,
    read_boxes,
    read_labels,
)
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import read_volume

CHECK = "run 'cspine dataset check' for all that is wrong"


def read_rsna(root: Path) -> list[StudyRecord]:
    """The labelled studies of an RSNA-2022 tree, in the order of ``train.csv``.

    A study without a folder below ``train_images`` is left out (few have room for all 2019); a missing folder of masks
    or table of boxes is no fault. ``boxes`` of a record is a lazy sequence, ``None`` for a study without boxes. The
    patient is the study itself: RSNA-2022 has one study of each.

    Raises
    ------
    UserError
        Where ``train.csv`` is missing or wrong, ``patient_overall`` disagrees with the levels, or no study is there.
    """
    labels, faults = read_labels(root)
    boxes, box_faults = read_boxes(root)
    faults += [row.fault for row in labels if row.fault] + box_faults
    if faults:
        message = f"'{root}': {faults[0].rstrip('.')} ({CHECK})."
        raise UserError(message)
    rows_of: dict[str, list[BoxRow]] = {}
    for box in boxes:
        rows_of.setdefault(box.uid, []).append(box)
    records = []
    for row in labels:
        series, mask = root / IMAGES / row.uid, root / MASKS / f"{row.uid}.nii"
        if not series.is_dir():
            continue
        mask = mask if mask.is_file() else None
        rows = rows_of.get(row.uid)
        records.append(
            StudyRecord(
                id=row.uid,
                load_volume=partial(read_volume, series),
                load_levels=partial(rsna_levels, series, mask) if mask else None,
                fractured=row.fractured,
                boxes=RsnaBoxes(rows, series, mask, row.fractured) if rows else None,
            )
        )
    if not records:
        message = f"'{root / IMAGES}' has no folder of a study of {LABEL_TABLE}; copy the DICOM folders there."
        raise UserError(message)
    return records


def rsna_levels(series: Path, mask: Path) -> np.ndarray:
    """The vertebra mask on the grid of ``read_volume(series)``: uint8 ``[k, j, i]``, 1-7 = C1-C7, 8-19 = T1-T12.

    RSNA-2022 stores masks in other axis orders and directions than the CT; the affine alone says how they belong
    together. Where the grids coincide up to that, voxels are only rearranged. Raises ``UserError`` for a damaged mask,
    labels above 19, and a mask that does not cover the slices.
    """
    return _levels_on(dicom_grid(series), mask)


def _levels_on(grid: DicomGrid, mask: Path) -> np.ndarray:
    labels, place = read_mask(mask)
    if labels.max() > HIGHEST_LABEL:
        message = f"'{mask}' has label {labels.max()}; RSNA-2022 has 0 to {HIGHEST_LABEL}: correct or remove the mask."
        raise UserError(message)
    beyond = uncovered_mm(place, grid.corners_ras())
    if beyond:
        message = f"'{mask}' does not cover its CT (by {beyond:.0f} mm): it belongs to another series; remove it."
        raise UserError(message)
    return onto_grid(labels, place, grid.ijk_to_ras, grid.shape_kji)


class RsnaBoxes(Sequence):
    """The boxes of one study as ``SliceBox``, on the grid of its volume; headers and mask are read at first use.

    The number of boxes is known at once. Raises ``UserError`` at first use for a box on a slice that does not exist.
    """

    def __init__(self, rows: list[BoxRow], series: Path, mask: Path | None, fractured: dict[str, bool]) -> None:
        self._rows, self._series, self._mask = rows, series, mask
        self._levels = [level for level, yes in fractured.items() if yes]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice) -> SliceBox | list[SliceBox]:
        return self._boxes[index]

    @cached_property
    def _boxes(self) -> list[SliceBox]:
        grid = dicom_grid(self._series)
        missing = [row for row in self._rows if row.slice_number not in grid.planes]
        if missing:
            message = (
                f"{BOX_TABLE}, line {missing[0].line}: '{self._series}' has no readable slice "
                f"{missing[0].slice_number}; correct the row ({CHECK})."
            )
            raise UserError(message)
        boxes = [
            SliceBox(*grid.box_on_grid(row.slice_number, row.x, row.y, row.width, row.height)) for row in self._rows
        ]
        return _with_levels(boxes, self._levels, grid, self._mask)


def _with_levels(boxes: list[SliceBox], fractured: list[str], grid: DicomGrid, mask: Path | None) -> list[SliceBox]:
    """The level of each box, in ``train.csv``'s words where it knows but one fractured level.

    Among several fractured levels (all of C1-C7 where the table knows none) the mask decides: the level with most
    voxels in the box, else that whose middle lies nearest. Without a mask the level stays ``None``.
    """
    if len(fractured) == 1:
        return [_levelled(box, fractured[0]) for box in boxes]
    if mask is None:
        return boxes
    labels = _levels_on(grid, mask)
    wanted = [n for n, level in enumerate(LEVELS, start=1) if level in (fractured or LEVELS) and (labels == n).any()]
    if not wanted:
        return boxes
    middles = np.array(ndimage.center_of_mass(labels > 0, labels, wanted))
    spacing = np.linalg.norm(grid.ijk_to_ras[:3, :3], axis=0)[::-1]
    return [_levelled(box, LEVELS[_best(box, labels, wanted, middles, spacing) - 1]) for box in boxes]


def _best(box: SliceBox, labels: np.ndarray, wanted: list[int], middles: np.ndarray, spacing: np.ndarray) -> int:
    rows = slice(max(0, round(box.y)), max(0, round(box.y + box.height)))
    columns = slice(max(0, round(box.x)), max(0, round(box.x + box.width)))
    inside = np.bincount(labels[box.k, rows, columns].ravel(), minlength=HIGHEST_LABEL + 1)[wanted]
    if inside.any():
        return wanted[int(np.argmax(inside))]
    middle = np.array([box.k, box.y + (box.height - 1) / 2, box.x + (box.width - 1) / 2])
    return wanted[int(np.argmin(np.linalg.norm((middles - middle) * spacing, axis=1)))]


def _levelled(box: SliceBox, level: str) -> SliceBox:
    return SliceBox(box.k, box.x, box.y, box.width, box.height, level)
