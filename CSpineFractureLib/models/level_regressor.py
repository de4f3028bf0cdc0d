"""A small 3D network that tells at which level of the neck a block of CT lies, by all that is around the column.

The bodies from C3 to C6 look alike, and where the scan shows neither the dens nor the first rib nobody can count them.
The jaw, the hyoid, the larynx and the shoulders still tell about where in the neck one is: this is regression of body
parts (Yan et al., ISBI 2018; Tang et al., IEEE TMI 2021), here for one block of 60 x 176 x 176 mm around a body. It is
one more evidence for the names of the column locator (``pipeline.column_search``), and gives no name by itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from CSpineFractureLib.models.sagittal_net import BODIES, WINDOWS_HU
from CSpineFractureLib.volume.coarse_grid import GRID_MM, LOWEST_HU

BLOCK, BLOCK_MM = (20, 44, 44), (3.0, 4.0, 4.0)
"""Voxels of a block along k, j and i, and their size."""
FORWARD_MM = 16.0
"""How far the middle of a block lies before that of the body: the throat lies there."""
FIRST, LAST, PER_LEVEL = -1, 8, 4
"""Positions in the neck: 0 is the middle of C1, 6 that of C7 and 7 that of T1, in quarters of a level."""
POSITIONS = (LAST - FIRST) * PER_LEVEL + 1
WIDTHS = (16, 32, 64, 128)
DROPPED = 0.3


class LevelRegressor(nn.Module):
    """``forward(blocks [n, 2, 20, 44, 44]) -> logits [n, 37]`` of the positions; ``block_input`` makes the input."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        first, *further = widths
        stem = nn.Conv3d(len(WINDOWS_HU), first, 3, (1, 2, 2), 1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm3d(first), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(*(_Residual(a, b) for a, b in zip(widths, further, strict=False)))
        self.dropout = nn.Dropout(DROPPED)
        self.head = nn.Linear(widths[-1], POSITIONS)

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.head(self.dropout(self.stages(self.stem(blocks)).mean((2, 3, 4))))


def blocks_at(hu: torch.Tensor, places: np.ndarray, turns: np.ndarray | None = None) -> torch.Tensor:
    """HU ``[n, 20, 44, 44]`` of blocks around places of a coarse volume, -1024 outside of it.

    Parameters
    ----------
    hu
        ``[k, j, i]`` on the coarse grid.
    places
        ``[n, 3]``: (broken) indices k, j, i of the middles of bodies.
    turns
        ``[n, 3, 3]``: from mm of a block to mm of the volume, where blocks are turned, scaled or mirrored.
    """
    places = np.asarray(places, np.float32).reshape(-1, 3)
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(BLOCK, BLOCK_MM, strict=True)]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - [0, FORWARD_MM, 0]
    moved = np.broadcast_to(offsets, (len(places), *offsets.shape))
    if turns is not None:
        moved = np.einsum("nab,kjib->nkjia", turns, offsets)
    index = moved / GRID_MM + places[:, None, None, None]
    grid = torch.from_numpy(((2 * index + 1) / hu.shape - 1)[..., ::-1].astype(np.float32).copy())
    above = (hu.float() - LOWEST_HU)[None, None].expand(len(places), -1, -1, -1, -1)
    return functional.grid_sample(above, grid, align_corners=False)[:, 0] + LOWEST_HU


def block_input(hu: torch.Tensor) -> torch.Tensor:
    """HU ``[n, 20, 44, 44]`` of blocks, as float32 ``[n, 2, 20, 44, 44]`` for the network."""
    return torch.stack([((hu.float() - low) / (high - low)).clamp(0, 1) for low, high in WINDOWS_HU], dim=1)


def positions(like: torch.Tensor) -> torch.Tensor:
    """``[37]``: the position, in levels, that each logit stands for; 0 is C1."""
    return torch.linspace(FIRST, LAST, POSITIONS, device=like.device)


def level_shares(logits: torch.Tensor) -> torch.Tensor:
    """``[n, 8]``: the probability that a block lies within half a level of C1-C7 and T1."""
    away = (positions(logits)[:, None] - torch.arange(BODIES, device=logits.device)).abs()
    return logits.float().softmax(1) @ ((away < 0.5).float() + 0.5 * (away == 0.5))


class _Residual(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(before, width, 3, 2, 1, bias=False)
        self.first_norm = nn.BatchNorm3d(width)
        self.second = nn.Conv3d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm3d(width)
        self.way_round = nn.Sequential(nn.Conv3d(before, width, 1, 2, bias=False), nn.BatchNorm3d(width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found = functional.relu(self.first_norm(self.first(values)), inplace=True)
        return functional.relu(self.second_norm(self.second(found)) + self.way_round(values), inplace=True)
