"""The fracture types of the cervical spine, where they run and how their fragments move.

Names and courses follow the usual classifications: Jefferson 1919 (atlas burst), Anderson & D'Alonzo, J Bone Joint Surg
Am 1974;56:1663-1674 (dens I-III), Levine & Edwards, J Bone Joint Surg Am 1985;67:217-226 (hangman), Allen et al., Spine
1982;7:1-27 (subaxial compression, flexion and facet injuries). Level frequencies default to the positive rates of
RSNA-2022.
"""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.fractures import Fracture, Fragment, Plane, Vector
from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.vertebral_arch import LAMINA_Z, canal_centre, pillar_centre

RSNA_LEVEL_RATES = {"C1": 0.072, "C2": 0.141, "C3": 0.036, "C4": 0.054, "C5": 0.080, "C6": 0.137, "C7": 0.195}
SUBAXIAL_TYPES = ("burst", "wedge", "teardrop", "lamina", "facet", "transverse", "spinous")
TYPES = {
    "C1": ("jefferson", "posterior-arch", "anterior-arch"),
    "C2": ("dens-1", "dens-2", "dens-3", "hangman", "lamina", "teardrop"),
}
WHOLE = 90.0


def types_of(level: str) -> tuple[str, ...]:
    """The fracture types known for a level."""
    return TYPES.get(level, SUBAXIAL_TYPES)


def sample_level(rng: np.random.Generator) -> str:
    """A fractured level, by the RSNA-2022 rates."""
    rates = np.array(list(RSNA_LEVEL_RATES.values()))
    return str(rng.choice(list(RSNA_LEVEL_RATES), p=rates / rates.sum()))


def sample_fracture(
    rng: np.random.Generator,
    level: str,
    kind: str,
    v: Vertebra,
    hairline_rate: float = 0.25,
    hairline: bool | None = None,
) -> Fracture:
    """A random fracture of ``kind`` at ``level``; raises UserError for a type the level cannot have.

    Hairlines have gaps of 0.2-0.45 mm and no displacement; the others 0.7-2.6 mm and fragments moved by 0.5-4 mm.
    """
    if kind not in types_of(level):
        message = f"Fracture type '{kind}' is not known for {level}; use one of {', '.join(types_of(level))}."
        raise UserError(message)
    hairline = bool(rng.random() < hairline_rate)
    gap = rng.uniform(0.2, 0.45) if hairline else rng.uniform(0.7, 2.6)
    shift = 0.0 if hairline else rng.uniform(0.5, 4.0)
    side = float(rng.choice([-1.0, 1.0]))
    planes, fragments = _COURSES[kind](v, side, rng)
    loss = rng.uniform(0.1, 0.35) * v.height if kind in ("wedge", "burst") and not hairline else 0.0
    return Fracture(
        level,
        kind,
        float(gap),
        float(shift),
        planes,
        fragments,
        float(loss),
        (v.depth / 2, v.height / 2),
        float(rng.uniform(0, 6.28)),
        hairline,
    )


def _unit(*vector: float) -> Vector:
    v = np.asarray(vector, float) / np.linalg.norm(vector)
    return tuple(float(x) for x in v)


def _scaled(length: float, *vector: float) -> Vector:
    """A direction of displacement for a piece that moves less far than the others."""
    return tuple(length * x for x in _unit(*vector))


def _jefferson(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """Atlas ring broken in front and behind; one or both lateral masses spread."""
    s = v.shape["size"]
    planes, fragments = [], []
    for k in (side, -side) if rng.random() < 0.6 else (side,):
        n = len(planes)
        planes.append(
            Plane((k * rng.uniform(7, 11) * s, -3.0 * s, 0), _unit(0.95 * k, -0.3, rng.normal(0, 0.1)), 9 * s)
        )
        planes.append(
            Plane((k * rng.uniform(11, 16) * s, -37 * s, 0), _unit(0.75 * k, 0.65, rng.normal(0, 0.1)), 10 * s)
        )
        fragments.append(Fragment(((n, 1.0), (n + 1, 1.0)), (k * 20 * s, -20 * s, 0), 34 * s, _unit(k, 0.1, -0.1)))
    return planes, fragments


def _posterior_arch(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """The posterior arch of the atlas broken on one side or on both, the middle piece moved back."""
    s = v.shape["size"]
    planes = [
        Plane((k * rng.uniform(12, 17) * s, -35 * s, 0), _unit(-0.75 * k, -0.65, 0.1), 10 * s) for k in (side, -side)
    ]
    if rng.random() < 0.4:
        return planes[:1], []
    return planes, [Fragment(((0, 1.0), (1, 1.0)), (0, -42 * s, 0), 20 * s, _unit(0, -1, -0.3))]


def _anterior_arch(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    s = v.shape["size"]
    return [Plane((side * rng.uniform(3, 11) * s, -2.0 * s, 0), _unit(1, -0.2 * side, rng.normal(0, 0.2)), 9 * s)], []


def _dens(height: float, radius: float, drop: float):
    def course(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
        """Dens I: its tip; II: its base; III: into the body. The upper piece moves back or forward."""
        s, h = v.shape["size"], v.height / 2
        z = h * (1 - drop) + height * s + rng.normal(0, 0.5)
        way = 1.0 if rng.random() < 0.4 else -1.0
        plane = Plane((0, -0.5 * s, z), _unit(0.08 * side, rng.uniform(-0.3, 0.3), 1), radius * s)
        return [plane], [Fragment(((0, 1.0),), (0, 0, z + 8 * s), (radius + 3) * s, _unit(0.15 * side, way, 0.1))]

    return course


def _hangman(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """Both partes interarticulares of the axis; the arch stays behind as the body moves forward."""
    s, d = v.shape["size"], v.depth / 2
    plane = Plane((0, -d - rng.uniform(1.5, 4.0) * s, -0.25 * v.height), _unit(0.12 * side, -1, -0.3), 30 * s)
    return [plane], [Fragment(((0, 1.0),), (0, -25 * s, -8 * s), 48 * s, _unit(0, -1, -0.15))]


def _burst(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """Body split sagittally and coronally; the posterior piece goes back into the canal, the others spread."""
    d, w, h = v.depth / 2, v.width / 2, v.height / 2
    reach = 1.05 * max(w, d + 1)
    planes = [
        Plane((rng.normal(0, 1.5), 0, 0), _unit(1, 0.15 * side, 0.1), reach),
        Plane((0, -0.25 * d + rng.normal(0, 0.8), 0), _unit(0.15 * side, 1, 0.15), reach),
    ]
    centre = (0.0, -0.1 * d, 0.0)
    return planes, [
        Fragment(((1, -1.0),), (0, -0.65 * d, 0.15 * h), 0.8 * w, _scaled(0.75, 0, -1, 0.1)),
        Fragment(((1, 1.0), (0, 1.0)), centre, reach, _scaled(0.3, 1, 0.7, 0)),
        Fragment(((1, 1.0), (0, -1.0)), centre, reach, _scaled(0.3, -1, 0.6, 0)),
    ]


def _wedge(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """Anterior upper body crushed; its corner slips forward."""
    d, h = v.depth / 2, v.height / 2
    plane = Plane((0, 0.25 * d, rng.uniform(0.3, 0.55) * h), _unit(0.1 * side, 0.4, 1), 1.05 * v.width / 2)
    return [plane], [Fragment(((0, 1.0),), (0, 0.5 * d, 0.8 * h), 0.62 * v.width, _unit(0, 0.6, -0.3))]


def _teardrop(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """The lower front corner of the body broken off and moved forward and down."""
    d = v.depth / 2
    base = -(v.height / 2) * (1.0 if v.level != "C2" else 1.02)
    plane = Plane(
        (0, rng.uniform(0.35, 0.6) * d, base + rng.uniform(2.5, 5.0)),
        _unit(0.1 * side, 1, rng.uniform(-1.0, -0.6)),
        10.0,
    )
    return [plane], [Fragment(((0, 1.0),), (0, 0.9 * d, base + 1.0), 11.0, _unit(0, 0.85, -0.5))]


def _lamina(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    s = v.shape["size"]
    back = canal_centre(v) - v.canal_depth / 2
    plane = Plane(
        (side * rng.uniform(4.5, 9.0) * s, back + 1.0 * s, (LAMINA_Z + 0.8) * s),
        _unit(0.85, -0.5 * side, rng.normal(0, 0.2)),
        9 * s,
    )
    return [plane], []


def _facet(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """The tip of a superior articular process, or the pillar across."""
    s = v.shape["size"]
    x, y = pillar_centre(v)
    high = rng.uniform(0.0, 0.25) * v.pitch
    plane = Plane((side * x, y + 0.6 * high, high - 1.3 * s), _unit(0.15, rng.uniform(0.1, 0.6), 0.8), 9.5 * s)
    return [plane], [Fragment(((0, 1.0),), (side * x, y + 3 * s, high + 3.7 * s), 9 * s, _unit(0.1 * side, 0.5, 0.5))]


def _transverse(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """Both bars of the transverse process, through the foramen."""
    s, w, d = v.shape["size"], v.width / 2, v.depth / 2
    out = w + (rng.uniform(3.8, 6.2) if v.level != "C7" else rng.uniform(6, 11)) * s
    plane = Plane((side * out, -0.5 * d, -1.5 * s), _unit(side, rng.normal(0, 0.15), rng.normal(0, 0.15)), 9.5 * s)
    return [plane], [Fragment(((0, 1.0),), (side * (out + 5 * s), -0.6 * d, -3 * s), 10 * s, _unit(side, 0.1, -0.5))]


def _spinous(v: Vertebra, side: float, rng: np.random.Generator) -> tuple[list[Plane], list[Fragment]]:
    """Avulsion of the spinous process (clay shoveller), the tip moved down and back."""
    back = canal_centre(v) - v.canal_depth / 2
    drop = np.radians(v.drop)
    along = rng.uniform(0.35, 0.7) * v.spinous
    point = (0.0, back - along * np.cos(drop), LAMINA_Z - 0.4 - along * np.sin(drop))
    plane = Plane(point, _unit(0.05 * side, -np.cos(drop), -np.sin(drop) + rng.normal(0, 0.25)), 11.0)
    return [plane], [Fragment(((0, 1.0),), (0, point[1] - 14, point[2] - 4), 26.0, _unit(0, -0.5, -0.8))]


_COURSES = {
    "jefferson": _jefferson,
    "posterior-arch": _posterior_arch,
    "anterior-arch": _anterior_arch,
    "dens-1": _dens(8.5, 7.5, 0.0),
    "dens-2": _dens(1.2, 12.0, 0.0),
    "dens-3": _dens(0.0, 15.0, 0.55),
    "hangman": _hangman,
    "burst": _burst,
    "wedge": _wedge,
    "teardrop": _teardrop,
    "lamina": _lamina,
    "facet": _facet,
    "transverse": _transverse,
    "spinous": _spinous,
}
