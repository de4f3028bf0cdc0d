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
BY_PEDICLES, AFTERWARDS = (0.4, 3.0, 12.0), (0.8, 1.0, 3.0)
"""In coarse slices where pedicles, too, tell which dark gap is a disc, and then where it is: the weights of discs and
of pedicles, and how far a border may lie from where it is expected (SD, mm)."""
OTHER_GAPS = 0.4
"""Of the distance of borders by discs alone: others so far from them lie at other gaps. Half a level is in question; in
the phantoms the sides brighten 5 mm below the discs, in real CT at them.

These weights and what ``body_line`` says of coarse slices were chosen on 16 marked real CT, changed copies of them and
80 coarse copies of 16 phantoms; seven marked CT were kept out.
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

    ``expected_s`` ``[n + 1]``: S (mm) where the middles put them. There is no disc above C1 and C2. The sides are not
    asked where both are missing: what lies half a level off may then as well lie a whole one off.
    """
    expected, places = line.along_at(expected_s), np.arange(0.0, line.along[-1], STEP_MM)
    dark = np.maximum(np.interp(places, line.along, disc_signal(line)), LEAST_DISC)
    is_fine = line.slice_mm <= FINE_MM
    weight = FINE_WEIGHT if is_fine else DISC_WEIGHT
    borders = _placed(places, levels, expected, weight * dark, PLACE_SD_MM, PLACE_SD_MM)
    at_discs = np.array([*levels, levels[-1] + 1]) > 1
    if is_fine or levels[0] > 1 or not at_discs.any():
        return borders
    size = _mean_size(levels, expected)
    if levels[0] == 0 and len(levels) > 1:
        expected[:2] = expected[:2].mean() + np.array([-0.5, 0.5]) * HEIGHTS_MM[0] * size
    gap = np.median(np.diff(borders)[at_discs[1:]])
    rising, others = np.interp(places, line.along, pedicle_signal(line)), expected
    for disc, pedicle, sd_mm in (BY_PEDICLES, AFTERWARDS):
        others = _placed(places, levels, others, disc * dark + pedicle * rising, sd_mm, TOP_SD_MM)
        if np.median(np.abs(others - borders)[at_discs]) < OTHER_GAPS * gap:
            return borders
    return others


def _placed(
    places: np.ndarray, levels: np.ndarray, expected: np.ndarray, disc: np.ndarray, sd_mm: float, top_sd_mm: float
) -> np.ndarray:
    """The borders near ``expected`` (mm along the line) with discs at them (``disc``: evidence at each of ``places``)
    and heights as usual."""
    heights = np.array(HEIGHTS_MM)[levels]
    costs = []
    for place, below in zip(expected, [*levels, levels[-1] + 1], strict=True):
        near = 0.5 * ((places - place) / (sd_mm if below > 1 else top_sd_mm)) ** 2
        costs.append(near - disc if below > 1 else near)
    mean_size = _mean_size(levels, expected)
    gaps = places[None] - places[:, None]
    logs = np.where(gaps > LEAST_HEIGHT_MM, np.log(np.maximum(gaps, LEAST_HEIGHT_MM)), np.inf)
    best = (np.inf, expected)
    for size in SIZES:
        odd = [0.5 * ((logs - np.log(height * size * mean_size)) / HEIGHT_SD) ** 2 for height in heights]
        value, path = _cheapest(costs, odd)
        value += 0.5 * (np.log(size) / SIZE_SD) ** 2
        if value < best[0]:
            best = (value, places[path])
    return best[1]


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
