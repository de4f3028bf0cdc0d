"""Vertebra boxes of axial slices in patient space, and the track of the column through them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class SliceBox:
    """One detected box on canonical slice ``k``.

    ``low`` and ``high`` are (r, a) mm; ``s`` is the height of the slice at the box's middle (RAS mm); ``scores``
    holds the detector's sigmoid scores for C1-C7 and the thoracic class, shape (8,).
    """

    k: int
    s: float
    low: tuple[float, float]
    high: tuple[float, float]
    scores: np.ndarray

    @cached_property
    def middle(self) -> np.ndarray:
        return np.array([(self.low[0] + self.high[0]) / 2, (self.low[1] + self.high[1]) / 2])

    @cached_property
    def strength(self) -> float:
        return float(self.scores.max())


def follow_column(slices: list[list[SliceBox]], step_mm: float, reach_mm: float = 35.0) -> list[list[SliceBox]]:
    """Keep the boxes that belong to one continuous column; the rest (mandible, skull, table) is dropped.

    A Viterbi path runs through the slices, one box or a gap per slice: it collects the strengths of its boxes and
    pays for sideways jumps (the column moves less than about 1 mm per mm of height). Boxes whose middle lies farther
    than ``reach_mm`` from the path are dropped: C1 is wide and a spinous process lies behind its body.
    """
    strongest = [max(boxes, key=lambda b: b.strength, default=None) for boxes in slices]
    if not any(b is not None for b in strongest):
        return [[] for _ in slices]
    states = [sorted(boxes, key=lambda b: -b.strength)[:6] for boxes in slices]
    best: list[tuple[float, np.ndarray, tuple[int, int] | None, SliceBox]] = []
    table: list[list[int]] = []
    for n, boxes in enumerate(states):
        row = []
        for box in boxes:
            score, back = box.strength, None
            for older in range(max(0, n - max(3, round(24 / step_mm))), n):
                gap = (n - older) * step_mm
                for index in table[older]:
                    previous = best[index]
                    jump = float(np.linalg.norm(box.middle - previous[1]))
                    cost = 0.25 * max(0.0, jump - 6.0 - 0.7 * gap) / 10 * 4 + 0.05 * (n - older - 1)
                    if previous[0] + box.strength - cost > score:
                        score, back = previous[0] + box.strength - cost, index
            best.append((score, box.middle, back, box))
            row.append(len(best) - 1)
        table.append(row)
    index = int(np.argmax([b[0] for b in best]))
    path: list[SliceBox] = []
    while index is not None:
        path.append(best[index][3])
        index = best[index][2]
    path.sort(key=lambda b: b.k)
    at = np.array([b.k for b in path], float)
    middles = np.array([b.middle for b in path])
    kept = []
    for boxes in slices:
        near = []
        for box in boxes:
            centre = np.array([np.interp(box.k, at, middles[:, axis]) for axis in (0, 1)])
            beyond = max(at[0] - box.k, box.k - at[-1], 0)
            if np.linalg.norm(box.middle - centre) < reach_mm and beyond == 0:
                near.append(box)
        kept.append(near)
    return kept
