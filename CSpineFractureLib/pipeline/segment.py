"""Vertebra masks from slabs and bone: sure markers grown over bone by a watershed.

Bone is what lies above a threshold inside the column's boxes. Its name follows from its height along the column: the
slabs of ``decode`` cut the bodies at the discs, and behind the bodies the cuts sink, because arches and spinous
processes hang lower than their body. Only the middle of each such zone is a sure marker; the borders between markers
are found by a watershed on the smoothed CT, so they follow the dark disc and joint spaces. The dens, which stands
inside the ring of C1, is marked as C2 by its place on the column's axis. Works at about 1 mm and is brought back to
the CT's own grid, where the rim is cut at half maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.column import ColumnLine
from CSpineFractureLib.pipeline.column_search import ColumnMap, names_on
from CSpineFractureLib.pipeline.fuse import FusedLevel
from CSpineFractureLib.pipeline.segment_fine import to_canonical
from CSpineFractureLib.pipeline.segment_rim import SOFT_HU, at_half_maximum
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.morphology import (
    Place,
    dilated,
    eroded,
    grown,
    label_places,
)

WORK_MM = 1.0
MARGIN_MM = 3.0
SMALLEST_MM3 = 150.0
SINK = 0.4
"""How far the cuts between levels sink behind the bodies, mm per mm, near the midline below C2."""
MIDLINE_MM, MIDLINE_FADE_MM = 11.0, 6.0
"""Laminae and spinous processes hang; pillars and transverse processes farther out stay at the height of their body."""
SURE_SHARE = 0.55
BODY_DEPTH_MM = 8.2
"""From the middle of a body to its rear wall, in a person of mean size."""
CORE_MM, TISSUE_HU = (5.5, 5.0), 0.0
"""Half the breadth and depth of the part of a body that is filled, and what is no air."""
ABOVE_MM, BELOW_MM = 4.0, 4.0
BODY_MM, UP_MM, DOWN_MM, DENS_MM = 6.0, 12.0, 25.0, 4.0
"""How far over its slab a body reaches, and arches and processes upwards and downwards; and the dens over C1."""
ARCH_MM = 6.0
"""So far below its slab, raised to the bodies, C7's arch ends; in 40 phantoms for training it loses 0.2 % of C7."""
SURE_NAME, SURE_BACKGROUND = 178, 242
"""Of 255: from which probability a voxel of the map is a marker."""
LIKELY = 100
"""Of 255: where the map sees a vertebra with this probability, thin cortex, half way from soft tissue to the threshold
of bone, and marrow are bone."""
CLOSED, BODY_HALF_MM = 3, 9.0
"""Work voxels over which a body is closed, and half its breadth; farther out are the foramina of the arteries."""
MIDDLE_MM, LEAST_NAMED = 4.0, 0.25
"""So near to the middle of a body the map must be sure of its name in such a share of the voxels."""
C7, BACKGROUND = 7, 8
BRIGHTEST_HU, RELIEF_STEPS = 1200, 4
"""Of the relief that the watershed floods: brighter bone is as this; and its steps per HU."""
OCCIPUT_BEHIND_MM = 8.0
"""Further behind the body of C1, its upper half may be occiput: only the lower part is a sure marker."""


def segment_levels(
    view: CanonicalView,
    levels: list[FusedLevel],
    slices: list[list[SliceBox]],
    column: ColumnMap | None = None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """uint8 ``[k, j, i]`` on the canonical grid: 0 background, 1-7 = C1-C7.

    ``slices`` are all boxes on the column (see ``follow_column``); bone outside them is left alone. Where ``column``, a
    map of names, is given, its sure voxels are the markers, instead of those by height. ``check_cancelled`` is called
    between the steps and may raise.
    """
    labels = view.zeros(np.uint8)
    if not levels:
        return labels
    place, step = _region(view, levels)
    hu = _work_volume(view, place, step)
    threshold = bone_threshold(hu, levels, view, place, step)
    bone = ndimage.gaussian_filter(hu, 0.5) > threshold
    bone &= _box_cover(view, slices, place, step, hu.shape)
    check_cancelled()
    named = None if column is None else names_on(column, view, place, step)
    drawn = set() if named is None else _drawn(*named, levels, view, place, step)
    others = {level.index + 1 for level in levels} - drawn
    spot = _spots(levels, view, place, step, hu.shape)
    if others:
        bone |= _body_cores(others, levels, spot, hu)  # marrow
    if named is not None:
        names, certainty = named
        is_vertebra = (names > 0) & (certainty >= LIKELY)
        bone |= is_vertebra & (hu > (threshold + SOFT_HU) / 2)  # thin cortex
        bone |= eroded(is_vertebra) & (hu > TISSUE_HU)  # marrow
    if drawn:
        markers = _mapped_markers(names, certainty, levels, bone)
        _trim(markers, levels, spot)
        _end_c7(markers, levels, spot)
    if others:
        by_height, height = _markers(levels, spot, bone)
        slabs = [level.slab_s for level in levels if level.index + 1 in others]
        own = np.any([(height >= lower) & (height <= upper) for lower, upper in slabs], axis=0)
        markers = np.where(own, by_height, markers) if drawn else by_height
    check_cancelled()
    flooded = _flooded(hu, markers)
    flooded[flooded == BACKGROUND] = 0
    work = np.where(bone, flooded, 0).astype(np.uint8)
    check_cancelled()
    _fill_bodies(work, flooded, spot, hu)
    _trim(work, levels, spot)
    work = _tidy(work, levels, float(np.prod([s * t for s, t in zip(step, view.spacing_mm[::-1], strict=True)])))
    check_cancelled()
    to_canonical(work, view, labels, place, step, threshold)
    check_cancelled()
    at_half_maximum(labels, view.hu, view.spacing_mm)
    return labels


def _drawn(
    names: np.ndarray, certainty: np.ndarray, levels: list[FusedLevel], view: CanonicalView, place: Place, step
) -> set[int]:
    """The labels (1-7) of levels whose middles the map names as they are named; none where most bodies have another.

    Where a scan shows only the lower end of a neck, it finds bodies and is sure of no name, or of another one; where
    the scan ends, it may not be sure of the last one. C1 has no body, and goes with the others.
    """
    bodies = [level for level in levels if level.index > 0]
    drawn = set()
    for level in bodies:
        middle = _work_index(view, place, step, level.center_ras)
        reach = [max(1, round(MIDDLE_MM / (t * s))) for t, s in zip(step, view.spacing_mm[::-1], strict=True)]
        around = tuple(slice(max(0, m - r), max(0, m + r + 1)) for m, r in zip(middle, reach, strict=True))
        own = (names[around] == level.index + 1) & (certainty[around] >= SURE_NAME)
        if own.size > 0 and own.mean() >= LEAST_NAMED:
            drawn.add(level.index + 1)
    if 2 * len(drawn) < len(bodies):
        return set()
    return drawn | {level.index + 1 for level in levels if level.index == 0}


def _flooded(hu: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """The markers, grown over the rest from bright to dark: uint8.

    The relief is in whole steps of ``1 / RELIEF_STEPS`` HU, for the filter is slow with as many heights as voxels.
    """
    relief = np.rint(-RELIEF_STEPS * ndimage.gaussian_filter(np.minimum(hu, BRIGHTEST_HU), 0.8)).astype(np.int16)
    images = (sitk.GetImageFromArray(array) for array in (relief, markers))
    return sitk.GetArrayFromImage(sitk.MorphologicalWatershedFromMarkers(*images, markWatershedLine=False))


def bone_threshold(hu: np.ndarray, levels: list[FusedLevel], view: CanonicalView, place, step) -> float:
    """HU that parts bone from soft tissue here: Otsu's threshold of the body boxes, kept within 130..300 HU."""
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
    return float(np.clip(otsu.GetThreshold(), 130.0, 300.0))


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
    region = view.hu[place]
    shape = tuple(-(-n // s) for n, s in zip(region.shape, step, strict=True))
    rows, columns = (
        [np.minimum(np.arange(shape[axis]) * step[axis] + n, region.shape[axis] - 1) for n in range(step[axis])]
        for axis in (1, 2)
    )
    total = np.zeros(shape, np.int32)
    for k in range(shape[0] * step[0]):  # slice by slice, and beyond the last one that again
        plane = np.clip(region[min(k, len(region) - 1)], -300, 2000).astype(np.int32)
        plane = sum(plane[row] for row in rows)
        total[k // step[0]] += sum(plane[:, column] for column in columns)
    return total.astype(np.float32) / np.float32(np.prod(step))


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
    k = place[0].start + (np.arange(shape[0]) + 0.5) * step[0] - 0.5
    height = view.ras_of(np.stack([np.zeros(len(k)), np.zeros(len(k)), k], axis=1))[:, 2]
    ends = []
    for edge, margin in ((low, -MARGIN_MM), (high, MARGIN_MM)):
        r, a = (np.interp(k, ks, edge[:, axis]) + margin for axis in (0, 1))
        ij = view.ijk_of(np.stack([r, a, height], axis=1))[:, :2]
        ends.append(np.floor_divide(ij - [place[2].start, place[1].start], step[:0:-1]).astype(int))
    first, last = np.maximum(np.minimum(*ends), 0), np.maximum(np.maximum(*ends) + 1, 0)
    for plane, (i0, j0), (i1, j1) in zip(cover, first, last, strict=True):
        plane[j0:j1, i0:i1] = True
    return cover


class Spots(NamedTuple):
    """Where the work voxels lie along the column, float32 ``[k, j, i]``, mm.

    ``beside`` and ``before`` its axis, ``behind`` the bodies (0 in them), ``s`` in the scan; ``height`` along the axis,
    which is S at the axis. ``size`` is the person's.
    """

    beside: np.ndarray
    before: np.ndarray
    behind: np.ndarray
    s: np.ndarray
    height: np.ndarray
    size: float


def _spots(levels: list[FusedLevel], view: CanonicalView, place: Place, step, shape) -> Spots:
    r, a, s = _work_ras(view, place, step, shape)
    r_mid, a_mid, slope, size = ColumnLine.through(levels).at(s)
    before = a - a_mid
    return Spots(r - r_mid, before, np.maximum(0.0, -before - BODY_DEPTH_MM * size), s, s + before * slope, size)


def _trim(labels: np.ndarray, levels: list[FusedLevel], spot: Spots) -> None:
    """Take away, in place, what lies too far above or below its own level to belong to it."""
    slabs, places = {level.index: level.slab_s for level in levels}, label_places(labels)
    for index, (lower, upper) in slabs.items():
        if index + 1 not in places:
            continue
        place = places[index + 1]
        height, behind = spot.height[place], spot.behind[place] > 0
        top = slabs[0][1] + DENS_MM if index == 1 and 0 in slabs else upper + BODY_MM
        low = np.where(behind, lower - DOWN_MM, lower - BODY_MM)
        far = (height < low) | (height > np.where(behind, upper + UP_MM, top))
        labels[place][far & (labels[place] == index + 1)] = 0


def _markers(levels: list[FusedLevel], spot: Spots, bone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sure voxels of each level (1-7) and of the background (8), by their height along the column, and that height,
    in which arches and processes are raised to their bodies."""
    s, size, height = spot.s, spot.size, _raised(levels, spot)
    markers = np.zeros(bone.shape, np.uint8)
    for level in levels:
        lower, upper = level.slab_s
        middle, half = (lower + upper) / 2, (upper - lower) / 2 * SURE_SHARE
        sure = (np.abs(height - middle) <= half) & bone
        if level.index == 0:
            sure &= (spot.behind < OCCIPUT_BEHIND_MM * size) | (height < middle - half / 2)
        markers[sure] = level.index + 1
    top, bottom = levels[0].slab_s[1], levels[-1].slab_s[0]
    markers[(height > top + ABOVE_MM) | (height < bottom - BELOW_MM)] = BACKGROUND
    if levels[0].index == 0 and len(levels) > 1 and levels[1].index == 1:
        dens = (s > levels[1].slab_s[1]) & (s < top + 2) & (np.abs(spot.beside) < 3.5 * size)
        markers[dens & (np.abs(spot.before) < 3.5 * size) & bone] = 2
    markers[~dilated(bone, 2)] = BACKGROUND
    return markers, height


def _raised(levels: list[FusedLevel], spot: Spots, place: Place = ...) -> np.ndarray:
    """The height along the column, in which arches and processes are raised to their bodies."""
    beside = np.clip((np.abs(spot.beside[place]) / spot.size - MIDLINE_MM) / MIDLINE_FADE_MM, 0.0, 1.0)
    beside *= spot.s[place] < next((level.slab_s[1] for level in levels if level.index > 1), -np.inf)
    return spot.height[place] + np.minimum(SINK * spot.behind[place], 12.0) * (1.0 - beside)


def _end_c7(markers: np.ndarray, levels: list[FusedLevel], spot: Spots) -> None:
    """Take from C7, in place, the arch of T1, which the network may name so."""
    last, places = levels[-1], label_places(markers)
    if last.index + 1 != C7 or C7 not in places:
        return
    place = places[C7]
    low = _raised(levels, spot, place) < last.slab_s[0] - ARCH_MM
    markers[place][low & (spot.behind[place] > 0) & (markers[place] == C7)] = BACKGROUND


def _body_cores(labels: set[int], levels: list[FusedLevel], spot: Spots, hu: np.ndarray) -> np.ndarray:
    """Bool ``[k, j, i]``: the middles of the bodies of ``labels`` below C1, bone though the marrow may be dark."""
    size = spot.size
    near = (spot.beside / (CORE_MM[0] * size)) ** 2 + (spot.before / (CORE_MM[1] * size)) ** 2 <= 1
    cores = np.zeros(hu.shape, bool)
    for level in (one for one in levels if one.index > 0 and one.index + 1 in labels):
        lower, upper = level.slab_s
        cores |= near & (np.abs(spot.height - (lower + upper) / 2) <= (upper - lower) / 2 * SURE_SHARE)
    return cores & (hu > TISSUE_HU)


def _fill_bodies(work: np.ndarray, flooded: np.ndarray, spot: Spots, hu: np.ndarray) -> None:
    """Close, in place, what is open in the bodies of ``work``, where the watershed ``flooded`` has their name."""
    for number, place in label_places(work).items():
        if number == 1:
            continue  # it has no body
        place = grown(place, (CLOSED,) * 3, work.shape)
        body = (spot.behind[place] == 0) & (np.abs(spot.beside[place]) <= BODY_HALF_MM * spot.size)
        mask = np.pad(work[place] == number, CLOSED)
        closed = eroded(dilated(mask, CLOSED), CLOSED)[(slice(CLOSED, -CLOSED),) * 3]
        gap = closed & body & (work[place] == 0) & (flooded[place] == number) & (hu[place] > TISSUE_HU)
        work[place][gap] = number


def _mapped_markers(names: np.ndarray, certainty: np.ndarray, levels: list[FusedLevel], bone: np.ndarray) -> np.ndarray:
    """As ``_markers``, from what the sagittal network says of each voxel."""
    table = np.full(BACKGROUND + 1, BACKGROUND, np.uint8)
    table[0] = 0
    for level in levels:
        table[level.index + 1] = level.index + 1
    markers = np.where(bone & (certainty >= SURE_NAME), table[names], 0).astype(np.uint8)
    markers[(names == 0) & (certainty >= SURE_BACKGROUND)] = BACKGROUND
    markers[~dilated(bone, 2)] = BACKGROUND
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
    clean, places = np.zeros_like(work), label_places(work)
    for number in (level.index + 1 for level in levels):
        if number not in places:
            continue
        place = grown(places[number], (2, 2, 2), work.shape)
        mask = work[place] == number
        closed = eroded(dilated(mask)) & ((work[place] == 0) | mask)
        parts, _ = ndimage.label(closed, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel()) * voxel_mm3
        sizes[0] = 0
        keep = sizes >= max(SMALLEST_MM3, 0.04 * sizes.max())
        clean[place][keep[parts]] = number
    return clean
