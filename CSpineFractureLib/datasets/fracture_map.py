"""Where the fractures of a study lie, voxel by voxel, with the patient always lying the same way."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.datasets.vertebra_places import LyingStudy


def fracture_map(record: StudyRecord, study: LyingStudy) -> np.ndarray | None:
    """uint8 ``[k, j, i]`` in canonical order: the number of the fractured level (1-7) where a fracture lies, else 0.

    As the study draws its fractures, else the boxes of its slices (inside the vertebra, where there is a mask).
    ``None`` where the study has fractures but does not tell where, or not of which level. Raises ``UserError`` where
    its mask does not fit the CT.
    """
    if record.load_fractures is not None:
        return study.as_lying(record.load_fractures())
    found = np.zeros(study.hu.shape, np.uint8)
    if record.negative:
        return found
    if record.boxes is None or any(box.level not in LEVELS for box in record.boxes):
        return None
    for box in record.boxes:
        _fill(found, box, study)
    return found


def _fill(found: np.ndarray, box: SliceBox, study: LyingStudy) -> None:
    """Put the number of a box's level where the box lies."""
    corners = np.array([[box.x, box.y, box.k], [box.x + box.width, box.y + box.height, box.k + 1]], float) - 0.5
    low, high = np.sort(study.from_stored(corners), axis=0) + 0.5
    place = tuple(
        slice(max(0, round(start)), max(0, round(stop))) for start, stop in zip(low[::-1], high[::-1], strict=True)
    )
    number = LEVELS.index(box.level) + 1
    inside = study.labels[place] == number
    found[place][inside if inside.any() else np.ones_like(inside)] = number
