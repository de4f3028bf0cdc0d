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
