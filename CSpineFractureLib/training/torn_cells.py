"""What the fracture FCN learns from: blocks of bone, turned and scanned anew at random, and which cubes are torn.

Each block is scanned with voxels of its own, from those of trauma protocols to slices of 3.3 mm, with a kernel and
noise (domain randomisation: Tobin et al., IROS 2017), and then brought to the network's voxels as in a run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.models.fracture_fcn import CELL, VOXEL_MM
from CSpineFractureLib.training.bank import TrainingStudy

BLOCK = 48
"""Voxels along the edge of a block."""
AROUND_MM = 34.0
"""How much of a study is looked at on either side of the middle of a block."""
OFF_MM = 9.0
"""How far, at most, the middle lies from the bone or gap that was drawn."""
LEAST_GAP = 8
"""Voxels of a gap that make a study a broken one."""
PIXEL_MM, THIN_MM, THICK_MM = (0.35, 1.1), (0.5, 1.5), (1.5, 3.3)
"""Pixels and slices (half of them thin) of the scanners that are drawn."""
BLUR = 0.42
"""Standard deviation of the blur before sampling, in voxels of the new scan: half of them at half height."""
MEAN = 0.41
"""Likewise of the means that a run makes of voxels smaller than the network's."""
TURN_SD, SIZES = 0.14, (0.87, 1.15)
BONE_HU, DENSITIES = 150.0, (0.7, 1.25)


@dataclass(frozen=True)
class TornCells:
    """Studies that show a break and studies that show none, to draw blocks from."""

    broken: list[TrainingStudy]
    sound: list[TrainingStudy]

    @classmethod
    def of(cls, studies: list[TrainingStudy]) -> TornCells:
        """Where all studies are broken, whole bone is shown of them, too."""
        broken = [study for study in studies if np.count_nonzero(study.fracture) >= LEAST_GAP]
        sound = [study for study in studies if study.labels.any() and not study.fracture.any()]
        return cls(broken, sound or broken)

    def draw(self, rng: np.random.Generator, is_broken: bool) -> tuple[np.ndarray, np.ndarray]:
        """float32 HU ``[48, 48, 48]`` and cubes ``[12, 12, 12]``, 1 where bone is torn, of a random study."""
        pool = self.broken if is_broken else self.sound
        return block_of(pool[int(rng.integers(len(pool)))], is_broken, rng)


def block_of(
    study: TrainingStudy, is_broken: bool, rng: np.random.Generator, plainly: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """As ``TornCells.draw``, around a gap or around bone of this study; ``plainly``: nothing turned, no other noise."""
    spacing = np.array([study.slice_mm, study.pixel_mm, study.pixel_mm])
    wanted = np.flatnonzero(study.fracture if is_broken else study.labels)
    index = np.array(np.unravel_index(wanted[int(rng.integers(len(wanted)))], study.hu.shape))
    middle = index * spacing + rng.uniform(-OFF_MM, OFF_MM, 3)
    shape = np.array(study.hu.shape)
    first = np.clip(np.floor((middle - AROUND_MM) / spacing).astype(int), 0, np.maximum(shape - 8, 0))
    last = np.clip(np.ceil((middle + AROUND_MM) / spacing).astype(int) + 1, np.minimum(8, shape), shape)
    part = tuple(map(slice, first, last))
    middle = middle - first * spacing
    scan, step, start = _scanned(study.hu[part].astype(np.float32), spacing, rng)
    turn = np.eye(3) if plainly else _turn(rng)
    scan = scan if plainly else _degraded(scan, rng)
    fine = np.where(step < VOXEL_MM, MEAN * VOXEL_MM / step, 0)
    scan = ndimage.gaussian_filter(scan, fine, truncate=3) if fine.any() else scan
    turn = turn * VOXEL_MM
    corner = middle - turn @ np.full(3, (BLOCK - 1) / 2)
    hu = ndimage.affine_transform(
        np.ascontiguousarray(scan, np.float32),
        turn / step[:, None],
        (corner - start) / step,
        (BLOCK,) * 3,
        order=1,
        mode="nearest",
    )
    torn = ndimage.affine_transform(
        (study.fracture[part] > 0).astype(np.float32), turn / spacing[:, None], corner / spacing, (BLOCK,) * 3, order=0
    )
    cells = BLOCK // CELL
    return hu, torn.reshape(cells, CELL, cells, CELL, cells, CELL).max(axis=(1, 3, 5))


def _scanned(hu: np.ndarray, spacing: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """HU as a scanner of larger voxels would give them, the size of its voxels, and where the first one lies (mm)."""
    thick = rng.uniform(*THIN_MM) if rng.random() < 0.5 else rng.uniform(*THICK_MM)
    pixel = rng.uniform(*PIXEL_MM)
    step = np.maximum([thick, pixel, pixel], spacing)
    if not (step > 1.02 * spacing).any():
        return hu, spacing, np.zeros(3)
    blur = np.where(step > 1.15 * spacing, BLUR * step / spacing, 0)
    start = rng.uniform(0, 0.9, 3) * step
    shape = np.maximum(4, np.floor(np.array(hu.shape) * spacing / step)).astype(int)
    hu = ndimage.gaussian_filter(hu, blur, truncate=3) if blur.any() else hu
    return (
        ndimage.affine_transform(hu, step / spacing, start / spacing, tuple(shape), order=1, mode="nearest"),
        step,
        start,
    )


def _degraded(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another density of bone, another kernel, noise."""
    hu = np.where(hu > BONE_HU, BONE_HU + (hu - BONE_HU) * rng.uniform(*DENSITIES), hu)
    if rng.random() < 0.5:
        hu = hu + rng.normal(0, 20)
    if rng.random() < 0.35:
        hu = ndimage.gaussian_filter(hu, (0, *[rng.uniform(0.3, 0.8)] * 2))
    elif rng.random() < 0.35:
        hu = hu + rng.uniform(0.3, 1.0) * (hu - ndimage.gaussian_filter(hu, (0, 1.0, 1.0)))
    if rng.random() < 0.7:
        grain = rng.standard_normal(hu.shape, dtype=np.float32) * rng.gamma(2.0, 12.0)
        hu = hu + (ndimage.gaussian_filter(grain, (0, 0.7, 0.7)) * 2 if rng.random() < 0.6 else grain)
    return hu


def _turn(rng: np.random.Generator) -> np.ndarray:
    """A small random turn about each axis, a size, and as often as not a mirror from left to right."""
    turn = np.eye(3)
    for one, other in ((1, 2), (0, 2), (0, 1)):
        angle, about = rng.normal(0, TURN_SD), np.eye(3)
        about[one, one] = about[other, other] = np.cos(angle)
        about[one, other], about[other, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ about
    turn = turn * rng.uniform(*SIZES)
    if rng.random() < 0.5:
        turn[:, 2] *= -1
    return turn
