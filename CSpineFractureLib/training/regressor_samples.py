"""What the level regressor learns from: blocks around the column, turned, degraded and cut off at random.

A block may lie anywhere between two known bodies, not only at their middles. Ends are cut off as near as 3 mm, for the
network is asked where a scan shows few levels; what it says must not rest on what is then missing.
"""

from __future__ import annotations

import numpy as np
import torch

from CSpineFractureLib.datasets.column_volumes import ColumnVolume
from CSpineFractureLib.models.level_regressor import BLOCK, BLOCK_MM, block_input, blocks_at
from CSpineFractureLib.training.column_samples import degraded
from CSpineFractureLib.volume.coarse_grid import GRID_MM, LOWEST_HU

BEYOND = 0.4
"""Levels above the first known body and below the last one."""
TURN_SD_DEG, SCALE_SD, OFF_SD_MM = (9.0, 4.0, 6.0), 0.07, 4.0
"""Of turns about the axes i (nodding), j and k, of the logarithm of the size, and of the place before, behind and
beside the body."""
CUT, CUT_MM, SIDES, SIDES_MM = 0.6, (3.0, 35.0), 0.3, (25.0, 70.0)
"""Shares of blocks cut off above (and, by themselves, below) and at both sides, and how far from the middle."""
AIR_BELOW_HU = -1000


def draw_blocks(volume: ColumnVolume, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """``[count, 2, 20, 44, 44]`` blocks of a study with two or more known bodies, and their positions ``[count]``."""
    where, places = _places(volume.bodies, count, rng)
    places = places + rng.normal(0, OFF_SD_MM, (count, 3)) * [0, 1, 1] / GRID_MM
    hu = blocks_at(torch.from_numpy(volume.hu), places, np.stack([_turn(rng) for _ in range(count)]))
    air = hu < AIR_BELOW_HU
    hu = torch.cat([degraded(one[None, None], rng)[0] for one in hu])
    hu = torch.where(air, LOWEST_HU, hu)
    for block in hu:
        _cut(block, rng)
    return block_input(hu), torch.from_numpy(where.astype(np.float32))


def body_blocks(volume: ColumnVolume, near_mm: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks ``[n, 2, 20, 44, 44]`` at the known bodies as they are, and their levels ``[n]``.

    With ``near_mm``, only so much above and below the middle of each body is shown.
    """
    known = np.flatnonzero(np.isfinite(volume.bodies[:, 0]))
    hu = blocks_at(torch.from_numpy(volume.hu), volume.bodies[known])
    if near_mm is not None:
        hu[:, np.abs(_along(0)) > near_mm] = LOWEST_HU
    return block_input(hu), torch.from_numpy(known.astype(np.float32))


def _places(bodies: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions in levels, and the places ``[count, 3]`` there: on the lines from body to body, and a little beyond."""
    known = np.flatnonzero(np.isfinite(bodies[:, 0]))
    first, last = known[0], known[-1]
    where = rng.uniform(first - BEYOND, last + BEYOND, count)
    upper = np.clip(np.searchsorted(known, where) - 1, 0, len(known) - 2)
    a, b = known[upper], known[upper + 1]
    share = ((where - a) / (b - a))[:, None]
    return where, bodies[a] * (1 - share) + bodies[b] * share


def _turn(rng: np.random.Generator) -> np.ndarray:
    a, b, c = np.deg2rad(rng.normal(0, TURN_SD_DEG))
    about_i = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_j = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    about_k = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    mirror = np.diag([1.0, 1.0, rng.choice([-1.0, 1.0])])
    return about_i @ about_j @ about_k @ mirror * np.exp(rng.normal(0, SCALE_SD))


def _cut(block: torch.Tensor, rng: np.random.Generator) -> None:
    up, side = _along(0), _along(2)
    if rng.random() < CUT:
        block[up > rng.uniform(*CUT_MM)] = LOWEST_HU
    if rng.random() < CUT:
        block[up < -rng.uniform(*CUT_MM)] = LOWEST_HU
    if rng.random() < SIDES:
        left, right = rng.uniform(*SIDES_MM, 2)
        block[:, :, (side < -left) | (side > right)] = LOWEST_HU


def _along(axis: int) -> np.ndarray:
    """mm from the middle of a block."""
    return (np.arange(BLOCK[axis]) - (BLOCK[axis] - 1) / 2) * BLOCK_MM[axis]
