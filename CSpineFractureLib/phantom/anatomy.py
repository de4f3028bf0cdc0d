"""One synthetic person on a grid, before any scanner."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.phantom.bone import BonePainter, BoneQuality
from CSpineFractureLib.phantom.dislocation import Dislocation, dislocate
from CSpineFractureLib.phantom.fracture_types import sample_fracture, sample_level, types_of
from CSpineFractureLib.phantom.fractures import Fracture
from CSpineFractureLib.phantom.mimic_shapes import Mimic
from CSpineFractureLib.phantom.mimics import make_mimic, sample_mimics
from CSpineFractureLib.phantom.morphometry import Spine, sample_spine
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.randomise import randomised
from CSpineFractureLib.phantom.sdf import Canvas
from CSpineFractureLib.phantom.surroundings import Surroundings


@dataclass
class Anatomy:
    """One person before the scan: ideal HU on the canvas (float32 ``[k, j, i]``), labels, gaps, and who they are.

    Thick slices are painted as ``sub_slices`` thin ones each.
    """

    canvas: Canvas
    labels: np.ndarray
    gaps: np.ndarray
    spine: Spine
    fractures: list[Fracture]
    mimics: list[Mimic]
    sub_slices: int = 1


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each part of a study, so that a change in one part leaves the others alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def posed_spine(seed: int, plan: StudyPlan) -> tuple[Spine, Dislocation | None]:
    """The spine of a seed, dislocated where the plan says so, and what the dislocation did."""
    spine = sample_spine(stream(seed, "spine"))
    if plan.dislocation is None:
        return spine, None
    return dislocate(spine, *plan.dislocation, stream(seed, "dislocation"))


def content_of(seed: int, plan: StudyPlan) -> tuple[Spine, list[Fracture], list[Mimic]]:
    """The posed spine of a seed and plan, its fractures and mimics, without painting anything."""
    spine, _ = posed_spine(seed, plan)
    fractures = _plan_fractures(stream(seed, "fractures"), plan, spine)
    return spine, fractures, _plan_mimics(stream(seed, "mimics"), plan, spine, {f.level for f in fractures})


def anatomy_of(seed: int, plan: StudyPlan) -> Anatomy:
    """The person of a seed and plan, without any scanner."""
    spine, fractures, mimics = content_of(seed, plan)
    canvas, sub_slices = _canvas(spine, plan, stream(seed, "field"))
    canvas.hu[:] = _background(spine, canvas, stream(seed, "surroundings"))
    rng = stream(seed, "bone")
    painter = BonePainter(canvas, BoneQuality.sample(rng, spine.age), rng)
    painter.paint(spine, fractures, mimics)
    if plan.randomise:
        canvas.hu[:] = randomised(canvas.hu, stream(seed, "randomise"))
    return Anatomy(canvas, painter.labels, painter.gaps, spine, fractures, mimics, sub_slices)


def _plan_fractures(rng: np.random.Generator, plan: StudyPlan, spine: Spine) -> list[Fracture]:
    pairs = plan.fractures
    if pairs is None:
        count = 0 if rng.random() >= plan.fracture_rate else int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))
        pairs = tuple((level, None) for level in dict.fromkeys(sample_level(rng) for _ in range(count)))
    chosen = []
    for level, kind in pairs:
        kind = kind or str(rng.choice(types_of(level)))
        chosen.append(sample_fracture(rng, level, kind, spine[level], plan.hairline_rate))
    return chosen


def _plan_mimics(rng: np.random.Generator, plan: StudyPlan, spine: Spine, taken: set[str]) -> list[Mimic]:
    if plan.mimics is None:
        return sample_mimics(rng, spine, plan.mimic_rate, taken)
    return [m for level, kind in plan.mimics for m in make_mimic(rng, spine, level, kind)]


def _canvas(spine: Spine, plan: StudyPlan, rng: np.random.Generator) -> tuple[Canvas, int]:
    """The grid to paint on, and how many of its slices make one of the study's: an odd number, so one lies midway."""
    centres = np.array([v.centre for v in spine.vertebrae[:10]])
    middle = centres[:, :2].mean(axis=0) + np.array([rng.uniform(-12, 12), rng.uniform(-8, 22)])
    low = (middle[0] - plan.width_mm / 2, middle[1] - plan.depth_mm / 2, spine["T1"].centre[2] - plan.below_mm)
    high = (middle[0] + plan.width_mm / 2, middle[1] + plan.depth_mm / 2, spine["C1"].centre[2] + plan.above_mm)
    thick = plan.spacing_mm[2]
    sub_slices = 1 if thick <= 1.5 else 3 if thick <= 3.6 else 5
    slices = max(1, round((high[2] - low[2]) / thick))
    fine = (*plan.spacing_mm[:2], thick / sub_slices)
    return Canvas.covering(low, (*high[:2], low[2] + slices * thick), fine), sub_slices


def _background(spine: Spine, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Surroundings painted at about 1.6 mm and interpolated to the fine grid."""
    low = np.array(canvas.ijk_to_ras @ [canvas.hu.shape[2] - 1, canvas.hu.shape[1] - 1, 0, 1])[:3]
    high = np.array(canvas.ijk_to_ras @ [0, 0, canvas.hu.shape[0] - 1, 1])[:3]
    coarse = Canvas.covering(tuple(low - 3), tuple(high + 3), (1.6, 1.6, 1.6))
    Surroundings(spine, rng).paint(coarse)
    step = [f / c for f, c in zip(canvas.spacing[::-1], coarse.spacing[::-1], strict=True)]
    start = [
        (canvas.origin_ras[2] - coarse.origin_ras[2]) / coarse.spacing[2],
        (coarse.origin_ras[1] - canvas.origin_ras[1]) / coarse.spacing[1],
        (coarse.origin_ras[0] - canvas.origin_ras[0]) / coarse.spacing[0],
    ]
    return ndimage.affine_transform(coarse.hu, step, start, canvas.hu.shape, order=1, mode="nearest")
