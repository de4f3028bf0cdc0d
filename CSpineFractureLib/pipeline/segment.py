"""Vertebra masks from slabs and bone: sure markers grown over bone by a watershed.

Bone is what lies above a threshold inside the column's boxes. Its name follows from its height along the column: the
slabs of ``decode`` cut the bodies at the discs, and behind the bodies the cuts sink, because arches and spinous
processes hang lower than their body. Only the middle of each such zone is a sure marker; the borders between markers
are found by a watershed on the smoothed CT, so they follow the dark disc and joint spaces. The dens, which stands
inside the ring of C1, is marked as C2 by its place on the column's axis. Works at about 1 mm and is brought back to
the CT's own grid.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.column import ColumnLine
from CSpineFractureLib.pipeline.column_search import ColumnMap, names_on
from CSpineFractureLib.pipeline.fuse import FusedLevel
from CSpineFractureLib.volume.canonical import CanonicalView

WORK_MM = 1.0
MARGIN_MM = 3.0
SMALLEST_MM3 = 150.0
SINK = 0.4
"""How far the cuts between levels sink behind the bodies, mm per mm, near the midline below C2."""
MIDLINE_MM, MIDLINE_FADE_MM = 11.0, 6.0
"""Laminae and spinous processes hang; pillars and transverse processes farther out stay at the height of their body."""
SURE_SHARE = 0.55
ABOVE_MM, BELOW_MM = 4.0, 4.0
SURE_NAME, SURE_BACKGROUND = 178, 242
"""Of 255: from which probability a voxel of the map is a marker."""
BACKGROUND = 8
OCCIPUT_BEHIND_MM = 8.0
"""Further behind the body of C1, its upper half may be occiput: only the lower part is a sure marker."""


def segment_levels(
    view: CanonicalView, levels: list[FusedLevel], slices: list[list[SliceBox]], column: ColumnMap | None = None
) -> np.ndarray:
    """uint8 ``[k, j, i]`` on the canonical grid: 0 background, 1-7 = C1-C7.

    ``slices`` are all boxes on the column (see ``follow_column``); bone outside them is left alone. Where ``column``, a
    map of names, is given, its sure voxels are the markers, instead of those by height.
    """
    labels = np.zeros(view.hu.shape, np.uint8)
    if not levels:
        return labels
    place, step = _region(view, levels)
    hu = _work_volume(view, place, step)
    threshold = bone_threshold(hu, levels, view, place, step)
    bone = ndimage.gaussian_filter(hu, 0.5) > threshold
    bone &= _box_cover(view, slices, place, step, hu.shape)
    if column is None:
        markers = _markers(levels, view, place, step, bone)
    else:
        names, certainty = names_on(column, view, place, step)
        bone |= ndimage.binary_erosion(np.isin(names, range(1, 8)) & (certainty >= SURE_NAME))  # marrow
        markers = _mapped_markers(names, certainty, levels, bone)
    relief = sitk.GetImageFromArray(-ndimage.gaussian_filter(np.minimum(hu, 1200), 0.8).astype(np.float32))
    grown = sitk.MorphologicalWatershedFromMarkers(relief, sitk.GetImageFromArray(markers), markWatershedLine=False)
    work = np.where(bone, sitk.GetArrayFromImage(grown), 0).astype(np.uint8)
    work[work == BACKGROUND] = 0
    work = _tidy(work, levels, float(np.prod([s * t for s, t in zip(step, view.spacing_mm[::-1], strict=True)])))
    _to_canonical(work, view, labels, place, step, threshold)
    return labels


def bone_threshold(hu: np.ndarray, levels: list[FusedLevel], view: CanonicalView, place, step) -> float:
    """HU that parts bone from soft tissue here: Otsu's threshold of the body boxes, kept within 130..260 HU."""
    values = []
    for level in levels:
        k, j, i = _work_index(view, place, step, level.center_ras)
        r = [max(1, round(11 / (t * s))) for t, s in zip(step, view.spacing_mm[::-1], strict=True)]
        box = hu[max(0, k - r[0]) : k + r[0], max(0, j - r[1]) : j + r[1], max(0, i - r[2]) : i + r[2]]
        values.append(box[(box > -50) & (box < 1500)])
    values = np.concatenate(values) if values else np.zeros(0)
    if len(values) < 200:
        return 200.0
    image = sitk.GetImageFromArray(values[None].astype(np.float32))
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(image)
    return float(np.clip(otsu.GetThreshold(), 130.0, 260.0))


def _region(view: CanonicalView, levels: list[FusedLevel]) -> tuple[tuple[slice, slice, slice], tuple[int, int, int]]:
    low = np.min([level.low_ras for level in levels], axis=0) - 8
    high = np.max([level.high_ras for level in levels], axis=0) + 8
    corners = np.array([[(low, high)[(n >> axis) & 1][axis] for axis in range(3)] for n in range(8)])
    ijk = view.ijk_of(corners)
    first = np.maximum(np.floor(ijk.min(axis=0)).astype(int), 0)
    last = np.minimum(np.ceil(ijk.max(axis=0)).astype(int) + 1, view.hu.shape[::-1])
    step = tuple(max(1, round(WORK_MM / s)) for s in view.spacing_mm[::-1])
    return tuple(slice(int(first[2 - a]), int(max(last[2 - a], first[2 - a] + 1))) for a in range(3)), step


def _work_volume(view: CanonicalView, place, step) -> np.ndarray:
    """The region in HU, averaged over blocks of ``step`` voxels (k, j, i), float32."""
    region = view.hu[place].astype(np.float32)
    region = np.clip(region, -300, 2000)
    if step == (1, 1, 1):
        return region
    pad = [(0, -n % s) for n, s in zip(region.shape, step, strict=True)]
    region = np.pad(region, pad, mode="edge")
    k, j, i = (n // s for n, s in zip(region.shape, step, strict=True))
    return region.reshape(k, step[0], j, step[1], i, step[2]).mean(axis=(1, 3, 5))


def _work_index(view: CanonicalView, place, step, ras) -> tuple[int, int, int]:
    i, j, k = view.ijk_of(np.asarray(ras))
    return tuple(int((v - p.start) // t) for v, p, t in zip((k, j, i), place, step, strict=True))


def _box_cover(view, slices, place, step, shape) -> np.ndarray:
    """Voxels inside any box of the column, widened by 3 mm; box edges are interpolated between slices."""
    cover = np.zeros(shape, bool)
    rows = sorted((boxes for boxes in slices if boxes), key=lambda boxes: boxes[0].k)
    if not rows:
        return cover
    ks = np.array([boxes[0].k for boxes in rows], float)
    low = np.array([np.min([b.low for b in boxes], axis=0) for boxes in rows])
    high = np.array([np.max([b.high for b in boxes], axis=0) for boxes in rows])
    if len(rows) > 4:
        low, high = (ndimage.median_filter(edge, size=(3, 1), mode="nearest") for edge in (low, high))
    for kk in range(shape[0]):
        k = place[0].start + (kk + 0.5) * step[0] - 0.5
        ends = []
        for edge, margin in ((low, -MARGIN_MM), (high, MARGIN_MM)):
            point = [np.interp(k, ks, edge[:, axis]) + margin for axis in (0, 1)]
            ends.append(_work_index(view, place, step, (*point, view.ras_of(np.array([0, 0, k]))[2])))
        (j0, j1), (i0, i1) = (sorted(e[axis] for e in ends) for axis in (1, 2))
        cover[kk, max(0, j0) : max(0, j1 + 1), max(0, i0) : max(0, i1 + 1)] = True
    return cover


def _markers(levels: list[FusedLevel], view, place, step, bone: np.ndarray) -> np.ndarray:
    """Sure voxels of each level (1-7) and of the background (8), by their height along the column."""
    r, a, s = _work_ras(view, place, step, bone.shape)
    line = ColumnLine.through(levels)
    r_mid, a_mid, slope, size = line.at(s)
    behind = np.maximum(0.0, a_mid - 8.2 * size - a)
    beside = np.clip((np.abs(r - r_mid) / size - MIDLINE_MM) / MIDLINE_FADE_MM, 0.0, 1.0)
    beside *= s < next((level.slab_s[1] for level in levels if level.index > 1), -np.inf)
    height = s + (a - a_mid) * slope + np.minimum(SINK * behind, 12.0) * (1.0 - beside)
    markers = np.zeros(bone.shape, np.uint8)
    for level in levels:
        lower, upper = level.slab_s
        middle, half = (lower + upper) / 2, (upper - lower) / 2 * SURE_SHARE
        sure = (np.abs(height - middle) <= half) & bone
        if level.index == 0:
            sure &= (behind < OCCIPUT_BEHIND_MM * size) | (height < middle - half / 2)
        markers[sure] = level.index + 1
    top, bottom = levels[0].slab_s[1], levels[-1].slab_s[0]
    markers[(height > top + ABOVE_MM) | (height < bottom - BELOW_MM)] = BACKGROUND
    if levels[0].index == 0 and len(levels) > 1 and levels[1].index == 1:
        dens = (s > levels[1].slab_s[1]) & (s < top + 2) & (np.abs(r - r_mid) < 3.5 * size)
        markers[dens & (np.abs(a - line.dens_a(s)) < 3.5 * size) & bone] = 2
    markers[~ndimage.binary_dilation(bone, iterations=2)] = BACKGROUND
    return markers


def _mapped_markers(names: np.ndarray, certainty: np.ndarray, levels: list[FusedLevel], bone: np.ndarray) -> np.ndarray:
    """As ``_markers``, from what the sagittal network says of each voxel."""
    markers = np.zeros(bone.shape, np.uint8)
    known = [level.index + 1 for level in levels]
    sure = bone & (certainty >= SURE_NAME)
    markers[sure & np.isin(names, known)] = names[sure & np.isin(names, known)]
    other = sure & ~np.isin(names, [0, *known])
    markers[other | ((names == 0) & (certainty >= SURE_BACKGROUND))] = BACKGROUND
    markers[~ndimage.binary_dilation(bone, iterations=2)] = BACKGROUND
    return markers


def _work_ras(view: CanonicalView, place, step, shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RAS mm of the work voxels, float32 arrays of ``shape``."""
    k, j, i = (
        (p.start + (np.arange(n) + 0.5) * t - 0.5).astype(np.float32)
        for p, n, t in zip(place, shape, step, strict=True)
    )
    m = view.ijk_to_ras.astype(np.float32)
    return tuple(
        m[axis, 0] * i[None, None, :] + m[axis, 1] * j[None, :, None] + m[axis, 2] * k[:, None, None] + m[axis, 3]
        for axis in range(3)
    )


def _tidy(work: np.ndarray, levels: list[FusedLevel], voxel_mm3: float) -> np.ndarray:
    """Close pores, keep each level's main part and pieces of some size that lie near it, drop islands."""
    clean = np.zeros_like(work)
    for level in levels:
        mask = work == level.index + 1
        if not mask.any():
            continue
        closed = ndimage.binary_closing(mask, iterations=1) & ((work == 0) | mask)
        parts, count = ndimage.label(closed, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        keep = [
            m for m in range(1, count + 1) if sizes[m] * voxel_mm3 >= max(SMALLEST_MM3, 0.04 * sizes.max() * voxel_mm3)
        ]
        clean[np.isin(parts, keep)] = level.index + 1
    return clean


def _to_canonical(work: np.ndarray, view: CanonicalView, labels: np.ndarray, place, step, threshold: float) -> None:
    """Bring the work labels to the canonical grid; fine voxels at the rim must be bone themselves."""
    target = labels[place]
    if step == (1, 1, 1):
        target[:] = work
        return
    big = work.repeat(step[0], 0).repeat(step[1], 1).repeat(step[2], 2)
    big = big[: target.shape[0], : target.shape[1], : target.shape[2]]
    inner = ndimage.binary_erosion(big > 0, iterations=max(step))
    wide = ndimage.grey_dilation(big, size=tuple(2 * (s // 2) + 1 for s in step))
    target[:] = np.where(inner, big, np.where(view.hu[place] > threshold, np.where(big > 0, big, wide), 0))
