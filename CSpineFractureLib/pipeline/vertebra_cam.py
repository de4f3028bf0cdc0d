"""The Grad-CAM of judged vertebrae, back in the CT: as one volume, as pictures, and as the box of a fracture."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.findings.study_output import CamSlice
from CSpineFractureLib.pipeline.cam_volume import CAM_MM, MOST_PICTURES
from CSpineFractureLib.pipeline.vertebra_fractures import JudgedVertebra
from CSpineFractureLib.volume.canonical import CanonicalView

FADE_MM = (3.0, 7.0)
"""Distance from the vertebra over which its CAM fades: its crop shows parts of the neighbours too."""
HOT = 0.6
"""Of the brightest place of a vertebra, from which on it belongs to the fracture's box."""
PICTURES_EACH = 6


def sample_cam(one: JudgedVertebra, k: np.ndarray, j: np.ndarray, i: np.ndarray) -> np.ndarray:
    """The CAM at canonical voxels (equal shapes, may be broken numbers), linear; 0 outside of its crop."""
    slices, size = one.cam.shape[:2]
    j0, i0, side = one.place.square
    height = max(one.place.k1 - one.place.k0, 1)
    n = (one.place.k1 - np.asarray(k, float)) / height * (slices - 1)
    v, u = ((np.asarray(x, float) + 0.5 - start) * size / side - 0.5 for x, start in ((j, j0), (i, i0)))
    inside = (v > -0.5) & (v < size - 0.5) & (u > -0.5) & (u < size - 0.5) & (n > -0.5) & (n < slices - 0.5)
    values = ndimage.map_coordinates(one.cam, np.broadcast_arrays(n, v, u), order=1, mode="nearest")
    return np.where(inside, values, 0.0)


def hot_part(one: JudgedVertebra, labels: np.ndarray, place: tuple[slice, slice, slice]) -> tuple[slice, slice, slice]:
    """The block ``[k, j, i]`` around the hot part of a vertebra's CAM inside its bone; ``place``, which holds the
    vertebra in ``labels``, where it has none."""
    mask = labels[place] == one.number
    index = np.argwhere(mask)
    values = np.zeros(mask.shape, np.float32)
    values[mask] = sample_cam(one, *(index[:, axis] + place[axis].start for axis in range(3)))
    if values.max() <= 0:
        return place
    hot = values >= HOT * values.max()
    parts, _ = ndimage.label(ndimage.binary_dilation(hot, iterations=2) & mask, np.ones((3, 3, 3)))
    brightest = int(np.bincount(parts.ravel(), weights=(values * hot).ravel())[1:].argmax()) + 1
    (found,) = ndimage.find_objects(((parts == brightest) & hot).astype(np.uint8))
    return tuple(slice(p.start + f.start, p.start + f.stop) for p, f in zip(place, found, strict=True))


def vertebra_cam_volume(
    view: CanonicalView, judged: list[JudgedVertebra], labels: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """uint8 ``[k, j, i]``, 255 = 1, and its 4x4 matrix to RAS mm; both ``None`` where no vertebra was explained.

    The grid has the CT's slices and about 1 mm pixels around the explained vertebrae; where crops overlap, the brighter
    one shows. Each CAM fades out from 3 to 7 mm beside its vertebra.
    """
    shown = [one for one in judged if one.cam is not None]
    if not shown:
        return None, None
    first, last = min(one.place.k0 for one in shown), max(one.place.k1 for one in shown)
    ends = [
        (min(one.place.i0 for one in shown), max(one.place.i1 for one in shown)),
        (min(one.place.j0 for one in shown), max(one.place.j1 for one in shown)),
    ]
    size = [max(1, round((b - a) * view.spacing_mm[axis] / CAM_MM)) for axis, (a, b) in enumerate(ends)]
    pixel = [(b - a) / n for (a, b), n in zip(ends, size, strict=True)]
    i, j = (a - 0.5 + (np.arange(n) + 0.5) * p for (a, _), n, p in zip(ends, size, pixel, strict=True))
    k = np.arange(first, last + 1)
    spacing = (view.spacing_mm[2], pixel[1] * view.spacing_mm[1], pixel[0] * view.spacing_mm[0])
    rows, columns = np.rint(j).astype(int), np.rint(i).astype(int)
    grid = np.meshgrid(k, j, i, indexing="ij")
    cam = np.zeros(grid[0].shape, np.float32)
    for one in shown:
        bone = labels[first : last + 1][:, rows[:, None], columns[None, :]] == one.number
        distance = ndimage.distance_transform_edt(~bone, sampling=spacing)
        fade = np.clip((FADE_MM[1] - distance) / (FADE_MM[1] - FADE_MM[0]), 0, 1) if bone.any() else 0.0
        np.maximum(cam, sample_cam(one, *grid) * fade, out=cam)
    matrix = view.ijk_to_ras.copy()
    matrix[:3, 0] *= pixel[0]
    matrix[:3, 1] *= pixel[1]
    matrix[:3, 3] = view.ras_of(np.array([i[0], j[0], first]))
    return np.rint(255 * np.clip(cam, 0, 1)).astype(np.uint8), matrix


def vertebra_cam_slices(view: CanonicalView, judged: list[JudgedVertebra]) -> list[CamSlice]:
    """Up to six pictures of each explained vertebra where its CAM is brightest, the most suspicious vertebrae first.

    They carry the number of the stored slice (else that of the axial slice from inferior) nearest to the picture; of
    two vertebrae in one slice, the more suspicious shows.
    """
    number = view.stored_slice if view.stored_slice_axis() == 0 else int
    found: dict[int, CamSlice] = {}
    for one in sorted((one for one in judged if one.cam is not None), key=lambda one: (-one.probability, one.number)):
        heights = np.rint(one.place.heights(len(one.cam))).astype(int)
        brightest = np.argsort(-one.cam.max(axis=(1, 2)), kind="stable")
        added = 0
        for n in brightest:
            k = int(number(int(heights[n])))
            if k in found or added == PICTURES_EACH:
                continue
            picture = one.pictures[n, 2].astype(np.float32) / 255
            found[k] = CamSlice(k, one.probability, picture, one.cam[n])
            added += 1
    return list(found.values())[:MOST_PICTURES]
