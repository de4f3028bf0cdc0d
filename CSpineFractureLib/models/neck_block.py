"""What a 3D network sees: a block of the coarse grid around the neck (see ``volume.coarse_grid``), in two windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from CSpineFractureLib.models.sagittal_net import WINDOWS_HU
from CSpineFractureLib.volume.coarse_grid import LOWEST_HU

LEAST_BLOCK = (16, 32, 32)
"""Voxels along k, j and i of the smallest block."""


@dataclass(frozen=True)
class NeckBlock:
    """A block of ``shape`` voxels ``[k, j, i]`` whose middle is at ``middle_kji`` of a coarse volume."""

    shape: tuple[int, int, int]
    middle_kji: tuple[float, float, float]

    @property
    def corner(self) -> np.ndarray:
        """Index k, j, i of its first voxel; it may lie outside of the volume."""
        return np.rint(np.array(self.middle_kji) - (np.array(self.shape) - 1) / 2).astype(int)

    def part(self, shape_kji: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Which voxels of a volume of this shape it shows, and where in the block they lie."""
        first = np.clip(self.corner, 0, shape_kji)
        last = np.clip(self.corner + self.shape, first, shape_kji)
        own = first - self.corner, last - self.corner
        return tuple(map(slice, first, last)), tuple(map(slice, *own))

    def cut(self, hu: np.ndarray) -> torch.Tensor:
        """float32 HU ``[k, j, i]`` of the block; -1024 outside of the volume."""
        block = torch.full(self.shape, float(LOWEST_HU))
        there, here = self.part(hu.shape)
        block[here] = torch.from_numpy(hu[there].astype(np.float32))
        return block

    def paste(self, labels: np.ndarray, shape_kji: tuple[int, ...]) -> np.ndarray:
        """The labels of the block in a volume of this shape, 0 elsewhere."""
        whole = np.zeros(shape_kji, labels.dtype)
        there, here = self.part(shape_kji)
        whole[there] = labels[here]
        return whole


def network_input(hu: torch.Tensor) -> torch.Tensor:
    """float32 ``[2, k, j, i]`` 0..1 of HU ``[k, j, i]``: soft tissue and bone."""
    return torch.stack([((hu - low) / (high - low)).clamp(0, 1) for low, high in WINDOWS_HU])


def sampled(values: torch.Tensor, points_kji: np.ndarray, mode: str = "bilinear") -> torch.Tensor:
    """``values`` ``[channels, k, j, i]`` at (broken) indices ``[..., 3]``, which have three axes; 0 outside."""
    size = np.array(values.shape[1:])
    grid = torch.from_numpy(((2 * points_kji + 1) / size - 1)[..., ::-1].astype(np.float32).copy())
    return functional.grid_sample(values[None], grid[None].to(values.device), mode=mode, align_corners=False)[0]
