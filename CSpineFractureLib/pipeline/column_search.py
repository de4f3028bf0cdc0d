"""Where the column lies and what its levels are called, by the sagittal network; before any axial slice is read.

Two passes over a coarse grid (``volume.coarse_grid``): every fourth slice around the middle of the body shows where
the column is, then all slices within 30 mm of it are read. What comes out are candidates for the middles of the
bodies; ``name_bodies`` chooses those that follow each other as vertebrae do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import ndimage

from CSpineFractureLib.models.sagittal_net import CLASSES, NEIGHBOURS
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.regress_levels import REGRESSOR, regressed_names
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import GRID_MM, LOWEST_HU, coarse_hu, from_coarse, to_coarse

LOCATOR = "column-locator"
TISSUE_HU = -300
COARSE_EVERY, COARSE_REACH, REACH = 4, 20, 10
"""Sagittal slices (3 mm each): how many apart and how far from the middle in the first pass, how far in the second."""
ABOVE, BEHIND = 20, 26
"""Voxels (2 mm) kept above, below, before and behind the bodies that the first pass saw."""
BATCH, BATCH_ON_CPU = 8, 4
"""With more on the CPU, each activation is so large that its memory is mapped anew."""
MIDLINE_FIT_MM, MIDLINE_SD_MM, MIDLINE_ROUNDS = 12.0, 9.0, 6
"""How far from the middle warmth still tells where the middle is, and how far a body's own middle may lie from it."""


@dataclass(frozen=True)
class ColumnMap:
    """What the network says of the region around the column.

    ``classes`` uint8 ``[9, k, j, i]``: 255 times the probability of background, C1-C7, thoracic; ``heat`` float32
    ``[8, k, j, i]``: of the middles of C1-C7 and T1. ``corner``: index k, j, i of its first voxel on the coarse grid.
    ``places`` ``[n, 3]``: the candidates for the middles of bodies, as indices k, j, i of the map; by default those of
    ``heat``. ``names`` ``[8, n]``: evidence for their names, by what lies around the column (see ``regress_levels``).
    """

    classes: np.ndarray
    heat: np.ndarray
    corner: tuple[int, int, int]
    names: np.ndarray | None = None
    places: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.places is None:
            object.__setattr__(self, "places", candidates(self.heat))

    def ras_of(self, kji: np.ndarray, view: CanonicalView) -> np.ndarray:
        """RAS mm of (broken) indices ``(..., 3)`` of the map."""
        stored = from_coarse(np.asarray(kji, float) + self.corner, view.spacing_mm)
        return view.ras_of(stored[..., ::-1])

    def row_of(self, k: int, view: CanonicalView) -> int | None:
        """The map's nearest slice to canonical slice ``k``; ``None`` above and below the map."""
        row = round(float(to_coarse(np.array([k, 0, 0]), view.spacing_mm)[0])) - self.corner[0]
        return row if 0 <= row < self.classes.shape[1] else None


def map_column(view: CanonicalView, context: RunContext) -> ColumnMap | None:
    """The map of a volume, or ``None`` where it holds only air. Cancels between batches."""
    with context.stage("locate", message="Finding the column"):
        hu = coarse_hu(view.hu, view.spacing_mm, context.each)
        column = _map(hu, context)
        if column is None or not context.has(REGRESSOR):
            return column
        return replace(column, names=regressed_names(hu, column.places + column.corner, context))


def _map(hu: np.ndarray, context: RunContext) -> ColumnMap | None:
    tissue = (hu > TISSUE_HU).sum(axis=(0, 1))
    if not tissue.any():
        return None
    middle = round(float(np.average(np.arange(len(tissue)), weights=tissue)))
    first = [i for i in range(middle - COARSE_REACH, middle + COARSE_REACH + 1, COARSE_EVERY) if 0 <= i < len(tissue)]
    seen = _look(hu, first, context)[:, CLASSES:].max(axis=1)
    best = int(np.argmax([np.sort(plane, axis=None)[-60:].mean() for plane in seen]))
    rows, columns = np.nonzero(seen[best] >= 0.3 * seen[best].max())
    k = slice(max(0, rows.min() - ABOVE), rows.max() + ABOVE + 1)
    j = slice(max(0, columns.min() - BEHIND), columns.max() + BEHIND + 1)
    near = [i for i in range(first[best] - REACH, first[best] + REACH + 1) if 0 <= i < len(tissue)]
    found = np.moveaxis(_look(hu[k, j], near, context), 0, -1)
    classes = np.rint(found[:CLASSES] * 255).astype(np.uint8)
    heat = np.stack(context.each(partial(ndimage.gaussian_filter, sigma=(1.0, 1.0, 0.7)), found[CLASSES:]))
    return ColumnMap(classes, heat * _near_midline(heat), (k.start, j.start, near[0]))


def _near_midline(heat: np.ndarray) -> np.ndarray:
    """Share 0..1 ``[k, 1, i]``: how near a voxel lies to the column's middle, a straight line in ``[k, i]``.

    Lateral masses and pillars resemble bodies in a sagittal slice, those of C1 above all; bodies below C1 are warmest
    in the middle, and show where that is.
    """
    warmth = heat[1:].max(axis=(0, 2)) ** 3
    k, i = np.indices(warmth.shape)
    away, line = np.zeros(warmth.shape), np.zeros(2)
    for _ in range(MIDLINE_ROUNDS):
        weight = np.sqrt(warmth * np.exp(-0.5 * (away / MIDLINE_FIT_MM) ** 2) + 1e-12).ravel()
        design = np.stack([np.ones(k.size), k.ravel()], axis=1)
        line = np.linalg.lstsq(design * weight[:, None], i.ravel() * weight, rcond=None)[0]
        away = (i - line[0] - line[1] * k) * GRID_MM[2]
    return np.exp(-0.5 * (away / MIDLINE_SD_MM) ** 2)[:, None, :].astype(np.float32)


def _look(hu: np.ndarray, slices: list[int], context: RunContext) -> np.ndarray:
    """Probabilities ``[slices, 17, k, j]`` of sagittal slices of a coarse volume."""
    import torch

    from CSpineFractureLib.models.sagittal_net import sagittal_input

    model, _ = context.load(LOCATOR)
    padded = np.pad(hu, ((0, 0), (0, 0), (NEIGHBOURS, NEIGHBOURS)), constant_values=LOWEST_HU)

    @torch.inference_mode()
    def look(batch: list[int], device: str) -> list[np.ndarray]:
        blocks = np.stack([np.moveaxis(padded[:, :, i : i + 2 * NEIGHBOURS + 1], 2, 0) for i in batch])
        if device != context.device:  # whose memory was short
            model.to(device)
        logits = model(sagittal_input(torch.from_numpy(blocks).to(device))).float()
        return list(torch.cat([logits[:, :CLASSES].softmax(1), logits[:, CLASSES:].sigmoid()], 1).cpu().numpy())

    size = BATCH_ON_CPU if str(context.device) == "cpu" else BATCH
    return np.stack(context.run_batches("locate", look, slices, size, "Finding the column", side_by_side=True))


def candidates(heat: np.ndarray, least: float = 0.03, most: int = 6, apart_mm: float = 5.0) -> np.ndarray:
    """``[n, 3]`` indices k, j, i where a body may have its middle: peaks of any level's heat, no two close together."""
    places: list[np.ndarray] = []
    for one in heat:
        peak = (one == ndimage.maximum_filter(one, size=5)) & (one > least)
        index = np.argwhere(peak)
        for place in index[np.argsort(-one[peak], kind="stable")][:most]:
            away = [np.linalg.norm((place - other) * GRID_MM * np.array([1, 1, 0.5])) for other in places]
            if all(distance > apart_mm for distance in away):
                places.append(place)
    return np.array(places).reshape(-1, 3)


def names_on(
    column: ColumnMap, view: CanonicalView, place: tuple[slice, slice, slice], step: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class (uint8, 0 background, 1-7 C1-C7, 8 thoracic) and its probability (uint8, of 255).

    On the canonical voxels of ``place``, averaged in blocks of ``step`` (k, j, i); outside of the map nothing is known:
    background, probability 0.
    """
    weights = [_weights(column, view, axis, part, step[axis]) for axis, part in enumerate(place)]
    best, name = None, None
    for number, one in enumerate(column.classes):
        values = one.astype(np.float32)
        for axis, matrix in enumerate(weights):
            values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
        if number == 0:
            best, name = values, np.zeros(values.shape, np.uint8)
        else:
            np.copyto(name, np.uint8(number), where=values > best)
            np.maximum(best, values, out=best)
    return name, np.clip(np.rint(best), 0, 255).astype(np.uint8)


def _weights(column: ColumnMap, view: CanonicalView, axis: int, part: slice, step: int) -> np.ndarray:
    """float32 ``[blocks, size of the map]``: linear between the map's voxels, 0 beyond them."""
    spacing, size = view.spacing_mm[2 - axis], column.classes.shape[axis + 1]
    count = -(-(part.stop - part.start) // step)
    middle = part.start + (np.arange(count) + 0.5) * step - 0.5
    index = (middle + 0.5) * spacing / GRID_MM[axis] - 0.5 - column.corner[axis]
    return np.clip(1 - np.abs(index[:, None] - np.arange(size)), 0, None).astype(np.float32)
