"""What is wrong in an RSNA-2022 tree, one sentence for each fault; of DICOM files only the headers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.dicom_grid import scan_series
from CSpineFractureLib.datasets.nifti_mask import MaskGrid, mask_grid, read_mask, rearrangement
from CSpineFractureLib.datasets.rsna_tables import (
    BOX_TABLE,
    HIGHEST_LABEL,
    IMAGES,
    LABEL_TABLE,
    MASKS,
    BoxRow,
    LabelRow,
    read_boxes,
    read_labels,
)
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.dicom_geometry import groups_at_same_place, layout_of, ordered
from CSpineFractureLib.volume.dicom_scan import Scan
from CSpineFractureLib.volume.dicom_slice import DicomSlice

GAP = 1.5
"""From this multiple of the usual distance on, a slice is missing between two."""
NAMED = 5
EDGE_PIXELS = 0.5
"""Boxes may reach over the image's edge by so much: the tables are rounded."""


def check_rsna(root: Path, on_progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Everything that is wrong in the tree below ``root``, one plain sentence each; empty where all is well.

    Looked for: missing or unreadable slices, studies without folder or row, masks of another size or place than their
    series or with labels above 19, boxes outside the image, on missing slices or in studies without fracture,
    ``patient_overall`` against the levels, rows that cannot be read. ``on_progress`` hears of each study. Raises
    ``UserError`` where ``root`` holds no RSNA-2022 tree at all.
    """
    if not (root / IMAGES).is_dir():
        message = f"'{root}' has no folder '{IMAGES}'; give the folder of an RSNA-2022 data set."
        raise UserError(message)
    labels, faults = _table(lambda: read_labels(root))
    boxes, box_faults = _table(lambda: read_boxes(root))
    faults += box_faults + [row.fault for row in labels if row.fault]
    folders = {folder.name for folder in (root / IMAGES).iterdir() if folder.is_dir()}
    masks = {path.name.removesuffix(".nii") for path in (root / MASKS).glob("*.nii")}
    rows = {row.uid: row for row in labels}
    faults += _strangers(rows, folders, masks, boxes)
    boxes_of: dict[str, list[BoxRow]] = {}
    for box in boxes:
        boxes_of.setdefault(box.uid, []).append(box)
    studies = sorted(folders)
    for done, uid in enumerate(studies, start=1):
        mask = root / MASKS / f"{uid}.nii" if uid in masks else None
        faults += _study_faults(root / IMAGES / uid, mask, boxes_of.get(uid, []), rows.get(uid))
        on_progress(done, len(studies))
    return faults


def _table(read: Callable[[], tuple[list, list[str]]]) -> tuple[list, list[str]]:
    try:
        return read()
    except UserError as error:
        return [], [str(error)]


def _strangers(rows: dict[str, LabelRow], folders: set[str], masks: set[str], boxes: list[BoxRow]) -> Iterator[str]:
    """Studies that are named in one place and missing in another."""
    for uid, row in rows.items():
        if uid not in folders:
            yield f"{LABEL_TABLE}, line {row.line}: {IMAGES}/{uid} does not exist; copy the study or remove the row."
    for uid in sorted(folders - set(rows)):
        yield f"{IMAGES}/{uid} has no row in {LABEL_TABLE}; add its labels or remove the folder."
    for uid in sorted(masks - folders):
        yield f"{MASKS}/{uid}.nii has no folder {IMAGES}/{uid}; copy the study or remove the mask."
    lines = {box.uid: box.line for box in reversed(boxes) if box.uid not in folders}
    for uid, line in sorted(lines.items(), key=lambda item: item[1]):
        yield f"{BOX_TABLE}, line {line}: {IMAGES}/{uid} does not exist; copy the study or remove its boxes."


def _study_faults(folder: Path, mask: Path | None, boxes: list[BoxRow], row: LabelRow | None) -> Iterator[str]:
    name = f"{folder.parent.name}/{folder.name}"
    try:
        scan = scan_series(folder)
    except UserError as error:
        yield str(error)
        return
    faults = list(_slice_faults(folder, name, scan))
    yield from faults
    planes = {int(plane.path.stem): plane for plane in scan.planes if plane.path.stem.isdecimal()}
    yield from _box_faults(name, boxes, planes, row)
    if mask is not None:
        whole = [] if faults else list(planes.values())  # a mask cannot be held against slices that are not there
        yield from _mask_faults(f"{mask.parent.name}/{mask.name}", mask, name, whole)


def _slice_faults(folder: Path, name: str, scan: Scan) -> Iterator[str]:
    """Files that are no CT slice, and gaps in the numbers or positions of those that are."""
    sound = {plane.path for plane in scan.planes}
    files = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    for path in sorted(files - sound, key=_natural):
        yield f"{name}/{path.relative_to(folder)} cannot be read as a CT slice; copy or export it again."
    strays = sorted(path.name for path in files if not path.stem.isdecimal())
    if strays:
        yield f"{name} has files without a slice number ('{strays[0]}'); name them 1.dcm, 2.dcm and so on."
    numbers = {int(path.stem) for path in files if path.stem.isdecimal()}
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - numbers)
    if missing:
        listed = ", ".join(map(str, missing[:NAMED])) + (" and more" if len(missing) > NAMED else "")
        count = f"{len(missing)} slice{'s' * (len(missing) > 1)}"
        yield f"{name} lacks {count} (number {listed}); copy the whole series again."
    if not numbers:
        yield f"{name} holds no slice; copy the series again."
    yield from _position_faults(name, scan.planes)


def _position_faults(name: str, planes: list[DicomSlice]) -> Iterator[str]:
    """Gaps that the numbers do not explain: where no file between the two is missing or unreadable."""
    if len(planes) < 3:
        return
    planes, along = ordered(planes)
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    numbers = {int(plane.path.stem) for plane in planes if plane.path.stem.isdecimal()}
    for (lower, upper), gap in zip(pairwise(planes), gaps, strict=True):
        ends = sorted(int(plane.path.stem) for plane in (lower, upper) if plane.path.stem.isdecimal())
        explained = len(ends) == 2 and not numbers.issuperset(range(ends[0], ends[1]))
        if gap > GAP * usual and not explained:
            yield (
                f"{name} lacks slices: {lower.path.name} and {upper.path.name} lie {gap:.1f} mm apart, others "
                f"{usual:.1f} mm; copy the whole series again."
            )


def _box_faults(name: str, boxes: list[BoxRow], planes: dict[int, DicomSlice], row: LabelRow | None) -> Iterator[str]:
    if boxes and row is not None and not row.overall and not any(row.fractured.values()):
        yield f"{BOX_TABLE}, line {boxes[0].line}: {row.uid} has no fracture in {LABEL_TABLE}; correct one of the two."
    for box in boxes:
        where, plane = f"{BOX_TABLE}, line {box.line}", planes.get(box.slice_number)
        if plane is None:
            yield f"{where}: {name} has no readable slice {box.slice_number}; correct slice_number."
        elif (
            min(box.width, box.height) <= 0
            or min(box.x, box.y) < -EDGE_PIXELS
            or box.x + box.width > plane.columns + EDGE_PIXELS
            or box.y + box.height > plane.rows + EDGE_PIXELS
        ):
            yield (
                f"{where}: the box lies outside its image of {plane.columns} x {plane.rows} pixels, or is empty; "
                f"correct x, y, width and height."
            )


def _mask_faults(label: str, path: Path, name: str, planes: list[DicomSlice]) -> Iterator[str]:
    try:
        yield from _place_faults(label, mask_grid(path), name, planes)
        values, _ = read_mask(path)
    except UserError as error:
        yield str(error)
        return
    highest = int(values.max())
    if highest > HIGHEST_LABEL:
        yield f"{label} has label {highest}, but RSNA-2022 has 0 to {HIGHEST_LABEL}; correct the mask."
    elif highest == 0:
        yield f"{label} is empty (no label above 0); remove it."


def _place_faults(label: str, grid: MaskGrid, name: str, planes: list[DicomSlice]) -> Iterator[str]:
    """Whether the mask's voxels are those of the series, in whatever order; of an irregular series only how many."""
    if len(planes) < 2:
        return
    layout = layout_of([group[-1] for group in groups_at_same_place(planes)])
    first = layout.planes[0]
    shape = (len(layout.planes), first.rows, first.columns)
    if sorted(shape) != sorted(grid.shape_kji):
        yield (
            f"{label} has {_times(grid.shape_kji)} voxels, but {name} has {_times(shape)}; replace the mask by that of "
            f"this series."
        )
    elif layout.regular:
        step = np.linalg.inv(grid.ijk_to_ras) @ layout.ijk_to_ras()
        if rearrangement(step, grid.shape_kji, shape) is None:
            yield f"{label} lies elsewhere in the patient than {name}; replace the mask by that of this series."


def _times(shape: tuple[int, int, int]) -> str:
    return " x ".join(str(n) for n in shape)


def _natural(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdecimal() else 0, path.name)
