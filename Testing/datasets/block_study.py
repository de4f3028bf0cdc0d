"""A study made of blocks: seven vertebrae as boxes of bone in soft tissue, unlike its own mirror in every direction."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.study import FractureTruth, PhantomStudy

SPACING_MM = (1.5, 2.0, 3.0)
"""Along i, j, k: unequal, so that swapped axes show."""
SHAPE_KJI = (30, 36, 40)


def make_block_study(seed: int, levels: tuple[str, ...] = ("C3", "C6")) -> PhantomStudy:
    """A study whose fractures are slabs through the named levels; level ``n`` lies in slices 30 - 4 n to 32 - 4 n."""
    rng = np.random.default_rng(seed)
    hu = np.full(SHAPE_KJI, -1000.0)
    hu[:, 4:-3, 3:-5] = 40
    labels, gaps = np.zeros(SHAPE_KJI, np.uint8), np.zeros(SHAPE_KJI, np.uint8)
    for n in range(1, 9):
        top = SHAPE_KJI[0] - 4 * n + 3
        labels[max(0, top - 3) : top, 10 + n // 2 : 20, 12:26] = n
    fractures = []
    for level in levels:
        n = int(level[1])
        k, j, i = np.nonzero(labels == n)
        gap = (i == 18) & (k > k.min())
        gaps[k[gap], j[gap], i[gap]] = n
        boxes = [[int(at), 15, int(j.min()) - 1, 7, int(np.ptp(j)) + 3] for at in np.unique(k[gap])]
        fractures.append(FractureTruth(level, "block", 1.5, False, [[0, 0, 0], [1, 1, 1]], boxes))
    hu[labels > 0] = 600
    hu[gaps > 0] = 50
    hu += rng.normal(0, 8, SHAPE_KJI)
    matrix = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    matrix[:3, 3] = (31.25, -12.5, 407.75)
    centres = {f"C{n}": _middle(labels == n, matrix) for n in range(1, 8)}
    volume = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return PhantomStudy(seed, volume, labels, gaps, matrix, centres, fractures)


def _middle(mask: np.ndarray, matrix: np.ndarray) -> list[float]:
    k, j, i = (axis.mean() for axis in np.nonzero(mask))
    return [float(x) for x in (matrix @ [i, j, k, 1])[:3]]
