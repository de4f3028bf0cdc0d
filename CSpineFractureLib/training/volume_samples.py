"""What the 3D segmentation learns from: blocks of coarse volumes around the neck, turned, mirrored and degraded."""

from __future__ import annotations

import numpy as np
import torch

from CSpineFractureLib.datasets.column_volumes import ColumnVolume
from CSpineFractureLib.models.neck_block import NeckBlock, network_input, sampled
from CSpineFractureLib.training.column_samples import degraded, neck_middle, random_turn
from CSpineFractureLib.volume.coarse_grid import GRID_MM, LOWEST_HU

OFF_MM = (20.0, 12.0, 9.0)
"""How far the middle of a block lies from that of the neck, at most, along k, j and i."""


def block_of(volume: ColumnVolume, shape: tuple[int, int, int]) -> NeckBlock:
    """The block around the middle of the neck of a study whose vertebrae are known."""
    return NeckBlock(shape, tuple(neck_middle(volume) / GRID_MM))


def plain_sample(volume: ColumnVolume, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The block ``[2, k, j, i]`` as it is, and its labels int64 ``[k, j, i]``."""
    block = block_of(volume, shape)
    labels = np.zeros(shape, np.int64)
    there, here = block.part(volume.labels.shape)
    labels[here] = volume.labels[there]
    return network_input(block.cut(volume.hu)), torch.from_numpy(labels)


def drawn_sample(
    volume: ColumnVolume, shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``plain_sample``, cast about: turned, scaled, moved, mirrored, with other contrast, resolution and noise."""
    turn = random_turn(rng) @ np.diag([1.0, 1.0, rng.choice([-1.0, 1.0])])
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, GRID_MM, strict=True)]
    middle = neck_middle(volume) + rng.uniform(-1, 1, 3) * OFF_MM
    points = (np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ turn.T + middle) / GRID_MM
    hu = sampled(torch.from_numpy(volume.hu.astype(np.float32) - LOWEST_HU)[None], points)
    labels = sampled(torch.from_numpy(volume.labels.astype(np.float32))[None], points, mode="nearest")[0]
    return network_input(degraded(hu[None] + LOWEST_HU, rng)[0, 0]), labels.long()
