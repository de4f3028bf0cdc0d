"""From the probability that each slice shows C1-C7 to one range of slices per level, in anatomical order.

Several levels show in one slice (arches and spinous processes hang beside the body below), so their ranges overlap;
still each level begins and ends below the one above it. Among all such ranges the best sum of log-odds is found by
dynamic programming, which drops single slices that contradict their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_MM = 5.0
"""A range shorter than this is no vertebra (the anterior arch of C1 is about 10 mm high)."""
CERTAIN = 0.99
"""Probabilities count as 0.01 to 0.99, so that no single slice outweighs many."""


@dataclass(frozen=True)
class LevelRange:
    """The rows ``first`` (upper) to ``last``, both inclusive, that show level 0-6 (C1-C7); ``confidence`` 0..1."""

    level: int
    first: int
    last: int
    confidence: float


def level_ranges(probabilities: np.ndarray, step_mm: float) -> list[LevelRange]:
    """Ranges of the levels seen, top to bottom; levels without a gap between them, as they follow in the neck.

    Parameters
    ----------
    probabilities
        ``[n, 7]``: for each slice from superior to inferior, the probability that it shows C1 ... C7.
    step_mm
        Distance between the slices.

    The confidence is the mean probability within the range.
    """
    n = len(probabilities)
    if n == 0:
        return []
    clipped = np.clip(probabilities, 1 - CERTAIN, CERTAIN)
    sums = np.vstack([np.zeros(7), np.cumsum(np.log(clipped / (1 - clipped)), axis=0)])
    first, last = np.indices((n, n))
    best = []  # for each level [first, last]: the best sum of a chain of levels that ends with this range
    for level in range(7):
        own = np.where(last >= first, sums[1:, level][None, :] - sums[:-1, level][:, None], -np.inf)
        best.append(own + (np.maximum(_best_before(best[-1]), 0.0) if best else 0.0))
    level = int(np.argmax([table.max() for table in best]))
    found, table = [], best[level]
    while table.size and table.max() > 0:
        a, b = (int(index) for index in np.unravel_index(table.argmax(), table.shape))
        found.append(LevelRange(level, a, b, float(probabilities[a : b + 1, level].mean())))
        if level == 0:
            break
        level -= 1
        table = best[level][:a, :b]
    return [one for one in found[::-1] if one.confidence >= 0.5 and (one.last - one.first + 1) * step_mm >= LEAST_MM]


def _best_before(table: np.ndarray) -> np.ndarray:
    """For each range (a, b), the best entry of a range that begins before a and ends before b; -inf where none."""
    running = np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1)
    before = np.full_like(table, -np.inf)
    before[1:, 1:] = running[:-1, :-1]
    return before
