"""Levels in anatomical order: one slab per vertebra from per-slice scores.

Axial slices of C3-C6 look alike, so the class of a single box is weak evidence. The slices are therefore read as one
sequence from top to bottom. It may begin above C1 or inside any level and end inside any level or in the thorax, but
the levels between must follow each other, C1 above C2 above C3 ..., each for a plausible height. A semi-Markov
model (Viterbi with explicit durations) finds the best sequence: its emissions are the detector's class scores in each
slice, its durations are log-normal around the heights of ``SLAB_MM`` times one size factor for the whole person. The
confidence of a level is its posterior against the rival sequences: the same slabs named one level up or down.

Durations: vertebra plus disc below, Gilad & Nissan, Spine 1986;11:154-157 (C3-C7); Doherty & Heggeness 1994/1995
(C1 anterior arch; C2 from the base of the dens).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.findings.study_result import LEVELS

SLAB_MM = (13.5, 26.0, 18.6, 18.0, 17.6, 17.8, 18.8)
SIZES = (0.82, 0.9, 0.98, 1.06, 1.14, 1.22)
LOG_SD = 0.12
FLOOR = 0.03
NAME_WEIGHTS = np.array([0.12, 0.12, 0.04, 0.04, 0.04, 0.04, 0.04, 0.03])
PRESENCE_WEIGHT, DISC_WEIGHT = 0.33, 1.5
"""Per mm of height for names and presence (neighbouring slices say much the same), per border for discs.

The ring of C1 and the dens are like no other level. The names below them follow the shoulders as much as the bone, and
count less than where the discs lie and how tall the levels are.
"""


@dataclass(frozen=True)
class LevelSlab:
    """The slices of one level's body: index 0-6 for C1-C7, first (upper) and last slice, both inclusive.

    ``cut_above`` and ``cut_below`` tell that the scan ends inside the level; ``confidence`` is 0..1.
    """

    level: int
    first: int
    last: int
    cut_above: bool
    cut_below: bool
    confidence: float


def decode_levels(scores: np.ndarray, step_mm: float, discs: np.ndarray | None = None) -> list[LevelSlab]:
    """Slabs of the levels seen, top to bottom.

    Parameters
    ----------
    scores
        ``[n, 8]``: for each slice from superior to inferior, the evidence 0..1 that it passes through the body of
        C1-C7 (columns 0-6) or of a thoracic vertebra (7).
    step_mm
        Distance between slices.
    discs
        ``[n]``: how disc-like each slice is (positive: dark gap); the borders below C2 prefer such slices.
    """
    present = scores.max(axis=1)
    if len(scores) == 0 or present.max() < 0.2:
        return []
    share = (scores + FLOOR) / (scores + FLOOR).sum(axis=1, keepdims=True)
    gaps = np.zeros(len(scores)) if discs is None else DISC_WEIGHT * np.asarray(discs, float)
    names = NAME_WEIGHTS * np.log(8 * share) * step_mm
    inside = PRESENCE_WEIGHT * np.log(present + 0.08)[:, None] * step_mm + names
    outside = 1.5 * PRESENCE_WEIGHT * np.log(1 - np.clip(present, 0, 0.97)) * step_mm
    best = None
    for size in SIZES:
        path, total = _viterbi(inside, outside, gaps, step_mm, size)
        total -= 0.5 * ((np.log(size) - np.log(1.0)) / 0.12) ** 2
        if best is None or total > best[1]:
            best = (path, total)
    return _slabs(best[0], share, present, names)


def _viterbi(
    inside: np.ndarray, outside: np.ndarray, gaps: np.ndarray, step_mm: float, size: float
) -> tuple[list[tuple], float]:
    """Best segmentation ``[(state, first, last), ...]``; state -1 above C1, 0-6 C1-C7, 7 thorax, 8 below the column."""
    n = len(inside)
    total_in = np.vstack([np.zeros(8), np.cumsum(inside, axis=0)])
    total_out = np.concatenate([[0.0], np.cumsum(outside)])
    score = np.full((9, n + 1), -np.inf)  # score[state + 1, end]
    back: dict[tuple[int, int], tuple[int, int]] = {}
    score[0, :] = total_out  # above C1 from the start, for any length including none
    for level in range(8):
        row = level + 1
        mean = np.log(SLAB_MM[level] * size) if level < 7 else 0.0
        longest = n if level == 7 else max(1, int(SLAB_MM[level] * size * 1.7 / step_mm))
        for end in range(1, n + 1):
            for start in range(max(0, end - longest), end):
                if start == 0:
                    before, state = 0.0, -2
                elif np.isfinite(score[row - 1, start]):
                    before, state = score[row - 1, start], level - 1
                else:
                    continue
                emission = total_in[end, level] - total_in[start, level]
                duration = (end - start) * step_mm
                prior = 0.0
                if level < 7:
                    z = (np.log(duration) - mean) / LOG_SD
                    cut = start == 0 or end == n
                    prior = -0.5 * (max(z, 0.0) if cut else z) ** 2
                border = gaps[start] if start > 0 and level >= 2 else 0.0
                value = before + emission + prior + border
                if value > score[row, end]:
                    score[row, end] = value
                    back[(level, end)] = (state, start)
    ends = [
        (score[level + 1, end] + total_out[n] - total_out[end], level, end)
        for level in range(8)
        for end in range(1, n + 1)
        if end == n or level in (6, 7)
    ]
    value, level, end = max(ends)
    path = []
    while level >= 0:
        state, start = back[(level, end)]
        path.append((level, start, end - 1))
        level, end = state, start
    return path[::-1], float(value)


def _slabs(path: list[tuple], share: np.ndarray, present: np.ndarray, names: np.ndarray) -> list[LevelSlab]:
    n = len(share)
    cervical = [(level, a, b) for level, a, b in path if level < 7]
    rivals = {shift: _naming_score(path, names, shift) for shift in (-1, 0, 1)}
    top = max(rivals.values())
    naming = np.exp(rivals[0] - top) / sum(np.exp(v - top) for v in rivals.values())
    slabs = []
    for level, first, last in cervical:
        own = float(np.average(share[first : last + 1, level], weights=present[first : last + 1] + 1e-3))
        strength = float(np.mean(np.sort(present[first : last + 1])[-max(1, (last - first + 1) // 2) :]))
        confidence = float(np.clip(naming * strength * (0.5 + 0.5 * min(1.0, own * 1.5)), 0, 1))
        slabs.append(LevelSlab(level, first, last, first == 0, last == n - 1, confidence))
    return slabs


def _naming_score(path: list[tuple], names: np.ndarray, shift: int) -> float:
    """Log evidence for the names when every slab is renamed by ``shift`` levels (thorax stays thorax)."""
    total = 0.0
    for level, first, last in path:
        renamed = int(np.clip(level + shift, 0, 7)) if level < 7 else 7
        total += float(names[first : last + 1, renamed].sum())
    return total


def level_name(index: int) -> str:
    """``C1`` ... ``C7``."""
    return LEVELS[index]
