"""Fractures put into a real CT, where a mask tells the vertebrae: the real bone is torn, moved and its gaps filled.

The result keeps the scanner, the noise and the anatomy of the real scan; only the fracture is synthetic. What it
changes is made finer than the voxels, blurred and averaged over them as by a scanner: a gap between thick slices is a
shadow in both and not a hole in one or in none.
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
FINE_MM, MOST_PARTS = 0.5, 8
"""Fractures are made on parts of voxels of this size, and at most so many along an axis."""
BLUR_MM = 0.4
"""Standard deviation of the blur of a scanner in the plane, as of the synthetic CT with a middling kernel."""
LEAST_TORN = 0.25
"""Of the parts of a voxel, how many are torn in a voxel that the truth calls torn: thin gaps in thick slices."""


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
    grid = _FineGrid.within(mask.shape, spacing[::-1])
    near = np.nonzero(grid.refined(signed) < REACH_MM - 2)
    offset = np.array([s.start for s in place])
    at = grid.coarse(np.stack(near))
    world = (at + offset[:, None])[::-1].T @ matrix[:3, :3].T + matrix[:3, 3]
    local = tuple(((world - v.centre) @ v.axes.T).astype(np.float32).T)
    inverse = np.linalg.inv(matrix)

    def index_of(p: Points) -> np.ndarray:
        ras = np.stack(np.broadcast_arrays(*p), axis=-1) @ v.axes + v.centre
        return (ras @ inverse[:3, :3].T + inverse[:3, 3])[..., ::-1].T - offset[:, None]

    def sampled(values: np.ndarray, index: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(values, index, order=1, mode="nearest", output=np.float32)

    broken = fracture.apply(lambda p: sampled(signed, index_of(p)), local)
    old = done.hu[place].astype(np.float32)
    was = index_of(broken.source)
    pixel = float(spacing.min())
    torn = np.where(broken.distance > broken.depth + 1e-4, broken.distance, -np.inf)
    uncut = np.clip(0.5 - torn / grid.step_mm, 0, 1)
    cover = uncut * _rim(broken.depth, pixel)
    intact = _rim(sampled(signed, at), pixel)
    still = np.linalg.norm(was - at, axis=0) < 1e-2
    moved = np.where(still, 0, cover)
    empty = intact * np.where(still, 1 - uncut, 1 - moved)
    width = min(1.0, fracture.gap_mm / grid.step_mm)
    opened = np.clip(0.5 - broken.gap / grid.step_mm, 0, width) * _rim(broken.depth, pixel)
    moved, empty = moved * (1 - opened), empty + opened * (1 - empty)
    parts = [grid.seen(near, moved, BLUR_MM), grid.seen(near, empty, BLUR_MM)]
    fills = [grid.spread(near, sampled(old, was)), grid.spread(near, sampled(_soft(old, signed, rng), at))]
    seen = old * (1 - grid.mean(sum(parts))) + sum(grid.mean(m * v) for m, v in zip(parts, fills, strict=True))
    others = (done.labels[place] != 0) & ~mask
    region = done.hu[place]
    region[~others] = np.clip(np.rint(seen), -1024, 3071).astype(np.int16)[~others]
    bone = (grid.share(near, broken.distance < 0) >= 0.5) & ~others
    names = done.labels[place]
    names[bone], names[mask & ~bone] = LABELS[level], 0
    torn_here = (broken.distance < 0) & (broken.gap < max(0.4, 0.5 * grid.step_mm))
    done.fracture_mask[place][(grid.share(near, torn_here) >= LEAST_TORN) & ~others] = LABELS[level]
    truth = truth_of(fracture, done.fracture_mask, matrix)
    if truth is None:
        message = f"{level} {fracture.type}: the break misses the bone of the mask; choose another type, level or seed."
        raise UserError(message)
    done.fractures.append(truth)


def _rim(distance: np.ndarray, pixel: float) -> np.ndarray:
    """1 in bone, 0 from 2.5 pixels outside: within, voxels are bone in part, which moves along with it."""
    return np.clip(2.5 - distance / pixel, 0, 1)


@dataclass(frozen=True)
class _FineGrid:
    """Each voxel of a block cut into ``parts`` ``[k, j, i]``, so that voxels show what they hold in part."""

    shape: tuple[int, int, int]
    parts: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def within(cls, shape: tuple[int, int, int], spacing_kji: np.ndarray) -> _FineGrid:
        """Parts of about ``FINE_MM``, at least one."""
        parts = np.clip(np.rint(spacing_kji / FINE_MM), 1, MOST_PARTS).astype(int)
        return cls(shape, tuple(parts.tolist()), tuple(spacing_kji.tolist()))

    @property
    def step_mm(self) -> float:
        """The smallest side of a part."""
        return min(mm / n for mm, n in zip(self.spacing_mm, self.parts, strict=True))

    def coarse(self, index: np.ndarray) -> np.ndarray:
        """Where parts ``[3, n]`` lie in the block, in voxels."""
        parts = np.array(self.parts)[:, None]
        return (index + 0.5) / parts - 0.5

    def refined(self, values: np.ndarray) -> np.ndarray:
        """Values of the block ``[k, j, i]`` at its parts, between neighbours in proportion."""
        parts = np.array(self.parts)
        shape = tuple((np.array(self.shape) * parts).tolist())
        return ndimage.affine_transform(values, 1 / parts, 0.5 / parts - 0.5, shape, order=1, mode="nearest")

    def spread(self, where: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
        """Values at parts in an array of all parts, 0 elsewhere."""
        fine = np.zeros(np.array(self.shape) * self.parts, np.float32)
        fine[where] = values
        return fine

    def seen(self, where: tuple[np.ndarray, ...], values: np.ndarray, blur_mm: float) -> np.ndarray:
        """As ``spread``, blurred in the plane."""
        steps = np.array(self.spacing_mm) / self.parts
        return ndimage.gaussian_filter(self.spread(where, values), (0.0, blur_mm / steps[1], blur_mm / steps[2]))

    def mean(self, fine: np.ndarray) -> np.ndarray:
        """``[k, j, i]``: of each voxel, the mean of its parts."""
        (k, j, i), (a, b, c) = self.shape, self.parts
        return fine.reshape(k, a, j, b, i, c).mean(axis=(1, 3, 5))

    def share(self, where: tuple[np.ndarray, ...], flags: np.ndarray) -> np.ndarray:
        """Of each voxel, the share of its parts that have the flag."""
        return self.mean(self.spread(where, flags))


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
