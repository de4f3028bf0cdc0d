"""Reviewed studies as the segmentation learns from them: the column alone, and no slices below what was named.

Masks that the column locator made (``cspine dataset sound``) have specks of vertebra in the skull and end somewhere in
the thorax. Neither may be learnt.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from CSpineFractureLib.datasets.corrections import read_corrections
from CSpineFractureLib.datasets.mask_slices import THORACIC
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.volume import CTVolume
from CSpineFractureLib.volume.canonical import CanonicalView

GAP_MM = 5.0
"""Pieces of the column lie nearer to each other than this."""
LEAST_SHARE = 0.3
"""Smaller pieces of a level, by its largest one, are specks."""
NEIGHBOURS = np.ones((3, 3, 3), bool)


def reviewed_columns(root: Path) -> list[StudyRecord]:
    """The reviewed studies below ``root`` that have a mask. Raises ``UserError`` where there are none at all."""
    return [_cleaned(record) for record in read_corrections(root) if record.load_levels is not None]


def column_alone(levels: np.ndarray, spacing_kji: tuple[float, float, float]) -> np.ndarray:
    """Names uint8 ``[k, j, i]`` without what hangs together with neither the column nor the largest part of its level.

    ``spacing_kji`` in mm.
    """
    found = np.minimum(levels, THORACIC).astype(np.uint8)
    reach = tuple(2 * max(1, round(GAP_MM / 2 / mm)) + 1 for mm in spacing_kji)
    parts, count = ndimage.label(ndimage.maximum_filter(found > 0, reach), NEIGHBOURS)
    if count > 1:
        found[parts != np.bincount(parts[found > 0], minlength=count + 1).argmax()] = 0
    for number, place in enumerate(ndimage.find_objects(found), start=1):
        if place is None:
            continue
        pieces, _ = ndimage.label(found[place] == number, NEIGHBOURS)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        found[place][(pieces > 0) & (sizes < LEAST_SHARE * sizes.max())[pieces]] = 0
    return found


def named_slices(levels: np.ndarray, up: int) -> slice:
    """The slices down to the lowest one with a name; all where the mask ends above the thorax.

    ``up`` is 1 where slices are stored from feet to head, else -1.
    """
    shown = np.flatnonzero((levels > 0).any(axis=(1, 2)))
    if not len(shown) or levels.max() < THORACIC:
        return slice(0, len(levels))
    return slice(int(shown[0]), len(levels)) if up > 0 else slice(0, int(shown[-1]) + 1)


def _cleaned(record: StudyRecord) -> StudyRecord:
    def both() -> tuple[CTVolume, np.ndarray]:
        volume = record.load_volume()
        spacing = np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)[::-1]
        levels = column_alone(np.asarray(record.load_levels()), tuple(spacing))
        axis = CanonicalView.of(volume).order[0]  # the stored one that runs along the body
        column = 2 - axis
        part = named_slices(np.moveaxis(levels, axis, 0), 1 if volume.ijk_to_ras[2, column] >= 0 else -1)
        place = tuple(part if n == axis else slice(None) for n in range(3))
        matrix = volume.ijk_to_ras.copy()
        matrix[:3, 3] += matrix[:3, column] * part.start
        return CTVolume(np.ascontiguousarray(volume.hu[place]), matrix), levels[place]

    return replace(record, load_volume=lambda: both()[0], load_levels=lambda: both()[1])
