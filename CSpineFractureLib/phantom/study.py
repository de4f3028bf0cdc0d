"""One synthetic study: anatomy, optional fractures, acquisition, and the exact truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from CSpineFractureLib.phantom.anatomy import Anatomy, anatomy_of, stream
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.scanner import Scanner, acquire, average_slices, middle_slices, sample_scanner
from CSpineFractureLib.phantom.sdf import Canvas
from CSpineFractureLib.phantom.truth import FractureTruth, truth_of


@dataclass
class PhantomStudy:
    """A synthetic CT with its truth.

    ``hu`` int16, ``labels`` uint8 (1-7 = C1-C7, 8+ = thoracic) and ``fracture_mask`` uint8 (0, or the label of the
    fractured level) are ``[k, j, i]`` on the same grid; ``centres_ras`` holds the truth for each level's
    ``center_ras``; ``mimics`` names what only looks like a fracture; ``scanner`` holds the
    scanner's settings, ``age`` is in years.
    """

    seed: int
    hu: np.ndarray
    labels: np.ndarray
    fracture_mask: np.ndarray
    ijk_to_ras: np.ndarray
    centres_ras: dict[str, list[float]]
    fractures: list[FractureTruth] = field(default_factory=list)
    mimics: list[str] = field(default_factory=list)
    scanner: dict[str, float] = field(default_factory=dict)
    age: float = 0.0


def make_study(seed: int, plan: StudyPlan | None = None) -> PhantomStudy:
    """Make one study; the same seed and plan give the same voxels."""
    plan = plan or StudyPlan()
    person = anatomy_of(seed, plan)
    canvas, labels, gaps = _slices(person)
    rng = stream(seed, "scanner")
    scanner = _scanner(rng, plan)
    hu = acquire(canvas.hu, canvas.spacing, scanner, rng)
    truths = [t for f in person.fractures if (t := truth_of(f, gaps, canvas.ijk_to_ras)) is not None]
    names = [f"{m.level} {m.kind}" for m in person.mimics]
    centres = {v.level: [float(x) for x in v.centre] for v in person.spine.vertebrae}
    settings, age = asdict(scanner), round(person.spine.age, 1)
    return PhantomStudy(seed, hu, labels, gaps, canvas.ijk_to_ras, centres, truths, names, settings, age)


def _scanner(rng: np.random.Generator, plan: StudyPlan) -> Scanner:
    scanner = sample_scanner(rng, plan.randomise, plan.spacing_mm[2])
    own = rng.random()
    if plan.noise_hu is None:
        return scanner
    low, high = plan.noise_hu
    return replace(scanner, noise_hu=low + own * (high - low))


def _slices(person: Anatomy) -> tuple[Canvas, np.ndarray, np.ndarray]:
    """The study's own slices: HU averaged over their thickness, labels of their middle, gaps anywhere in them."""
    n, fine = person.sub_slices, person.canvas
    if n == 1:
        return fine, person.labels, person.gaps
    origin = (*fine.origin_ras[:2], fine.origin_ras[2] + fine.spacing[2] * (n - 1) / 2)
    canvas = Canvas(average_slices(fine.hu, n), origin, (*fine.spacing[:2], fine.spacing[2] * n))
    gaps = person.gaps.reshape(-1, n, *person.gaps.shape[1:]).max(axis=1)
    return canvas, middle_slices(person.labels, n), gaps
