"""Whole vertebrae from named voxels: one main part per level, no islands, smooth borders, no voxels of neighbours."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.segment_order import UNKNOWN
from CSpineFractureLib.pipeline.unet_segment import THORACIC

SMALLEST_MM3 = 60.0
"""Of a piece beside the main part, such as a fragment."""
NEAR_MM = 6.0
MOST_CONTACT = 0.35
"""A piece with more of its surface on other levels is theirs: a patch in a foreign body, not a fragment."""
SMOOTH_MM = 0.5
COARSE_MM = 2.0
MOST_PIECES = 2000
BOX = np.ones((3, 3, 3), bool)


def column_part(
    names: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, tuple[slice, slice, slice]] | None:
    """The column without islands: bool on a grid of about 2 mm, and the block ``[k, j, i]`` of ``names`` it lies in.

    The largest connected part of the bone, gaps up to 4 mm closed, and others of a twentieth of its size. The bool
    array covers the block alone; ``None`` without bone. Repeat it by ``coarse_step`` for the block's own voxels.
    """
    step = coarse_step(spacing_mm)
    coarse = names > 0
    for axis, (n, s) in enumerate(zip(names.shape, step, strict=True)):
        coarse = np.logical_or.reduceat(coarse, np.arange(0, n, s), axis=axis)
    joined, count = ndimage.label(ndimage.binary_dilation(coarse, BOX))
    if not count:
        return None
    sizes = np.bincount(joined[coarse], minlength=count + 1)
    kept = np.isin(joined, np.flatnonzero(sizes >= 0.05 * sizes.max()))
    (place,) = ndimage.find_objects(kept.astype(np.uint8))
    block = tuple(slice(p.start * s, min(n, p.stop * s)) for p, s, n in zip(place, step, names.shape, strict=True))
    return kept[place], block


def coarse_step(spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Voxels (k, j, i) per voxel of the coarse grid."""
    return tuple(max(1, round(COARSE_MM / s)) for s in spacing_mm[::-1])


def without_islands(names: np.ndarray, part: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The names in the block of ``column_part``, 0 outside of its part."""
    inside = part
    for axis, s in enumerate(coarse_step(spacing_mm)):
        inside = np.repeat(inside, s, axis)
    return np.where(inside[tuple(slice(n) for n in names.shape)], names, 0).astype(np.uint8)


def tidy(named: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """uint8 ``[k, j, i]``, 0-7: clean levels from named voxels (1-7, 8 thoracic, 9 bone of unknown name).

    Each level keeps its main part and pieces near it; other pieces take the name of what they touch, or go. Borders
    are smoothed with a Gaussian of 0.5 mm. ``spacing_mm`` along i, j, k.
    """
    spacing_kji = spacing_mm[::-1]
    work = named.copy()
    for level, place in enumerate(ndimage.find_objects(work, max_label=THORACIC), start=1):
        if place is not None:
            _keep_main_part(work, level, place, spacing_kji)
    _name_unknown(work, spacing_kji)
    work[work == THORACIC] = 0
    work = smoothed(work, spacing_kji)
    _drop_islands(work, spacing_kji)
    return work


def smoothed(labels: np.ndarray, spacing_kji: tuple[float, float, float]) -> np.ndarray:
    """Labels 0-7 whose borders follow a Gaussian of 0.5 mm: the strongest level where bone outweighs background."""
    best, total = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)
    result = np.zeros_like(labels)
    sigma = [SMOOTH_MM / s for s in spacing_kji]
    pad = [int(np.ceil(4 * s)) for s in sigma]
    for level, place in enumerate(ndimage.find_objects(labels, max_label=THORACIC - 1), start=1):
        if place is None:
            continue
        place = _grown(place, pad, labels.shape)
        part = ndimage.gaussian_filter((labels[place] == level).astype(np.float32), sigma)
        result[place][part > best[place]] = level
        np.maximum(best[place], part, out=best[place])
        total[place] += part
    result[total <= 0.5] = 0
    return result


def _keep_main_part(work: np.ndarray, level: int, place: tuple[slice, slice, slice], spacing_kji) -> None:
    """Make ``UNKNOWN`` of a level what is neither its main part nor a piece that stands free but near."""
    mask = work[place] == level
    parts, count = ndimage.label(mask, BOX)
    if count < 2:
        return
    voxel_mm3 = float(np.prod(spacing_kji))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    main = int(sizes.argmax())
    keep = [main]
    large = np.flatnonzero(sizes * voxel_mm3 >= SMALLEST_MM3)
    if len(large) > 1:
        distance = ndimage.distance_transform_edt(parts != main, sampling=spacing_kji)
        nearest = ndimage.minimum(distance, parts, large)
        keep += [int(n) for n, d in zip(large, nearest, strict=True) if n != main and d <= NEAR_MM]
    boxes = ndimage.find_objects(parts)
    for piece in keep[1:]:
        box = _grown(boxes[piece - 1], (1, 1, 1), mask.shape)
        box_in_work = tuple(slice(p.start + b.start, p.start + b.stop) for p, b in zip(place, box, strict=True))
        own = parts[box] == piece
        shell = ndimage.binary_dilation(own, BOX) & ~own
        others = work[box_in_work][shell]
        if ((others > 0) & (others != level)).mean() > MOST_CONTACT:
            keep.remove(piece)
    work[place][mask & ~np.isin(parts, keep)] = UNKNOWN


def _name_unknown(work: np.ndarray, spacing_kji) -> None:
    """Give bone of unknown name that of the nearest named bone, piece by piece; what touches none goes."""
    parts, count = ndimage.label(work == UNKNOWN, BOX)
    work[work == UNKNOWN] = 0
    if not count:
        return
    boxes = ndimage.find_objects(parts)
    sizes = np.bincount(parts.ravel())[1:]
    for piece in np.argsort(-sizes, kind="stable")[:MOST_PIECES] + 1:
        box = _grown(boxes[piece - 1], (2, 2, 2), work.shape)
        own, around = parts[box] == piece, work[box]
        if not (around[ndimage.binary_dilation(own, BOX)] > 0).any():
            continue
        nearest = ndimage.distance_transform_edt(
            around == 0, sampling=spacing_kji, return_distances=False, return_indices=True
        )
        around[own] = around[tuple(index[own] for index in nearest)]


def _drop_islands(labels: np.ndarray, spacing_kji) -> None:
    """Remove specks of a level, and pieces far from its main part."""
    voxel_mm3 = float(np.prod(spacing_kji))
    for level, place in enumerate(ndimage.find_objects(labels, max_label=THORACIC - 1), start=1):
        if place is None:
            continue
        mask = labels[place] == level
        parts, count = ndimage.label(mask, BOX)
        if count < 2:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        distance = ndimage.distance_transform_edt(parts != sizes.argmax(), sampling=spacing_kji)
        nearest = ndimage.minimum(distance, parts, np.arange(count + 1))
        keep = (sizes * voxel_mm3 >= SMALLEST_MM3 / 2) & (nearest <= NEAR_MM)
        labels[place][mask & ~keep[parts]] = 0


def _grown(place, margin, shape) -> tuple[slice, slice, slice]:
    return tuple(slice(max(0, p.start - m), min(n, p.stop + m)) for p, m, n in zip(place, margin, shape, strict=True))
