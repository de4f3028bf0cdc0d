"""Vertebra masks from boxes and bone: markers from unambiguous boxes, grown over bone by a watershed.

Bone is what lies above a threshold inside the levels' boxes. Where only one level's box covers it, its name is sure;
the rest (facet joints, overlapping arches) goes to the marker that a watershed on the smoothed CT reaches first, so
the borders follow the dark joint and disc spaces. Works at about 1 mm and is brought back to the CT's own grid.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from CSpineFractureLib.pipeline.canonical import CanonicalView
from CSpineFractureLib.pipeline.fuse import FusedLevel

WORK_MM = 1.0
MARGIN_MM = 3.0
SMALLEST_MM3 = 150.0


def segment_levels(view: CanonicalView, levels: list[FusedLevel]) -> np.ndarray:
    """uint8 ``[k, j, i]`` on the canonical grid: 0 background, 1-7 = C1-C7."""
    labels = np.zeros(view.hu.shape, np.uint8)
    if not levels:
        return labels
    place, step = _region(view, levels)
    hu = _work_volume(view, place, step)
    threshold = bone_threshold(hu, levels, view, place, step)
    bone = ndimage.gaussian_filter(hu, 0.5) > threshold
    cover, sure = _box_cover(view, levels, place, step, hu.shape)
    bone &= cover.any(axis=0)
    markers = _markers(levels, view, place, step, bone, sure, cover)
    relief = sitk.GetImageFromArray(-ndimage.gaussian_filter(np.minimum(hu, 1200), 0.8).astype(np.float32))
    grown = sitk.MorphologicalWatershedFromMarkers(relief, sitk.GetImageFromArray(markers), markWatershedLine=False)
    work = np.where(bone, sitk.GetArrayFromImage(grown), 0).astype(np.uint8)
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


def _box_cover(view, levels, place, step, shape) -> tuple[np.ndarray, np.ndarray]:
    """Per level the voxels inside its boxes: widened by 3 mm (bool ``[level, k, j, i]``), and only where sure."""
    cover = np.zeros((len(levels), *shape), bool)
    sure = np.zeros((len(levels), *shape), bool)
    for n, level in enumerate(levels):
        rows = sorted(level.boxes.values(), key=lambda b: b.k)
        ks = np.array([b.k for b in rows])
        edges = np.array([[b.low[0], b.high[0], b.low[1], b.high[1]] for b in rows])
        if len(edges) > 2:
            edges = ndimage.median_filter(edges, size=(3, 1), mode="nearest")
        spread = max(1, round(float(np.median(np.diff(ks))))) if len(ks) > 1 else 1
        for kk in range(shape[0]):
            k = place[0].start + (kk + 0.5) * step[0] - 0.5
            if k < ks[0] - spread or k > ks[-1] + spread:
                continue
            r0, r1, a0, a1 = (np.interp(k, ks, edges[:, c]) for c in range(4))
            s = view.ras_of(np.array([0, 0, k]))[2]
            for target, margin in ((cover, MARGIN_MM), (sure, 0.5)):
                ends = [
                    _work_index(view, place, step, (r, a, s))
                    for r in (r0 - margin, r1 + margin)
                    for a in (a0 - margin, a1 + margin)
                ]
                js, is_ = [e[1] for e in ends], [e[2] for e in ends]
                target[n, kk, max(0, min(js)) : max(0, max(js) + 1), max(0, min(is_)) : max(0, max(is_) + 1)] = True
    return cover, sure


def _markers(levels, view, place, step, bone, sure, cover) -> np.ndarray:
    """Markers: bone covered by one level's boxes alone, and a core around each body's middle; 8 marks background."""
    alone = cover.sum(axis=0) == 1
    markers = np.zeros(bone.shape, np.uint8)
    size = [t * s for t, s in zip(step, view.spacing_mm[::-1], strict=True)]
    for n, level in enumerate(levels):
        markers[alone & sure[n] & bone] = level.index + 1
    grid = np.ogrid[: bone.shape[0], : bone.shape[1], : bone.shape[2]]
    for n, level in enumerate(levels):
        middle = _work_index(view, place, step, level.center_ras)
        radii = (4.0, 3.0, 6.0) if level.index == 0 else (0.28 * 14 * level.size + 1, 6.0, 7.0)
        core = sum(((g - m) * t / r) ** 2 for g, m, t, r in zip(grid, middle, size, radii, strict=True)) <= 1
        markers[core & bone & cover[n]] = level.index + 1
    markers[~cover.any(axis=0)] = 8
    return markers


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
