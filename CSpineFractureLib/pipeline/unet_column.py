"""Where the column lies in each slice, for a segmentation network that takes squares around it.

The column locator (``column_search``, ``locate``) finds it, and names its levels on the way. Without its weights, or
where it finds no level, there are no squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.models.column_square import SquareOnSlice
from CSpineFractureLib.pipeline.column_search import LOCATOR, ColumnMap, map_column
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.locate import LocatedLevel, at_discs, bodies_of, with_slabs
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import GRID_MM, from_coarse

NOTHING_SEEN = np.zeros((0, 8)), np.zeros(0)
"""Evidence of other networks for the names, and the heights it is of."""
BONE = 128
"""Of 255: what the map takes for a vertebra."""
CALM_MM = 24.0
"""The middle of a slice is the median over so much height."""
ABOVE_MM, BELOW_MM = 14.0, 30.0
"""How far over the first level and under the last one the network looks: the dens and condyles, spinous processes."""


@dataclass(frozen=True)
class LocatedColumn:
    """The levels from top to bottom, the map brought to them, and the middle j, i ``[k, 2]`` of the column in each
    canonical slice; ``slices`` are the lowest and highest that may show a level."""

    levels: list[LocatedLevel]
    map: ColumnMap
    middles: np.ndarray
    slices: tuple[int, int]

    def square(self, view: CanonicalView, k: int, size: int, spacing_mm: float) -> SquareOnSlice:
        """The square around the column in canonical slice ``k``."""
        pixel_mm = view.spacing_mm[1], view.spacing_mm[0]
        return SquareOnSlice(view.hu.shape[1:], pixel_mm, tuple(self.middles[k]), size, spacing_mm)


def find_column(view: CanonicalView, context: RunContext) -> LocatedColumn | None:
    """The column of a volume, ``None`` where no level is found. Raises ``UserError`` without weights of the locator."""
    context.entry(LOCATOR)
    column = map_column(view, context)
    if column is None:
        return None
    bodies = bodies_of(column, view, *NOTHING_SEEN)
    levels, moved = at_discs(with_slabs(*bodies), column, view)
    middles = _middles(moved, view)
    if not levels or middles is None:
        return None
    context.warn(
        "neck-not-confirmed",
        "The levels rest on one network alone: a scan that shows no neck may be given levels, too.",
    )
    ends = [
        [*level.center_ras[:2], s]
        for level, s in ((levels[0], levels[0].slab_s[1] + ABOVE_MM), (levels[-1], levels[-1].slab_s[0] - BELOW_MM))
    ]
    top, bottom = np.clip(np.rint(view.ijk_of(np.array(ends))[:, 2]).astype(int), 0, len(view.hu) - 1)
    return LocatedColumn(levels, moved, middles, (int(min(top, bottom)), int(max(top, bottom))))


def _middles(column: ColumnMap, view: CanonicalView) -> np.ndarray | None:
    """float ``[k, 2]``: the middle of the map's bone in each canonical slice; beyond the map that of its end."""
    bone = (column.classes[1:] >= BONE).any(axis=0)
    rows, middles = [], []
    for k, plane in enumerate(bone):
        j, i = np.nonzero(plane)
        if len(j):
            rows.append(k)
            middles.append([(j.min() + j.max()) / 2, (i.min() + i.max()) / 2])
    if not rows:
        return None
    reach = 2 * round(CALM_MM / GRID_MM[0] / 2) + 1
    calm = ndimage.median_filter(np.array(middles), (reach, 1), mode="nearest")
    kji = np.column_stack([rows, calm]) + column.corner
    stored = from_coarse(kji, view.spacing_mm)
    order, at = np.argsort(stored[:, 0]), np.arange(len(view.hu))
    return np.column_stack([np.interp(at, stored[order, 0], stored[order, axis]) for axis in (1, 2)])
