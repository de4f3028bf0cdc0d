"""A made-up neck, blocks of bone under each other with gaps between them, and a network that knows the blocks."""

from __future__ import annotations

import numpy as np
import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.column_search import LOCATOR
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.name_bodies import HEIGHTS_MM
from CSpineFractureLib.volume.ct_volume import CTVolume

SPACING_MM = (1.0, 1.0, 1.5)
BLOCK_HU = 300
GAP_MM = 3.0


class ReadsHU(torch.nn.Module):
    """Names bone by its HU, as the made volumes code it, ``lower`` levels too low; warm in the middle of the blocks."""

    def __init__(self, lower: int = 0) -> None:
        super().__init__()
        self.lower = lower

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hu = images[:, 5 + 2] * 1200
        level = ((hu - BLOCK_HU) / 50).round() - self.lower
        bone = hu > BLOCK_HU - 30
        edge = torch.nn.functional.max_pool2d(hu, 3, 1, 1) + torch.nn.functional.max_pool2d(-hu, 3, 1, 1) > 20
        logits = torch.full((len(images), 17, *images.shape[2:]), -6.0)
        logits[:, 0] = torch.where(bone, -6.0, 6.0)
        rows, columns = torch.arange(hu.shape[1])[:, None], torch.arange(hu.shape[2])[None]
        for n in range(8):
            logits[:, 1 + n][bone & (level == n)] = 6.0
            for picture, inner in enumerate(bone & (level == n) & ~edge):
                k, j = torch.nonzero(inner, as_tuple=True)
                if len(k):
                    away = (rows - k.float().mean()) ** 2 + (columns - j.float().mean()) ** 2
                    logits[picture, 9 + n] = 3.0 - away / 4
        return logits


def a_context(lower: int = 0) -> RunContext:
    """A run whose only network is ``ReadsHU`` as the column locator."""

    def find(task: str) -> None:
        if task != LOCATOR:
            message = f"There are no weights for the {task}."
            raise UserError(message)

    made = RunContext(profile="two-stage")
    made.use_models(lambda task: (ReadsHU(lower), None), find)
    return made


def a_neck(levels: int = 8, height: int = 120) -> tuple[CTVolume, np.ndarray]:
    """Blocks of 16 x 16 mm, as tall as vertebrae, under each other in soft tissue; RAS mm of their middles."""
    hu = np.full((height, 70, 70), -1000, np.int16)
    hu[:, 5:65, 5:65] = 40
    matrix = np.diag([-1.0, -1.0, SPACING_MM[2], 1.0])
    matrix[:3, 3] = (40, 50, -100)
    middles = []
    for n in range(levels):
        top = height - 4 - round(sum(HEIGHTS_MM[:n]) / SPACING_MM[2])
        bottom = top - round((HEIGHTS_MM[n] - GAP_MM) / SPACING_MM[2])
        if bottom < 0:
            break
        hu[bottom:top, 30:46, 27:43] = BLOCK_HU + 50 * n
        ijk = np.array([34.5, 37.5, (top + bottom - 1) / 2])
        middles.append(matrix[:3, :3] @ ijk + matrix[:3, 3])
    return CTVolume(hu, matrix), np.array(middles)


def gaps_s(middles: np.ndarray, first: int = 0) -> np.ndarray:
    """S of the middle of the gap below each of the levels from ``first`` on, but the last."""
    heights = np.array(HEIGHTS_MM)[first : first + len(middles) - 1]
    return middles[:-1, 2] - heights / 2
