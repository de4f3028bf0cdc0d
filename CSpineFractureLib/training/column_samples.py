"""What the network that finds the column learns from: sagittal slices of coarse volumes, cast about and degraded.

Real scans differ from each other more than phantoms do. Each visit of a study therefore turns, scales and flips it,
takes from its resolution, contrast and field of view at random, and shows only part of the neck now and then
(domain randomisation; Tobin et al., IROS 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from CSpineFractureLib.datasets.column_volumes import BODIES, THORACIC, ColumnVolume
from CSpineFractureLib.models.sagittal_net import NEIGHBOURS, sagittal_input
from CSpineFractureLib.volume.coarse_grid import GRID_MM, LOWEST_HU

TURN_DEG, SCALE = (25.0, 10.0, 12.0), (0.8, 1.25)
"""Largest turns about the axes i (nodding), j and k; range of sizes."""
OFF_MM = (45.0, 30.0, 6.0)
"""How far the middle of a picture lies from that of the neck, at most."""
NEAR_SD_MM, FAR_MM, FAR_SHARE = 9.0, 55.0, 0.2
"""Slices are drawn around the middle of the neck, and a share of them anywhere."""
COARSER, PLANNING, CORD, CUT = 0.55, 0.45, 0.15, 0.4
"""Shares of visits with less resolution, with tissue only in a region as in planning CT, with nothing but the cord
below some level as there too, and with an end cut off."""
PIECE, PIECE_MM = 0.3, (40.0, 90.0)
"""Share of visits to a scan that shows a piece of the neck only, and its height."""
CORD_BEHIND_MM, CORD_RADIUS_MM = (14.0, 24.0), (6.0, 12.0)
"""Of the tube around the cord: how far behind the middles of the bodies, and how wide."""
BODY_ROWS = 3
HEAT_SD_MM, HEAT_SIDE = 4.0, 2.0
"""Of the heat around the middle of a body; sideways it reaches twice as far."""
AIR_BELOW_HU = -1000


@dataclass(frozen=True)
class Slices:
    """``images`` float32 ``[n, 10, size, size]``, ``labels`` int64 ``[n, size, size]``, ``heat`` ``[n, 8, size, size]``
    and ``known``, whether the bodies' middles are known."""

    images: torch.Tensor
    labels: torch.Tensor
    heat: torch.Tensor
    known: bool


def draw_slices(volume: ColumnVolume, count: int, size: int, rng: np.random.Generator, plain: bool = False) -> Slices:
    """``count`` sagittal slices of ``size`` pixels (2 mm) of one study; ``plain``: as it is, in its middle."""
    middle = neck_middle(volume)
    turn = np.eye(3) if plain else random_turn(rng)
    offsets = np.zeros(count) if plain else _offsets(count, rng)
    if not plain:
        middle = middle + rng.uniform(-1, 1, 3) * OFF_MM
    flip = not plain and rng.random() < 0.5
    hu = torch.from_numpy(volume.hu.astype(np.float32))[None, None]
    bodies = volume.bodies
    if not plain:
        stored = _stored(volume, rng)
        hu = torch.where(stored, degraded(hu, rng), LOWEST_HU)
        bodies = _those_in(stored, bodies)
    cut = (-np.inf, np.inf) if plain else _cut(rng)
    labels = torch.from_numpy(volume.labels.astype(np.float32))[None, None]
    made = [_slice(hu, labels, bodies, middle, turn, offset, size, flip, cut) for offset in offsets]
    images, named, heat = (torch.stack(parts) for parts in zip(*made, strict=True))
    return Slices(sagittal_input(images), named, heat, bool(np.isfinite(volume.bodies).any()))


def neck_middle(volume: ColumnVolume) -> np.ndarray:
    """mm of the middle of the neck, in the order k, j, i."""
    known = volume.bodies[np.isfinite(volume.bodies[:, 0])]
    place = (
        known.mean(axis=0) if len(known) else np.argwhere((volume.labels > 0) & (volume.labels < THORACIC)).mean(axis=0)
    )
    return place * np.array(GRID_MM)


def random_turn(rng: np.random.Generator) -> np.ndarray:
    """``[3, 3]``: from mm of a picture to mm of the volume, in the order k, j, i."""
    a, b, c = np.deg2rad(rng.uniform(-1, 1, 3) * TURN_DEG)
    about_i = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_j = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    about_k = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return about_i @ about_j @ about_k * rng.uniform(*SCALE)


def _offsets(count: int, rng: np.random.Generator) -> np.ndarray:
    far = rng.random(count) < FAR_SHARE
    return np.where(far, rng.uniform(-FAR_MM, FAR_MM, count), rng.normal(0, NEAR_SD_MM, count))


def _cut(rng: np.random.Generator) -> tuple[float, float]:
    """Lowest and highest mm of a picture, from its middle, that the scan holds."""
    if rng.random() < PIECE:
        middle, height = rng.uniform(-45, 45), rng.uniform(*PIECE_MM)
        return middle - height / 2, middle + height / 2
    low = rng.uniform(-75, 15) if rng.random() < CUT else -np.inf
    high = rng.uniform(-15, 75) if rng.random() < CUT else np.inf
    return low, high


def degraded(hu: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Less resolution, other contrast, and noise."""
    if rng.random() < COARSER:
        blocks = tuple(int(n) for n in (rng.choice([1, 1, 2]), rng.choice([1, 2, 2]), rng.choice([1, 1, 2])))
        small = functional.avg_pool3d(hu, blocks, ceil_mode=True, count_include_pad=False)
        hu = functional.interpolate(small, hu.shape[2:], mode="trilinear" if rng.random() < 0.7 else "nearest")
    if rng.random() < 0.5:
        bone = rng.uniform(0.55, 1.4)
        hu = torch.where(hu > 120, 120 + (hu - 120) * bone, hu)
    hu = hu * rng.uniform(0.9, 1.1) + rng.uniform(-40, 40)
    noise = torch.from_numpy(rng.standard_normal(hu.shape, np.float32)) * abs(rng.normal(0, 45))
    return hu + noise


def _stored(volume: ColumnVolume, rng: np.random.Generator) -> torch.Tensor:
    """Bool ``[k, j, i]``: what the scan holds; often a rounded region around the neck, or less."""
    stored = torch.ones(volume.hu.shape, dtype=torch.bool)
    if rng.random() < PLANNING:
        stored = _region(volume, rng)
    if rng.random() < CORD:
        _keep_cord(stored, volume.bodies, rng)
    return stored


def _region(volume: ColumnVolume, rng: np.random.Generator) -> torch.Tensor:
    middle = neck_middle(volume) + rng.uniform([-25, -15, -10], [25, 45, 10])
    radii = np.array([rng.uniform(60, 160), rng.uniform(38, 80), rng.uniform(38, 80)])
    power = rng.choice([2.0, 4.0, 8.0])
    away = [
        torch.from_numpy(np.abs((np.arange(n) * mm - m) / r) ** power)
        for n, mm, m, r in zip(volume.hu.shape, GRID_MM, middle, radii, strict=True)
    ]
    return away[0][:, None, None] + away[1][None, :, None] + away[2][None, None, :] <= 1


def _keep_cord(stored: torch.Tensor, bodies: np.ndarray, rng: np.random.Generator) -> None:
    """Below a level that is drawn, keep only a tube behind the bodies, as where planning CT was cut to its contours."""
    known = bodies[np.isfinite(bodies[:, 0])]
    if len(known) < 3:
        return
    known = known[np.argsort(known[:, 0])]
    end = int(np.clip(round(rng.uniform(known[0, 0] - 5, known[-1, 0])), 0, stored.shape[0]))
    behind, radius = rng.uniform(*CORD_BEHIND_MM), rng.uniform(*CORD_RADIUS_MM)
    k = np.arange(end)
    lean = np.polyfit(known[:, 0], known[:, 1], 1)
    j = np.arange(stored.shape[1])[None] - (np.polyval(lean, k) + behind / GRID_MM[1])[:, None]
    i = np.arange(stored.shape[2]) - np.median(known[:, 2])
    away = (j[:, :, None] * GRID_MM[1]) ** 2 + (i[None, None] * GRID_MM[2]) ** 2
    stored[:end] &= torch.from_numpy(away <= radius**2)


def _those_in(stored: torch.Tensor, bodies: np.ndarray) -> np.ndarray:
    """The bodies whose middle the scan holds, from 6 mm below to 6 mm above it; the others become unknown."""
    kept = np.full_like(bodies, np.nan)
    for level, body in enumerate(bodies):
        if np.isfinite(body).all():
            k, j, i = np.clip(np.rint(body).astype(int), 0, np.array(stored.shape) - 1)
            if stored[max(0, k - BODY_ROWS) : k + BODY_ROWS + 1, j, i].all():
                kept[level] = body
    return kept


def _slice(hu, labels, bodies, middle, turn, offset, size, flip, cut) -> tuple[torch.Tensor, ...]:
    """HU ``[5, size, size]``, labels and heat of one slice."""
    shape, steps = np.array(hu.shape[2:]), np.array(GRID_MM)
    height = (np.arange(size) - size / 2 + 0.5) * steps[0]
    depth = (np.arange(size) - size / 2 + 0.5) * steps[1]
    side = np.arange(-NEIGHBOURS, NEIGHBOURS + 1) * steps[2] * (-1 if flip else 1) + offset
    points = np.stack(np.meshgrid(height, depth, side, indexing="ij"), axis=-1) @ turn.T + middle
    grid = torch.from_numpy(((2 * points / steps + 1) / shape - 1)[..., ::-1].astype(np.float32).copy())[None]
    image = functional.grid_sample(hu - LOWEST_HU, grid, align_corners=False)[0, 0] + LOWEST_HU
    own = grid[..., NEIGHBOURS : NEIGHBOURS + 1, :]
    named = functional.grid_sample(labels, own, mode="nearest", align_corners=False)[0, 0, ..., 0].long()
    heat = _heat(points[:, :, NEIGHBOURS], bodies * steps, shape * steps, np.cbrt(abs(np.linalg.det(turn))))
    gone = torch.from_numpy((height < cut[0]) | (height > cut[1]))
    image[gone], named[gone], heat[:, gone] = LOWEST_HU, 0, 0
    named[image[..., NEIGHBOURS] < AIR_BELOW_HU] = 0
    return image.permute(2, 0, 1), named, heat


def _heat(points: np.ndarray, bodies: np.ndarray, extent: np.ndarray, scale: float) -> torch.Tensor:
    """float32 ``[8, size, size]`` at points ``[size, size, 3]`` (mm): 1 at the middle of a body inside the scan."""
    heat = np.zeros((len(BODIES), *points.shape[:2]), np.float32)
    for level, body in enumerate(bodies):
        if np.isfinite(body).all() and 0 <= body[0] <= extent[0]:
            away = ((points - body) / np.array([1, 1, HEAT_SIDE]) / scale) ** 2
            heat[level] = np.exp(-away.sum(axis=-1) / (2 * HEAT_SD_MM**2))
    return torch.from_numpy(heat)
