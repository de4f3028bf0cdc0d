"""One synthetic study: anatomy, optional fractures, acquisition, and the exact truth."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.bone import BonePainter, BoneQuality
from CSpineFractureLib.phantom.fracture_types import sample_fracture, sample_level, types_of
from CSpineFractureLib.phantom.fractures import Fracture
from CSpineFractureLib.phantom.mimic_shapes import Mimic
from CSpineFractureLib.phantom.mimics import make_mimic, sample_mimics
from CSpineFractureLib.phantom.morphometry import LEVELS, Spine, sample_spine
from CSpineFractureLib.phantom.sdf import Canvas
from CSpineFractureLib.phantom.surroundings import Surroundings
from CSpineFractureLib.phantom.truth import FractureTruth, truth_of


@dataclass
class PhantomStudy:
    """A synthetic CT with its truth.

    ``hu`` int16, ``labels`` uint8 (1-7 = C1-C7, 8+ = thoracic) and ``fracture_mask`` uint8 (0, or the label of the
    fractured level) are ``[k, j, i]`` on the same grid; ``centres_ras`` holds the truth for each level's
    ``center_ras``; ``mimics`` names what only looks like a fracture.
    """

    seed: int
    hu: np.ndarray
    labels: np.ndarray
    fracture_mask: np.ndarray
    ijk_to_ras: np.ndarray
    centres_ras: dict[str, list[float]]
    fractures: list[FractureTruth] = field(default_factory=list)
    mimics: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StudyPlan:
    """What to make: fractures and mimics as ``(level, type)`` pairs (``None``: by chance), grid, field of view (mm)."""

    spacing_mm: tuple[float, float, float] = (0.7, 0.7, 1.0)
    fractures: tuple[tuple[str, str | None], ...] | None = None
    fracture_rate: float = 0.5
    hairline_rate: float = 0.25
    mimics: tuple[tuple[str, str], ...] | None = None
    mimic_rate: float = 0.5
    width_mm: float = 200.0
    depth_mm: float = 200.0
    above_mm: float = 45.0
    below_mm: float = 35.0
    noise_hu: tuple[float, float] = (8.0, 35.0)


def parse_fractures(specs: list[str]) -> tuple[tuple[str, str | None], ...]:
    """``["C5:burst", "C2"]`` to pairs; raises UserError for unknown levels or types."""
    pairs = []
    for spec in specs:
        level, _, kind = spec.partition(":")
        if level not in LEVELS[:7]:
            message = f"--fracture {spec}: level '{level}' is not one of C1-C7; write for example C5:burst."
            raise UserError(message)
        known = types_of(level)
        if kind and kind not in known:
            message = f"--fracture {spec}: type '{kind}' is not known for {level}; use one of {', '.join(known)}."
            raise UserError(message)
        pairs.append((level, kind or None))
    return tuple(pairs)


@dataclass
class Anatomy:
    """One person before the scan: ideal HU on the canvas (float32 ``[k, j, i]``), labels, gaps, and who they are."""

    canvas: Canvas
    labels: np.ndarray
    gaps: np.ndarray
    spine: Spine
    fractures: list[Fracture]
    mimics: list[Mimic]


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each part of a study, so that a change in one part leaves the others alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def anatomy_of(seed: int, plan: StudyPlan) -> Anatomy:
    """The person of a seed and plan, without any scanner."""
    spine = sample_spine(stream(seed, "spine"))
    fractures = _plan_fractures(stream(seed, "fractures"), plan, spine)
    mimics = _plan_mimics(stream(seed, "mimics"), plan, spine, {f.level for f in fractures})
    canvas = _canvas(spine, plan, stream(seed, "field"))
    canvas.hu[:] = _background(spine, canvas, stream(seed, "surroundings"))
    rng = stream(seed, "bone")
    painter = BonePainter(canvas, BoneQuality.sample(rng, spine.age), rng)
    painter.paint(spine, fractures, mimics)
    return Anatomy(canvas, painter.labels, painter.gaps, spine, fractures, mimics)


def make_study(seed: int, plan: StudyPlan | None = None) -> PhantomStudy:
    """Make one study; the same seed and plan give the same voxels."""
    plan = plan or StudyPlan()
    person = anatomy_of(seed, plan)
    canvas = person.canvas
    hu = _acquire(canvas, stream(seed, "scanner"), plan)
    truths = [t for f in person.fractures if (t := truth_of(f, person.gaps, canvas.ijk_to_ras)) is not None]
    names = [f"{m.level} {m.kind}" for m in person.mimics]
    centres = {v.level: [float(x) for x in v.centre] for v in person.spine.vertebrae}
    return PhantomStudy(seed, hu, person.labels, person.gaps, canvas.ijk_to_ras, centres, truths, names)


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


def _canvas(spine: Spine, plan: StudyPlan, rng: np.random.Generator) -> Canvas:
    centres = np.array([v.centre for v in spine.vertebrae])
    middle = centres[:, :2].mean(axis=0) + np.array([rng.uniform(-12, 12), rng.uniform(-8, 22)])
    low = (middle[0] - plan.width_mm / 2, middle[1] - plan.depth_mm / 2, spine["T1"].centre[2] - plan.below_mm)
    high = (middle[0] + plan.width_mm / 2, middle[1] + plan.depth_mm / 2, spine["C1"].centre[2] + plan.above_mm)
    return Canvas.covering(low, high, plan.spacing_mm)


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


def _acquire(canvas: Canvas, rng: np.random.Generator, plan: StudyPlan) -> np.ndarray:
    """Scanner blur, shoulder streaks and correlated noise; int16 HU."""
    sigma = rng.uniform(0.25, 0.65)
    blurred = ndimage.gaussian_filter(canvas.hu, [sigma * 0.8 / s for s in canvas.spacing[::-1]])
    noise = rng.standard_normal(canvas.hu.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, [0.0, *(rng.uniform(0.35, 0.7) / s for s in canvas.spacing[1::-1])])
    noise *= rng.uniform(*plan.noise_hu) / max(float(noise.std()), 1e-3)
    absorbed = np.clip(blurred, -1000, 1500).mean(axis=(1, 2))
    noise *= (1 + 0.9 * np.clip((absorbed - np.median(absorbed)) / 300, 0, 2))[:, None, None]
    return np.clip(np.rint(blurred + noise), -1024, 3071).astype(np.int16)
