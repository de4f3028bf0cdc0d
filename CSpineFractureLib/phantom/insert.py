"""Fractures put into a real CT, where a mask tells the vertebrae: the real bone is torn, moved and its gaps filled.

The result keeps the scanner, the noise and the anatomy of the real scan; only the fracture is synthetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.anatomy import stream
from CSpineFractureLib.phantom.bone import BLOOD_HU
from CSpineFractureLib.phantom.fracture_types import sample_fracture, types_of
from CSpineFractureLib.phantom.mask_frame import vertebra_from_mask
from CSpineFractureLib.phantom.sdf import Points
from CSpineFractureLib.phantom.truth import LABELS, FractureTruth, truth_of

REACH_MM = 7.0
SMOOTH_MM = 1.2


@dataclass
class Inserted:
    """A CT with synthetic fractures: ``hu`` int16, ``labels`` and ``fracture_mask`` uint8 ``[k, j, i]``, the truth."""

    hu: np.ndarray
    labels: np.ndarray
    fracture_mask: np.ndarray
    fractures: list[FractureTruth]


def insert_fractures(
    hu: np.ndarray,
    labels: np.ndarray,
    ijk_to_ras: np.ndarray,
    fractures: tuple[tuple[str, str | None], ...],
    seed: int,
    hairline_rate: float = 0.25,
) -> Inserted:
    """Break vertebrae of a real CT.

    Parameters
    ----------
    hu, labels
        int16 HU and vertebra mask (1-7 = C1-C7), both ``[k, j, i]`` on one grid.
    ijk_to_ras
        4x4 matrix to RAS mm.
    fractures
        ``(level, type)`` pairs; a type of ``None`` is drawn.

    Raises
    ------
    UserError
        When the mask has another shape than the CT, or lacks a level.
    """
    if hu.shape != labels.shape:
        message = f"The mask has {labels.shape} voxels and the CT {hu.shape}; give a mask on the grid of the CT."
        raise UserError(message)
    rng = stream(seed, "insert")
    done = Inserted(hu.copy(), labels.copy(), np.zeros(hu.shape, np.uint8), [])
    for level, kind in fractures:
        _break(done, np.asarray(ijk_to_ras, float), level, kind, hairline_rate, rng)
    return done


def _break(done: Inserted, matrix: np.ndarray, level: str, kind: str | None, rate: float, rng) -> None:
    v = vertebra_from_mask(done.labels, matrix, level)
    fracture = sample_fracture(rng, level, kind or str(rng.choice(types_of(level))), v, rate)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    place = _place(done.labels == LABELS[level], spacing)
    mask = done.labels[place] == LABELS[level]
    signed = _signed_distance(mask, spacing)
    k, j, i = np.nonzero(signed < REACH_MM - 2)
    offset = np.array([s.start for s in place])
    world = np.stack([i + offset[2], j + offset[1], k + offset[0], np.ones(len(i))], axis=1) @ matrix.T
    local = tuple(((world[:, :3] - v.centre) @ v.axes.T).astype(np.float32).T)
    inverse = np.linalg.inv(matrix)

    def index_of(p: Points) -> np.ndarray:
        ras = np.stack(np.broadcast_arrays(*p), axis=-1) @ v.axes + v.centre
        return (ras @ inverse[:3, :3].T + inverse[:3, 3])[..., ::-1].T - offset[:, None]

    def distance(p: Points) -> np.ndarray:
        return ndimage.map_coordinates(signed, index_of(p), order=1, mode="nearest", output=np.float32)

    broken = fracture.apply(distance, local)
    old = done.hu[place].astype(np.float32)
    here, was = (k, j, i), index_of(broken.source)
    moved = ndimage.map_coordinates(old, was, order=1, mode="nearest", output=np.float32)
    pixel = float(spacing.min())
    cover = np.clip(0.5 - broken.distance / pixel, 0, 1)
    opened = np.clip(0.5 - broken.gap / pixel, 0, min(1.0, fracture.gap_mm / pixel)) * (broken.depth < 0.5)
    soft = _soft(old, signed, rng)[here]
    intact = np.clip(0.5 - signed[here] / pixel, 0, 1)
    left_empty = np.clip(intact - cover, 0, 1)
    still = np.linalg.norm(was - np.stack(here), axis=0) < 1e-2
    value = np.where(
        still,
        old[here] * (1 - left_empty) + soft * left_empty,
        moved * cover + np.where(intact > 0, soft, old[here]) * (1 - cover),
    )
    value = value + opened * (soft - value)
    others = (done.labels[place][here] != 0) & (done.labels[place][here] != LABELS[level])
    value = np.where(others, old[here], value)
    region = done.hu[place]
    region[here] = np.clip(np.rint(value), -1024, 3071).astype(np.int16)
    bone = (broken.distance < 0) & ~others
    names = done.labels[place]
    names[here] = np.where(bone, LABELS[level], np.where(others, names[here], 0))
    torn = bone & (broken.gap < max(0.4, 0.5 * pixel))
    gaps = done.fracture_mask[place]
    gaps[tuple(axis[torn] for axis in here)] = LABELS[level]
    truth = truth_of(fracture, done.fracture_mask, matrix)
    if truth is None:
        message = f"{level} {fracture.type}: the break misses the bone of the mask; choose another type, level or seed."
        raise UserError(message)
    done.fractures.append(truth)


def _place(mask: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice, slice]:
    (found,) = ndimage.find_objects(mask.astype(np.uint8))
    margin = [int(np.ceil(REACH_MM / s)) for s in spacing[::-1]]
    return tuple(
        slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(found, margin, mask.shape, strict=True)
    )


def _signed_distance(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Signed distance (mm, negative inside) with its surface between voxels."""
    sampling = spacing[::-1]
    outside = ndimage.distance_transform_edt(~mask, sampling=sampling)
    inside = ndimage.distance_transform_edt(mask, sampling=sampling)
    return (outside - inside - 0.5 * np.sign(outside - inside) * spacing.min()).astype(np.float32)


def _soft(hu: np.ndarray, signed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What fills a gap: blood, with the noise of the scan's own soft tissue around the bone."""
    around = hu[(signed > 2.0) & (hu > -150) & (hu < 200)]
    spread = 1.4826 * np.median(np.abs(around - np.median(around))) if around.size > 50 else 15.0
    grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape).astype(np.float32), [0.0, 0.7, 0.7])
    return np.float32(BLOOD_HU) + grain / grain.std() * np.float32(spread)
