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
    path = sorted(_best_path(states, step_mm), key=lambda b: b.k)
    at = np.array([b.k for b in path], float)
    middles = np.array([b.middle for b in path])
    kept = []
    for boxes in slices:
        k = np.array([box.k for box in boxes], float)
        centres = np.stack([np.interp(k, at, middles[:, axis]) for axis in (0, 1)], axis=1)
        away = np.linalg.norm(np.array([box.middle for box in boxes]).reshape(-1, 2) - centres, axis=1)
        near = (away < reach_mm) & (k >= at[0]) & (k <= at[-1])
        kept.append([box for box, is_near in zip(boxes, near, strict=True) if is_near])
    return kept


def _best_path(states: list[list[SliceBox]], step_mm: float) -> list[SliceBox]:
    """The boxes of the path that ``follow_column`` describes, from its last slice to its first."""
    boxes = [box for one in states for box in one]
    rows = np.repeat(np.arange(len(states)), [len(one) for one in states])
    middles, strengths = np.array([box.middle for box in boxes]), np.array([box.strength for box in boxes])
    first = np.searchsorted(rows, np.arange(len(states) + 1))
    scores, back = strengths.copy(), np.full(len(boxes), -1)
    for n in range(len(states)):
        own, before = slice(first[n], first[n + 1]), slice(first[max(0, n - max(3, round(24 / step_mm)))], first[n])
        if own.start == own.stop or before.start == before.stop:
            continue
        apart = n - rows[before]
        jump = np.linalg.norm(middles[own, None] - middles[before], axis=2)
        cost = 0.25 * np.maximum(0.0, jump - 6.0 - 0.7 * (apart * step_mm)) / 10 * 4 + 0.05 * (apart - 1)
        sums = scores[before] + strengths[own, None] - cost
        best = sums.argmax(axis=1)
        highest = sums.max(axis=1)
        goes_on = highest > strengths[own]
        scores[own] = np.where(goes_on, highest, strengths[own])
        back[own] = np.where(goes_on, before.start + best, -1)
    path, index = [], int(scores.argmax())
    while index >= 0:
        path.append(boxes[index])
        index = int(back[index])
    return path
