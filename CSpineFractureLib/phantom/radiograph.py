"""One synthetic lateral radiograph of the cervical spine: normal, fracture or dislocation, with its truth.

Person, view and exposure have random streams of their own, none of which knows the class: the same seed gives the same
person, position and technique in all three classes, and only the injury differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.anatomy import Anatomy, anatomy_of, posed_spine, stream
from CSpineFractureLib.phantom.bone import LABELS
from CSpineFractureLib.phantom.dislocation import dislocation_corners, sample_dislocation
from CSpineFractureLib.phantom.exposure import expose, sample_exposure
from CSpineFractureLib.phantom.fracture_types import sample_level
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.projection import LateralView, project

CLASSES = ("normal", "fracture", "dislocation")
SEEN_FROM_THE_SIDE = {
    "C1": ("posterior-arch", "jefferson"),
    "C2": ("dens-2", "dens-3", "hangman", "teardrop"),
}
SEEN_BELOW_C2 = ("burst", "wedge", "teardrop", "spinous", "facet", "lamina")
BELOW_C2_WEIGHTS = (0.22, 0.26, 0.18, 0.2, 0.09, 0.05)
HAIRLINES, MIMICS = 0.1, 0.5


@dataclass(frozen=True)
class Body:
    """The part of the person that is made, in mm: voxels along R, A and S (coarse along the beam), width along R with
    the shoulders, depth along A, and reach above the middle of C1 and below that of T1."""

    voxel_mm: tuple[float, float, float] = (1.6, 0.8, 0.8)
    width_mm: float = 340.0
    depth_mm: float = 240.0
    above_mm: float = 72.0
    below_mm: float = 70.0


WHOLE = Body()


@dataclass(frozen=True)
class Injury:
    """What is broken or displaced, and its box in the image.

    ``level`` is the fractured vertebra or the upper one of a dislocated pair; ``box`` is ``[x, y, width, height]`` in
    pixels by their edges (pixel ``i`` covers ``[i, i + 1)``), clipped to the image; ``None`` where it lies outside.
    """

    level: str
    type: str
    box: list[float] | None
    hairline: bool = False
    shift_mm: float = 0.0
    angle_deg: float = 0.0


@dataclass(frozen=True)
class Radiograph:
    """A radiograph with its truth.

    ``image`` is uint8 ``[row, column]``, superior up, bone bright; ``pixel_mm`` the detector's pixel;
    ``magnification`` that of the middle of the spine; ``anterior_left`` which way the face looks; ``centres`` the
    middle of each vertebral body as ``[x, y]`` pixels (pixel centres are whole plus a half), also outside the image.
    """

    seed: int
    kind: str
    image: np.ndarray
    pixel_mm: float
    magnification: float
    anterior_left: bool
    injuries: list[Injury] = field(default_factory=list)
    centres: dict[str, list[float]] = field(default_factory=dict)
    mimics: list[str] = field(default_factory=list)


def make_radiograph(seed: int, kind: str, device: str = "cpu", body: Body = WHOLE) -> Radiograph:
    """Make one radiograph; the same seed, kind and body give the same pixels on one device.

    Parameters
    ----------
    seed
        Chooses person, injury, position and technique.
    kind
        ``normal``, ``fracture`` (one or two broken levels) or ``dislocation`` (see ``phantom.dislocation``).
    device
        Where the projection is computed: ``cpu`` or ``cuda``.
    body
        How much of the person is made, and how finely.

    Raises
    ------
    UserError
        For a kind that is not known.
    """
    if kind not in CLASSES:
        message = f"Radiograph class '{kind}' is not known; use one of {', '.join(CLASSES)}."
        raise UserError(message)
    plan = radiograph_plan(seed, kind, body)
    person = anatomy_of(seed, plan)
    view = sample_view(person, stream(seed, "view"))
    integrals = project(person.canvas.hu, person.canvas.ijk_to_ras, view, device)
    exposure = sample_exposure(stream(seed, "exposure"))
    image = expose(integrals, stream(seed, "quanta"), exposure, view.pixel_mm)
    injuries = _fractures(person, view)
    if plan.dislocation is not None:
        injuries.append(_dislocated(seed, plan, person, view))
    bodies = view.project_points(np.array([v.centre for v in person.spine.vertebrae]))
    return Radiograph(
        seed,
        kind,
        image,
        round(view.pixel_mm, 4),
        round(view.magnification, 4),
        view.anterior_left,
        injuries,
        {v.level: _xy(at) for v, at in zip(person.spine.vertebrae, bodies, strict=True)},
        [f"{m.level} {m.kind}" for m in person.mimics],
    )


def radiograph_plan(seed: int, kind: str, body: Body = WHOLE) -> StudyPlan:
    """The person of a radiograph: injuries of its class that can be seen from the side, mimics in all classes alike."""
    rng = stream(seed, f"injury of a {kind} radiograph")
    fractures, dislocation = (), None
    if kind == "fracture":
        levels = dict.fromkeys(sample_level(rng) for _ in range(1 if rng.random() < 0.8 else 2))
        fractures = tuple((level, _seen(rng, level)) for level in levels)
    elif kind == "dislocation":
        dislocation = sample_dislocation(rng)
    return StudyPlan(
        spacing_mm=body.voxel_mm,
        fractures=fractures,
        dislocation=dislocation,
        hairline_rate=HAIRLINES,
        mimic_rate=MIMICS,
        width_mm=body.width_mm,
        depth_mm=body.depth_mm,
        above_mm=body.above_mm,
        below_mm=body.below_mm,
    )


def sample_view(person: Anatomy, rng: np.random.Generator) -> LateralView:
    """A random lateral position: 1-1.8 m from tube to detector, the shoulder against it, small errors of angle."""
    bodies = np.array([v.centre for v in person.spine.vertebrae])
    size = person.spine.size
    far = person.canvas.hu.shape[2] * person.canvas.spacing[0] / 2 + 35
    distance = rng.uniform(1100, 1800)
    aim = (bodies[0] + bodies[7]) / 2 + np.array([0, rng.normal(4, 7), rng.normal(5, 7)])
    behind = far + rng.uniform(0, 40)
    tall, wide = rng.uniform(195, 230) * size, rng.uniform(170, 215) * size
    pixel = rng.uniform(0.55, 0.65)
    grown = distance / (distance - behind) / pixel
    return LateralView(
        aim=tuple(float(x) for x in aim),
        source_detector_mm=float(distance),
        source_aim_mm=float(distance - behind),
        pixel_mm=float(pixel),
        shape=(round(tall * grown), round(wide * grown)),
        turn_deg=float(np.clip(rng.normal(0, 3), -8, 8)),
        tilt_deg=float(np.clip(rng.normal(0, 2), -6, 6)),
        roll_deg=float(np.clip(rng.normal(0, 3.5), -10, 10)),
        from_right=bool(rng.random() < 0.5),
        anterior_left=bool(rng.random() < 0.5),
    )


def _seen(rng: np.random.Generator, level: str) -> str:
    if level in SEEN_FROM_THE_SIDE:
        return str(rng.choice(SEEN_FROM_THE_SIDE[level]))
    return str(rng.choice(SEEN_BELOW_C2, p=BELOW_C2_WEIGHTS))


def _fractures(person: Anatomy, view: LateralView) -> list[Injury]:
    """Boxes of the gaps, widened by 3 mm, as they fall on the detector."""
    found = []
    for f in person.fractures:
        k, j, i = np.nonzero(person.gaps == LABELS[f.level])
        points = (person.canvas.ijk_to_ras @ np.stack([i, j, k, np.ones_like(i)])).T[:, :3]
        box = _box(points, view, 3.0) if len(points) else None
        found.append(Injury(f.level, f.type, box, f.hairline))
    return found


def _dislocated(seed: int, plan: StudyPlan, person: Anatomy, view: LateralView) -> Injury:
    """The truth of the dislocation."""
    _, done = posed_spine(seed, plan)
    box = _box(dislocation_corners(person.spine, done), view, 0.0)
    return Injury(done.upper, done.kind, box, False, done.shift_mm, done.angle_deg)


def _box(points: np.ndarray, view: LateralView, margin_mm: float) -> list[float] | None:
    at = view.project_points(points) + 0.5
    wide = margin_mm * view.magnification / view.pixel_mm
    rows, columns = view.shape
    top, left = np.clip(at.min(axis=0) - wide, 0, (rows, columns))
    bottom, right = np.clip(at.max(axis=0) + wide, 0, (rows, columns))
    if bottom <= top or right <= left:
        return None
    return [round(float(x), 1) for x in (left, top, right - left, bottom - top)]


def _xy(at: np.ndarray) -> list[float]:
    return [round(float(at[1]) + 0.5, 1), round(float(at[0]) + 0.5, 1)]
