"""Where the borders between located levels lie: at the discs, near where they are expected.

The sagittal network sees 2 mm pixels and no disc of a coarse scan; its middles err by some millimetres, in old bone by
half a level. The CT itself, read along the bodies' line and beside it, shows discs and pedicles. Which of them is which
follows from the heights of vertebrae and from where the network puts the middles; found exactly, by dynamic
programming over places along the line.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.pipeline.body_line import FINE_MM, STEP_MM, BodyLine, disc_signal, pedicle_signal
from CSpineFractureLib.pipeline.name_bodies import HEIGHTS_MM

PLACE_SD_MM = 6.0
"""Of a border around where the middles put it."""
FINE_WEIGHT, DISC_WEIGHT = 1.0, 0.7
"""Of discs in fine slices, which show end plates, and in coarse ones."""
PEDICLE_WEIGHT, BELOW_DISCS_MM = 2.0, 1.75
"""In coarse slices the sides tell whether borders by discs alone lie half a level off, in dark marrow. Sides brighten
at the discs in real CT and 5 mm below them in phantoms, so they are asked a little below."""
HALF_SD_MM, AFAR_SD_MM = 3.0, 12.0
"""Of borders half a level off around where they are sought, and of all around where the middles put them.

The weights and distances for coarse slices, here and in ``body_line``, were chosen on 16 marked real CT, changed copies
of them and 64 coarse copies of 16 phantoms; seven marked CT were kept out.
"""
TOP_SD_MM = 1.5
"""Of the borders above C1 and C2, which have no disc: C1's middle is well known, and they lie half its height away."""
LEAST_DISC = -0.8
HEIGHT_SD = 0.1
"""Of the logarithm of a level's height."""
SIZES, SIZE_SD = (0.9, 0.95, 1.0, 1.05, 1.1), 0.05
LEAST_HEIGHT_MM = 4.0


def place_borders(line: BodyLine, levels: np.ndarray, expected_s: np.ndarray) -> np.ndarray:
    """mm along the line of the borders of ``levels`` ``[n]``, consecutive from top to bottom: ``[n + 1]``.

    ``expected_s`` ``[n + 1]``: S (mm) where the middles put them. There is no disc above C1 and C2.
    """
    expected, places = line.along_at(expected_s), np.arange(0.0, line.along[-1], STEP_MM)
    dark = np.maximum(np.interp(places, line.along, disc_signal(line)), LEAST_DISC)
    is_fine = line.slice_mm <= FINE_MM
    weight = FINE_WEIGHT if is_fine else DISC_WEIGHT
    borders = _placed(places, levels, expected, weight * dark, PLACE_SD_MM, PLACE_SD_MM)
    at_discs = np.array([*levels, levels[-1] + 1]) > 1
    if is_fine or not at_discs.any():
        return borders
    size = _mean_size(levels, expected)
    if levels[0] == 0 and len(levels) > 1:
        expected[:2] = expected[:2].mean() + np.array([-0.5, 0.5]) * HEIGHTS_MM[0] * size
    ways = [borders]
    for half in np.array([-0.5, 0.5]) * HEIGHTS_MM[3] * size:
        sought = np.where(at_discs, borders + half, expected)
        ways.append(_placed(places, levels, sought, weight * dark, HALF_SD_MM, TOP_SD_MM))
    rising = np.interp(places, line.along, pedicle_signal(line))

    def likely(way: np.ndarray) -> float:
        at = way[at_discs]
        discs, pedicles = np.interp(at, places, dark).sum(), np.interp(at + BELOW_DISCS_MM, places, rising).sum()
        far = 0.5 * (((at - expected[at_discs]) / AFAR_SD_MM) ** 2).sum()
        odd = min(_odd(np.diff(way), levels, one, size).sum() + 0.5 * (np.log(one) / SIZE_SD) ** 2 for one in SIZES)
        return weight * discs + PEDICLE_WEIGHT * pedicles - far - odd

    return max(ways, key=likely)


def _placed(
    places: np.ndarray, levels: np.ndarray, expected: np.ndarray, disc: np.ndarray, sd_mm: float, top_sd_mm: float
) -> np.ndarray:
    """The borders near ``expected`` (mm along the line) with discs at them (``disc``: evidence at each of ``places``)
    and heights as usual."""
    costs = []
    for place, below in zip(expected, [*levels, levels[-1] + 1], strict=True):
        near = 0.5 * ((places - place) / (sd_mm if below > 1 else top_sd_mm)) ** 2
        costs.append(near - disc if below > 1 else near)
    mean_size = _mean_size(levels, expected)
    gaps = places[None] - places[:, None]
    best = (np.inf, expected)
    for size in SIZES:
        value, path = _cheapest(costs, [_odd(gaps, level, size, mean_size) for level in levels])
        value += 0.5 * (np.log(size) / SIZE_SD) ** 2
        if value < best[0]:
            best = (value, places[path])
    return best[1]


def _odd(lengths: np.ndarray, levels: np.ndarray, size: float, mean_size: float) -> np.ndarray:
    """How unlikely (-log) ``lengths`` (mm) of ``levels`` are whose heights are ``size * mean_size`` times the usual."""
    ratio = np.maximum(lengths, LEAST_HEIGHT_MM) / (np.array(HEIGHTS_MM)[levels] * size * mean_size)
    return np.where(lengths > LEAST_HEIGHT_MM, 0.5 * (np.log(ratio) / HEIGHT_SD) ** 2, np.inf)


def _mean_size(levels: np.ndarray, borders: np.ndarray) -> float:
    return float(np.clip((borders[-1] - borders[0]) / np.array(HEIGHTS_MM)[levels].sum(), 0.75, 1.3))


def _cheapest(costs: list[np.ndarray], steps: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """The cheapest way through all borders: its cost, and the index of each border's place."""
    cost, origins = costs[0], []
    for own, step in zip(costs[1:], steps, strict=True):
        through = cost[:, None] + step
        origins.append(through.argmin(axis=0))
        cost = through.min(axis=0) + own
    path = [int(cost.argmin())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return float(cost.min()), np.array(path[::-1])
