"""Which of the places where a body may have its middle are C1, C2 ... T1: the best chain, by evidence and distances.

The chain may begin and end at any level, for the scan may show any part of the neck, but names follow each other from
above downwards, at the distances of one person's vertebrae (heights as in ``decode``, times one size). Single bodies
between others may have no place, as broken or dark ones. Found exactly, by dynamic programming over places and names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.pipeline.decode import SLAB_MM

HEIGHTS_MM = (*SLAB_MM, 20.0)
"""Of C1-C7 and T1, each with the disc below."""
SIZES = (0.78, 0.85, 0.92, 1.0, 1.08, 1.16, 1.25)
DISTANCE_SD, SIZE_SD = 0.22, 0.12
"""Of the logarithms."""
FULL_HEAT, WORTH = 0.6, 0.12
"""Heat that proves a body, and the share of it from which a place is worth a link of the chain."""
BODY_WEIGHT, NAME_WEIGHT, SKIP_WEIGHT = 2.0, 1.0, 3.0
"""Of a body's heat of whatever name, of its name, and against passing a body by.

Chosen, with ``DISTANCE_SD``, on 16 marked real CT, whole and cut off above, below and at both ends; seven others were
kept out.
"""
HEAT_FLOOR = 0.02
UNSEEN_WEIGHT, UNSEEN = 6.0, 0.3
"""Against a body that has no place, and the share of evidence that it is given."""
PASSED_MM, ASIDE_MM = 8.0, 10.0
"""A place is passed by when it lies between two links, so far from both and so near to the line between them."""
UNANCHORED = 0.45
"""Highest confidence of names without C1, which nothing resembles: in 23 marked CT cut off above, 31 of 99 levels had
another name or none near by before there was a level regressor."""
LEAST_STEP_MM, LEAST_DROP = 5.0, 0.5
"""In height, from one middle to the next, and as a share of the way between them: no neck lies flat in a scan."""


@dataclass(frozen=True)
class NamedBody:
    """The middle of a body: ``level`` 0-6 for C1-C7, 7 for T1; the place it has, ``None`` for one between two others
    that has none; its own evidence and the confidence that it is this level and not the one above or below (0..1)."""

    level: int
    place: int | None
    evidence: float
    confidence: float


def name_bodies(
    places_mm: np.ndarray, heat: np.ndarray, further: np.ndarray | None = None, name_weight: float = NAME_WEIGHT
) -> list[NamedBody]:
    """The chain of bodies from top to bottom; empty without places.

    Parameters
    ----------
    places_mm
        ``[n, 3]``: height (upwards), depth and breadth in mm.
    heat
        ``[8, n]``: heat 0..1 of C1-C7 and T1 at each place.
    further
        ``[8, n]``: weighted evidence for each name at each place from other sources, added to that of the heat.
    name_weight
        Of the evidence for names that the heat gives.
    """
    count = places_mm.shape[0]
    if count == 0:
        return []
    share = np.clip(heat / FULL_HEAT, 1e-3, 1.0)
    body = share.max(axis=0)
    names = np.log(len(heat) * (heat + HEAT_FLOOR) / (heat + HEAT_FLOOR).sum(axis=0))
    gain = BODY_WEIGHT * np.log(body / WORTH) + name_weight * names
    if further is not None:
        gain += further
    distance = np.linalg.norm(places_mm[:, None] - places_mm[None], axis=2)
    drop = places_mm[:, None, 0] - places_mm[None, :, 0]  # [upper, lower]
    below = drop >= np.maximum(LEAST_STEP_MM, LEAST_DROP * distance)
    passed = SKIP_WEIGHT * _passed(places_mm, distance, body, heat.argmax(axis=0))
    best: tuple[float, list[tuple[int, int | None]]] = (-np.inf, [])
    for size in SIZES:
        found = _best_chain(gain, np.where(below, distance, np.nan), passed, size)
        value = found[0] - 0.5 * (np.log(size) / SIZE_SD) ** 2
        if value > best[0]:
            best = (value, found[1])
    return _judged(best[1], gain, np.broadcast_to(body, share.shape))


def _passed(places_mm: np.ndarray, distance: np.ndarray, body: np.ndarray, name: np.ndarray) -> np.ndarray:
    """``[level, upper, lower]``: the warmest body that a link from one place to the other passes by, 0..1.

    ``body`` is the warmth of each place, ``name`` its likeliest level, ``level`` that of the upper end. What looks most
    like one of the two ends is another peak of theirs, as the dens is of C2, and is not passed by.
    """
    levels, count = len(HEIGHTS_MM), len(body)
    passed = np.zeros((levels, count, count))
    for upper in range(count):
        for lower in range(count):
            way = places_mm[lower] - places_mm[upper]
            if way[0] >= 0:
                continue
            along = (places_mm - places_mm[upper]) @ way / distance[upper, lower] ** 2
            aside = np.linalg.norm(places_mm - places_mm[upper] - along[:, None] * way, axis=1)
            heights = places_mm[:, 0]
            between = (heights < heights[upper]) & (heights > heights[lower]) & (aside < ASIDE_MM)
            between &= (distance[upper] > PASSED_MM) & (distance[:, lower] > PASSED_MM)
            for place in np.flatnonzero(between):
                others = [level for level in range(levels - 1) if name[place] not in (level, level + 1)]
                passed[others, upper, lower] = np.maximum(passed[others, upper, lower], body[place])
    return passed


def _best_chain(
    gain: np.ndarray, distance: np.ndarray, passed: np.ndarray, size: float
) -> tuple[float, list[tuple[int, int | None]]]:
    """The value of the best chain and its (level, place), from top to bottom."""
    levels, count = gain.shape
    value, before = gain.copy(), np.full((levels, count, 2), -1)  # level and place of the next body above
    for level in range(1, levels):
        best = np.zeros(count)
        for above in range(max(0, level - 2), level):
            heights = np.array(HEIGHTS_MM[above : level + 1])
            expected = size * (heights.sum() - (heights[0] + heights[-1]) / 2)
            odd = -0.5 * (np.log(distance / expected) / DISTANCE_SD) ** 2 - passed[above:level].min(axis=0)
            odd -= UNSEEN_WEIGHT * (level - above - 1)
            through = np.nan_to_num(value[above][:, None] + odd, nan=-np.inf)
            upper = through.argmax(axis=0)
            gained = through[upper, np.arange(count)]
            linked = gained > best
            best[linked] = gained[linked]
            before[level, linked] = np.stack([np.full(count, above), upper], axis=1)[linked]
        value[level] += best
    level, place = (int(n) for n in np.unravel_index(value.argmax(), value.shape))
    total, chain = float(value[level, place]), [(level, place)]
    while before[level, place, 0] >= 0:
        above, upper = (int(n) for n in before[level, place])
        chain += [(between, None) for between in range(level - 1, above, -1)]
        chain.append((above, upper))
        level, place = above, upper
    return total, chain[::-1]


def _judged(chain: list[tuple[int, int | None]], gain: np.ndarray, share: np.ndarray) -> list[NamedBody]:
    """The chain with confidences, by comparison with the same places renamed one level up or down.

    Names that C1 does not anchor are never sure: bodies from C3 down resemble each other.
    """
    rivals = []
    for shift in (-1, 0, 1):
        renamed = [(level + shift, place) for level, place in chain if place is not None]
        rivals.append(sum(gain[level, place] if 0 <= level < len(gain) else np.log(1e-2) for level, place in renamed))
    naming = float(np.exp(rivals[1] - max(rivals)) / np.exp(np.array(rivals) - max(rivals)).sum())
    if chain and chain[0][0] > 0:
        naming = min(naming, UNANCHORED)
    shares = [UNSEEN if place is None else float(share[level, place]) for level, place in chain]
    return [NamedBody(*link, own, naming * own) for link, own in zip(chain, shares, strict=True)]
