"""Plans for training studies: fields of view and noise that differ from seed to seed."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.phantom.study import StudyPlan


def varied_plan(seed: int) -> StudyPlan:
    """A plan for training: 0.75 x 0.75 x 1 mm, wide field of view, head to chest or less, half with fractures."""
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
        width_mm=136.0,
        depth_mm=136.0,
        above_mm=14.0,
        below_mm=-4.0,
        noise_hu=(5.0, 45.0),
    )
