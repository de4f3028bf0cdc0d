"""Benchmark v1: 200 synthetic studies and 600 radiographs, fixed by their seeds alone, never trained on.

Fractured and sound studies share scanners, noise, fields of view and mimics: each part of a study has a random stream
of its own, and only the fracture stream decides about fractures. Results are reported by stratum: ``displaced``,
``hairline``, ``mimics``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.phantom.anatomy import content_of
from CSpineFractureLib.phantom.plan import StudyPlan

NAME = "benchmark-v1"
STUDY_SEEDS = range(2_000_000, 2_000_200)
RADIOGRAPH_SEEDS = range(3_000_000, 3_000_600)
HAIRLINE_RATE, MIMIC_RATE = 0.4, 0.65


def benchmark_plan(seed: int) -> StudyPlan:
    """The plan of a study of the benchmark: thin slices of the neck; voxels and field of view are drawn by the seed."""
    rng = np.random.default_rng([seed, 2022, 1])
    pixel = float(rng.choice([0.45, 0.55, 0.65]))
    return StudyPlan(
        spacing_mm=(pixel, pixel, float(rng.choice([0.625, 0.8, 1.0, 1.25]))),
        fracture_rate=0.5,
        hairline_rate=HAIRLINE_RATE,
        mimic_rate=MIMIC_RATE,
        width_mm=float(rng.choice([150, 170, 190])),
        depth_mm=float(rng.choice([150, 170])),
        above_mm=float(rng.choice([15, 25])),
        below_mm=float(rng.choice([-8, 2])),
    )


@dataclass(frozen=True)
class Content:
    """What a benchmark holds: studies with fractures, fractures, hairlines among them, studies with mimics."""

    fractured: int
    fractures: int
    hairline: int
    with_mimics: int
    digest: str


def benchmark_content() -> Content:
    """Count the content of all studies without painting them; ``digest`` changes when any fracture or mimic does."""
    fractured = fractures = hairline = with_mimics = 0
    lines = []
    for seed in STUDY_SEEDS:
        _, broken, mimics = content_of(seed, benchmark_plan(seed))
        fractured += bool(broken)
        fractures += len(broken)
        hairline += sum(f.hairline for f in broken)
        with_mimics += bool(mimics)
        lines.append([seed, [[f.level, f.type, f.hairline] for f in broken], [[m.level, m.kind] for m in mimics]])
    digest = hashlib.sha256(json.dumps(lines).encode()).hexdigest()
    return Content(fractured, fractures, hairline, with_mimics, digest)
