"""Where bone looks torn in 3D: what the fracture FCN says of each level, and where.

The network looks at the bone around the segments at once, on cubic voxels of 0.8 mm, as it is and mirrored. A level's
logit is the mean of the four highest cubes of 3.2 mm on its bone or beside it; ``suspicion`` tells what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import coarse_hu, from_coarse
from CSpineFractureLib.volume.morphology import filled_block

VOLUME = "fracture-volume"
MARGIN_MM = 14.0
"""Around all segments, what the network sees besides."""
HIGHEST = 4
"""Cubes whose mean logit is that of a level."""
ABOUT_AS_HIGH = 1.0
"""Logits below the highest cube that still belong to the same break."""
BESIDE_CUBES = 5
"""Cubes along the edge of the neighbourhood of a cube, 16 mm."""
NEAR = 1.01
"""Cubes from its bone that a level's cubes lie at most."""
MULTIPLE = 8
"""Of voxels, that each side of what the network sees must be."""
SLAB, BESIDE = 112, 16
"""Voxels along k of what is looked at in one go, so that two threads share a neck, and what is seen besides."""
LEAST = -3.0
"""Logit of a level of which no cube is seen."""


@dataclass(frozen=True)
class TornBone:
    """``logits`` ``[a, b, c]`` of cubes, ``levels`` of the same shape (1-7, 0 far from bone) and where cubes lie:
    ``first`` and ``step`` are canonical k, j, i of the middle of the first one and from each to the next."""

    logits: np.ndarray
    levels: np.ndarray
    first: np.ndarray
    step: np.ndarray

    def logit(self, number: int) -> float:
        """Of level 1-7. Cubes beside a higher one of another level are that one's: a break spreads over its edges."""
        every = np.where(self.levels > 0, self.logits, -np.inf)
        own = np.where(self.levels == number, self.logits, -np.inf)
        highest, own_highest = (ndimage.maximum_filter(values, BESIDE_CUBES) for values in (every, own))
        counted = self.logits[(self.levels == number) & (own_highest >= highest)]
        return float(np.sort(counted)[-HIGHEST:].mean()) if len(counted) >= HIGHEST else LEAST

    def place(self, number: int) -> tuple[slice, slice, slice] | None:
        """Bounds ``[k, j, i]``, on the canonical grid, of the highest cube of a level and what is about as high around
        it; ``None`` where the level has no cube."""
        own = np.where(self.levels == number, self.logits, -np.inf)
        top = np.unravel_index(own.argmax(), own.shape)
        if not np.isfinite(own[top]):
            return None
        parts, _ = ndimage.label(own >= own[top] - ABOUT_AS_HIGH, np.ones((3, 3, 3)))
        index = np.argwhere(parts == parts[top])
        low = np.floor(self.first + (index.min(axis=0) - 0.5) * self.step + 0.5).astype(int)
        high = np.ceil(self.first + (index.max(axis=0) + 0.5) * self.step + 0.5).astype(int)
        return tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))


def torn_bone(view: CanonicalView, labels: np.ndarray, context: RunContext) -> TornBone | None:
    """What the network says of the bone of ``labels`` (canonical, uint8 ``[k, j, i]``); ``None`` without bone or
    without weights."""
    block = filled_block(labels) if context.has(VOLUME) else None
    if block is None:
        return None
    import torch

    from CSpineFractureLib.models.fracture_fcn import CELL, VOXEL_MM, fcn_input

    spacing, grid = np.array(view.spacing_mm[::-1]), (VOXEL_MM,) * 3
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    seen = tuple(
        slice(max(0, own.start - m), min(n, own.stop + m))
        for own, m, n in zip(block, margin, labels.shape, strict=True)
    )
    network, _ = context.load(VOLUME)

    def look(looks: list[tuple[slice, slice, bool]], device: str) -> list[np.ndarray]:
        if device != context.device:  # whose memory was short
            network.to(device)
        answers = []
        for own, wide, is_mirrored in looks:
            with torch.inference_mode():
                seen = fcn_input(torch.from_numpy(hu[wide])[None].to(device))
                logits = network(seen.flip(4))[0].flip(2) if is_mirrored else network(seen)[0]
            first = (own.start - wide.start) // CELL
            answers.append(logits[first : first + (own.stop - own.start) // CELL].float().cpu().numpy())
        return answers

    with context.stage("torn-bone", 1, "Looking for torn bone"):
        hu = coarse_hu(view.hu[seen], view.spacing_mm, context.each, grid)
        hu = np.pad(hu, [(0, -n % MULTIPLE) for n in hu.shape], mode="edge")
        first = from_coarse(np.full(3, (CELL - 1) / 2), view.spacing_mm, grid) + [one.start for one in seen]
        step = CELL * VOXEL_MM / spacing
        levels = context.start(_levels_at, labels, tuple(n // CELL for n in hu.shape), first, step)
        looks = [(*part, is_mirrored) for part in _parts(len(hu)) for is_mirrored in (False, True)]
        found = context.run_batches("torn-bone", look, looks, 1, "Looking for torn bone", side_by_side=True)
        logits = (np.concatenate(found[::2]) + np.concatenate(found[1::2])) / 2
        return TornBone(logits, levels.result(), first, step)


def _parts(height: int) -> list[tuple[slice, slice]]:
    """Slabs of about ``SLAB`` voxels, and the wider ones that the network sees of each."""
    count = max(1, round(height / SLAB))
    ends = [MULTIPLE * round(height / MULTIPLE * n / count) for n in range(count + 1)]
    return [(slice(a, b), slice(max(0, a - BESIDE), min(height, b + BESIDE))) for a, b in pairwise(ends)]


def _levels_at(labels: np.ndarray, shape: tuple[int, ...], first: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The level (1-7) of the nearest cube whose middle lies in bone, where that is at most ``NEAR`` cubes away."""
    index = [
        np.clip(np.rint(f + np.arange(n) * s), 0, m - 1).astype(int)
        for f, n, s, m in zip(first, shape, step, labels.shape, strict=True)
    ]
    at = labels[np.ix_(*index)]
    at[at > 7] = 0
    if not at.any():
        return at
    away, nearest = ndimage.distance_transform_edt(at == 0, return_indices=True)
    return np.where(away <= NEAR, at[tuple(nearest)], 0)
