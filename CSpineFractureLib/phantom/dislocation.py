"""Vertebrae displaced on the one below: facet dislocations and listhesis of C2-C7 on the posed spine.

What the figures rest on: Allen et al., Spine 1982;7:1-27 (distractive flexion: stage 2 is the unilateral facet
dislocation with rotation, stage 3 the bilateral one, the body about half its depth forward); the usual radiograph
rule that about 25 % of the body depth means one locked facet and 50 % or more means two; White et al., Clin Orthop
1975;109:85-96 and White & Panjabi, Clinical Biomechanics of the Spine, 2nd ed. 1990 (more than 3.5 mm or 11 degrees
against the neighbours is unstable). How far a facet must rise over the one below, and when it has passed it, is read
from the signed distances of the two vertebrae.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.bone import to_local
from CSpineFractureLib.phantom.morphometry import LEVELS, Spine, Vertebra
from CSpineFractureLib.phantom.vertebrae import reach, vertebra_distance
from CSpineFractureLib.phantom.vertebral_arch import pillar_centre

KINDS = ("unilateral-facet", "bilateral-facet", "listhesis")
DISLOCATABLE = ("C2", "C3", "C4", "C5", "C6", "C7")
LEVEL_WEIGHTS = {"C2": 0.03, "C3": 0.1, "C4": 0.2, "C5": 0.32, "C6": 0.28, "C7": 0.07}
KIND_WEIGHTS = {"unilateral-facet": 0.35, "bilateral-facet": 0.35, "listhesis": 0.3}
STEP_MM, DEEP_MM, OVERLAP_MM3 = 1.2, 0.4, 60.0
LIFTS_MM = np.arange(-1.0, 9.1, 0.5)


@dataclass(frozen=True)
class Dislocation:
    """What was done: ``upper`` and all above it moved on ``lower``.

    ``shift_mm`` is how far the lower edge of the upper body's posterior wall moved forward (negative: back) along the
    lower vertebra's anterior axis; ``angle_deg`` the turn: kyphosis added (negative: extension), or for a unilateral
    facet dislocation the rotation about the intact facet; ``lift_mm`` how far the column rose; ``side`` the
    dislocated side of a unilateral one, ``right`` or ``left``.
    """

    upper: str
    lower: str
    kind: str
    shift_mm: float
    angle_deg: float
    lift_mm: float
    side: str | None = None


@dataclass(frozen=True)
class _Motion:
    """A rigid motion in RAS mm: turned about a pivot, then moved."""

    turn: np.ndarray
    pivot: np.ndarray
    move: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return (points - self.pivot) @ self.turn.T + self.pivot + self.move

    def then(self, move: np.ndarray) -> _Motion:
        return _Motion(self.turn, self.pivot, self.move + move)


def sample_dislocation(rng: np.random.Generator) -> tuple[str, str]:
    """A random level and kind; mostly C4-C6, where facets dislocate most often (Allen et al. 1982)."""
    level = rng.choice(list(LEVEL_WEIGHTS), p=list(LEVEL_WEIGHTS.values()))
    return str(level), str(rng.choice(list(KIND_WEIGHTS), p=list(KIND_WEIGHTS.values())))


def dislocate(spine: Spine, level: str, kind: str, rng: np.random.Generator) -> tuple[Spine, Dislocation]:
    """Move ``level`` and everything above it on the vertebra below; the given spine is left as it is.

    Parameters
    ----------
    spine
        The posed spine; C1 moves too, and the head follows C1.
    level
        The upper vertebra of the pair, C2-C7.
    kind
        ``bilateral-facet``: at least half the body depth forward, both facets locked, 6-18 degrees of kyphosis.
        ``unilateral-facet``: about a quarter, with 10-20 degrees of rotation about the intact facet.
        ``listhesis``: 2-4 mm forward, less often backward, facets not locked.

    Raises
    ------
    UserError
        For a level or a kind that is not known.
    """
    if level not in DISLOCATABLE:
        message = f"Dislocation at '{level}': the level is not one of {', '.join(DISLOCATABLE)}; name the upper one."
        raise UserError(message)
    if kind not in KINDS:
        message = f"Dislocation kind '{kind}' is not known; use one of {', '.join(KINDS)}."
        raise UserError(message)
    upper, lower = spine[level], spine[LEVELS[LEVELS.index(level) + 1]]
    side = 0
    if kind == "bilateral-facet":
        motion, angle = _bilateral(upper, lower, rng)
    elif kind == "unilateral-facet":
        side = int(rng.choice([-1, 1]))
        motion, angle = _unilateral(upper, lower, side, rng)
    else:
        motion, angle = _listhesis(upper, lower, rng)
    lift = _lift(upper, lower, motion)
    motion = motion.then(lift * lower.axes[2])
    last = LEVELS.index(level)
    moved = [_moved(v, motion) if LEVELS.index(v.level) <= last else v for v in spine.vertebrae]
    shift = _shift(upper, lower, motion)
    done = Dislocation(
        level, lower.level, kind, round(shift, 3), round(angle, 3), lift, {1: "right", -1: "left"}.get(side)
    )
    return replace(spine, vertebrae=moved), done


def dislocation_corners(spine: Spine, done: Dislocation) -> np.ndarray:
    """Points (RAS mm, ``[n, 3]``) around both bodies and their facets, of the dislocated spine."""
    points = []
    for v, ends in ((spine[done.upper], (-0.6, 0.2)), (spine[done.lower], (-0.2, 0.6))):
        x, y = pillar_centre(v)
        for z in ends:
            for a in (v.depth / 2 + 1, y - 7):
                points += [v.centre + np.array([r, a, z * v.height]) @ v.axes for r in (-x, x)]
    return np.array(points)


def _bilateral(upper: Vertebra, lower: Vertebra, rng: np.random.Generator) -> tuple[_Motion, float]:
    """Flexed and moved forward until both inferior facets stand in front of the superior ones below."""
    share, kyphosis = rng.uniform(0.5, 0.72), rng.uniform(6, 18)
    motion = _turned(lower.axes[0], -kyphosis, _foot(upper))
    while True:
        placed = motion.then((share * lower.depth - _shift(upper, lower, motion)) * lower.axes[1])
        if share >= 0.95 or min(_ahead(upper, lower, placed, s) for s in (-1, 1)) > 0:
            return placed, kyphosis
        share += 0.03


def _unilateral(upper: Vertebra, lower: Vertebra, side: int, rng: np.random.Generator) -> tuple[_Motion, float]:
    """Rotated about the intact facet until the other one stands in front; the body follows by about a quarter."""
    share, rotation, kyphosis = rng.uniform(0.2, 0.3), rng.uniform(10, 18), rng.uniform(3, 9)
    x, y = pillar_centre(lower)
    intact = lower.centre + np.array([-side * x, y, lower.pitch / 2]) @ lower.axes
    flexed = _turned(lower.axes[0], -kyphosis, _foot(upper))
    while True:
        turned = _turned(lower.axes[2], side * rotation, intact)
        both = _Motion(turned.turn @ flexed.turn, np.zeros(3), turned(flexed(np.zeros(3))))
        placed = both.then((share * lower.depth - _shift(upper, lower, both)) * lower.axes[1])
        if (rotation >= 20 and share >= 0.33) or _ahead(upper, lower, placed, side) > 0:
            return placed, rotation
        rotation, share = min(20.0, rotation + 0.5), min(0.33, share + 0.01)


def _listhesis(upper: Vertebra, lower: Vertebra, rng: np.random.Generator) -> tuple[_Motion, float]:
    """Slipped forward (seven of ten) or back by 2-4 mm with little angulation."""
    way = 1.0 if rng.random() < 0.7 else -1.0
    shift, angle = way * rng.uniform(2.0, 4.0), way * rng.uniform(0, 5)
    motion = _turned(lower.axes[0], -angle, _foot(upper))
    return motion.then((shift - _shift(upper, lower, motion)) * lower.axes[1]), angle


def _lift(upper: Vertebra, lower: Vertebra, motion: _Motion) -> float:
    """The least rise (mm) along the lower vertebra at which the two bones do not overlap more than at rest."""
    points = _inside(upper)
    allowed = max(OVERLAP_MM3, _overlap(points, lower))
    moved = lambda lift: motion.then(lift * lower.axes[2])(points)  # noqa: E731
    return next((float(q) for q in LIFTS_MM if _overlap(moved(q), lower) <= allowed), float(LIFTS_MM[-1]))


def _inside(v: Vertebra) -> np.ndarray:
    """Points (RAS mm, ``[n, 3]``) of a grid inside the lower part of a vertebra."""
    half, ahead, behind, tall = reach(v)
    ticks = (np.arange(-half, half, STEP_MM), np.arange(-behind, ahead, STEP_MM), np.arange(-tall, tall / 2, STEP_MM))
    local = tuple(q.ravel().astype(np.float32) for q in np.meshgrid(*ticks, indexing="ij"))
    deep = vertebra_distance(v, local) < -DEEP_MM
    return v.centre + np.stack([q[deep] for q in local], axis=1) @ v.axes


def _overlap(points: np.ndarray, lower: Vertebra) -> float:
    """Volume (mm3) of the points' cells that lies inside the lower vertebra."""
    local = to_local(lower, tuple(points.T.astype(np.float32)))
    return float((vertebra_distance(lower, local) < -DEEP_MM).sum() * STEP_MM**3)


def _ahead(upper: Vertebra, lower: Vertebra, motion: _Motion, side: int) -> float:
    """How far (mm) the tip of an inferior facet stands in front of the tip of the superior facet below it."""
    u, (ux, uy) = upper.shape["size"], pillar_centre(upper)
    crest = pillar_centre(lower)[1] + 5.5 * lower.shape["size"]
    slope = 0.85 * np.tan(np.radians(upper.shape["facet_tilt"]))
    tip = np.array([side * ux, uy - 5.5 * u, -upper.pitch / 2 - 5.5 * u * slope])
    found = motion(upper.centre + tip @ upper.axes)
    return float((found - lower.centre) @ lower.axes[1] - crest)


def _shift(upper: Vertebra, lower: Vertebra, motion: _Motion) -> float:
    """How far the lower edge of the upper body's posterior wall moves along the lower vertebra's anterior axis."""
    edge = upper.centre + np.array([0, -upper.depth / 2, -upper.height / 2]) @ upper.axes
    return float((motion(edge) - edge) @ lower.axes[1])


def _foot(v: Vertebra) -> np.ndarray:
    """Middle of the lower end-plate (RAS mm)."""
    return v.centre - v.axes[2] * v.height / 2


def _turned(axis: np.ndarray, degrees: float, pivot: np.ndarray) -> _Motion:
    """Right-handed rotation about an axis through ``pivot`` (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    t = np.radians(degrees)
    return _Motion(np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * cross @ cross, pivot, np.zeros(3))


def _moved(v: Vertebra, motion: _Motion) -> Vertebra:
    return replace(v, centre=motion(v.centre), axes=v.axes @ motion.turn.T)
