"""Plans whose field of view, voxels and content differ from seed to seed."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.benchmark import benchmark_plan
from CSpineFractureLib.phantom.plan import StudyPlan

LARGEST_MATRIX = 420


def scans_plan(seed: int) -> StudyPlan:
    """A plan as scans come: 0.3-1.0 mm in the slice, 0.5-5 mm thick, head to chest or cropped, half with fractures."""
    rng = np.random.default_rng([seed, 7])
    width, depth = (float(rng.choice([140, 170, 200, 240, 300])) for _ in range(2))
    pixel = max(float(rng.uniform(0.3, 1.0)), max(width, depth) / LARGEST_MATRIX)
    above, below = float(rng.choice([-25, 0, 25, 45, 80])), float(rng.choice([-45, -15, 15, 40, 70]))
    return StudyPlan(
        spacing_mm=(round(pixel, 3), round(pixel, 3), float(rng.choice([0.5, 0.625, 0.75, 1.0, 1.25, 2.0, 3.0, 5.0]))),
        fracture_rate=0.5,
        width_mm=width,
        depth_mm=depth,
        above_mm=above,
        below_mm=below,
    )


def wide_plan(seed: int) -> StudyPlan:
    """A plan to train the vertebra detector on: 0.75 x 0.75 x 1 mm, wide fields of view, half with fractures."""
    rng = np.random.default_rng([seed, 7])
    return StudyPlan(
        spacing_mm=(0.75, 0.75, 1.0),
        fracture_rate=0.6,
        width_mm=float(rng.choice([180, 210, 240])),
        depth_mm=float(rng.choice([180, 210, 240])),
        above_mm=float(rng.choice([25, 45, 80])),
        below_mm=float(rng.choice([15, 40, 60])),
        noise_hu=(5.0, 60.0),
    )


def focused_plan(seed: int) -> StudyPlan:
    """A plan for the fracture networks: the column alone (136 mm), fine voxels, one to three fractured levels."""
    rng = np.random.default_rng([seed, 11])
    return StudyPlan(
        spacing_mm=(0.6, 0.6, float(rng.choice([0.8, 1.0, 1.5]))),
        fracture_rate=0.85,
        mimic_rate=0.7,
        width_mm=136.0,
        depth_mm=136.0,
        above_mm=14.0,
        below_mm=-4.0,
    )


def standard_plan(seed: int) -> StudyPlan:
    """The default: 0.7 x 0.7 x 1 mm, the whole neck with the lower head and the upper chest."""
    return StudyPlan()


PLANS = {
    "standard": standard_plan,
    "wide": wide_plan,
    "focused": focused_plan,
    "scans": scans_plan,
    "neck": benchmark_plan,
}
"""``neck`` draws as the benchmark does, for seeds of one's own: to train what is then measured there."""
