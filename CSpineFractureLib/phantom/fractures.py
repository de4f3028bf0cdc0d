"""Fractures cut into vertebra distance functions: wavy gap planes with displacement, limited to a site.

Types follow the usual names (burst, wedge, tear-drop, dens II/III, hangman, Jefferson, lamina, facet, transverse
process, spinous process). Level frequencies default to the positive rates of RSNA-2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.morphometry import Vertebra
from CSpineFractureLib.phantom.sdf import Points

RSNA_LEVEL_RATES = {"C1": 0.072, "C2": 0.141, "C3": 0.036, "C4": 0.054, "C5": 0.080, "C6": 0.137, "C7": 0.195}
SUBAXIAL_TYPES = ("burst", "wedge", "teardrop", "lamina", "facet", "transverse", "spinous")
TYPES = {"C1": ("jefferson", "posterior-arch", "anterior-arch"), "C2": ("dens-2", "dens-3", "hangman", "lamina")}


@dataclass(frozen=True)
class Cut:
    """One gap plane in a vertebra's local frame: ``point``, unit ``normal``, site radius, all mm."""

    point: tuple[float, float, float]
    normal: tuple[float, float, float]
    radius: float


@dataclass
class Fracture:
    """One fractured vertebra: its cuts, gap width and fragment shift (mm)."""

    level: str
    type: str
    gap_mm: float
    shift_mm: float
    cuts: list[Cut] = field(default_factory=list)
    phase: float = 0.0

    @property
    def hairline(self) -> bool:
        """A gap below half a millimetre and no displacement to speak of."""
        return self.gap_mm < 0.5

    def apply(self, distance: Callable[[Points], np.ndarray], p: Points) -> tuple[np.ndarray, np.ndarray]:
        """Distance of the broken vertebra and the gap field (mm, negative in the gap inside the old bone)."""
        gap_field = None
        moved = [np.broadcast_to(q, np.broadcast_shapes(*(v.shape for v in p))).copy() for q in p]
        for n, cut in enumerate(self.cuts):
            offset, weight = self._plane(cut, p, n)
            push = np.where(offset > 0, self.shift_mm * weight, 0.0).astype(np.float32)
            for axis in range(3):
                moved[axis] -= push * np.float32(cut.normal[axis] * 0.6 + (0.5 if axis == 1 else 0.2) * (-1) ** n)
            this = np.maximum(np.abs(offset) - self.gap_mm / 2, (0.5 - weight) * 2 * cut.radius)
            gap_field = this if gap_field is None else np.minimum(gap_field, this)
        intact = distance(tuple(moved))
        return np.maximum(intact, -gap_field), np.maximum(intact, gap_field)

    def _plane(self, cut: Cut, p: Points, n: int) -> tuple[np.ndarray, np.ndarray]:
        x, y, z = (q - np.float32(c) for q, c in zip(p, cut.point, strict=True))
        offset = x * cut.normal[0] + y * cut.normal[1] + z * cut.normal[2]
        offset = offset + 0.6 * np.sin(x * 0.9 + self.phase + n) * np.cos(z * 0.7 + self.phase) + 0.4 * np.sin(y * 1.3)
        radius = np.sqrt(x * x + y * y + z * z)
        return offset, np.clip((cut.radius - radius) / 3.0 + 0.5, 0.0, 1.0)


def sample_fracture(rng: np.random.Generator, level: str, kind: str, v: Vertebra) -> Fracture:
    """A random fracture of ``kind`` at ``level``; a quarter are hairline."""
    known = TYPES.get(level, SUBAXIAL_TYPES)
    if kind not in known:
        message = f"Fracture type '{kind}' is not known for {level}; use one of {', '.join(known)}."
        raise UserError(message)
    hairline = rng.random() < 0.25
    gap = rng.uniform(0.25, 0.5) if hairline else rng.uniform(0.9, 3.2)
    shift = 0.0 if hairline else rng.uniform(0.4, 4.0)
    side = float(rng.choice([-1.0, 1.0]))
    cuts = _sites(kind, v, side, rng)
    return Fracture(level, kind, float(gap), float(shift), cuts, float(rng.uniform(0, 6)))


def sample_level(rng: np.random.Generator) -> str:
    """A fractured level, by the RSNA-2022 rates."""
    rates = np.array(list(RSNA_LEVEL_RATES.values()))
    return str(rng.choice(list(RSNA_LEVEL_RATES), p=rates / rates.sum()))


def _unit(*vector: float) -> tuple[float, float, float]:
    v = np.asarray(vector) / np.linalg.norm(vector)
    return tuple(float(x) for x in v)


def _sites(kind: str, v: Vertebra, side: float, rng: np.random.Generator) -> list[Cut]:
    s, h, d, w = v.shape["size"], v.height / 2, v.depth / 2, v.width / 2
    back = -v.depth / 2 - v.canal_depth
    j = lambda scale=1.5: float(rng.normal(0, scale))  # noqa: E731
    pillar = (side * (v.canal_width / 2 + 4.6 * s), -d - 0.35 * v.canal_depth - 2 * s, 0.0)
    sites = {
        "jefferson": [
            Cut((side * 11 * s, -3.5 * s, 0), _unit(1, -0.35 * side, 0.1), 8 * s),
            Cut((-side * 15 * s, -36 * s, 0), _unit(0.75, -0.65 * side, 0.1), 8 * s),
            Cut((side * 15 * s, -36 * s, 0), _unit(0.75, 0.65 * side, 0.1), 8 * s),
        ],
        "posterior-arch": [Cut((side * (15 + j()) * s, -36 * s, 0), _unit(0.75, 0.65 * side, 0.1), 9 * s)],
        "anterior-arch": [Cut((side * (9 + j()) * s, -2.5 * s, 0), _unit(1, 0, 0.15), 8 * s)],
        "dens-2": [Cut((0, 0, h + 0.5 * s + j(0.6)), _unit(0.05, 0.25, 1), 10 * s)],
        "dens-3": [Cut((0, 0, 0.45 * h), _unit(0.1, 0.2, 1), 15 * s)],
        "hangman": [Cut((k * 14.5 * s, -d - 2.5 * s, -0.2 * h), _unit(0.15 * k, 1, 0.35), 9 * s) for k in (-1.0, 1.0)],
        "burst": [
            Cut((j(), 0, 0), _unit(1, 0.15 * side, 0.1), 13 * s),
            Cut((0, -0.3 * d + j(), 0), _unit(0.3 * side, 1, 0.1), 12 * s),
        ],
        "wedge": [Cut((0, 0.45 * d, 0.45 * h), _unit(0.1 * side, 0.45, 1), 10 * s)],
        "teardrop": [Cut((0, 0.6 * d, -0.55 * h), _unit(0, 1, -0.8), 9 * s)],
        "lamina": [Cut((side * 7.5 * s, back + 2.0 * s, -3 * s), _unit(0.85, -0.5 * side, 0.1), 9 * s)],
        "facet": [Cut(pillar, _unit(0.1, 0.75, 0.65), 9 * s)],
        "transverse": [Cut((side * (w + 5.5 * s), -0.5 * d, -1), _unit(1, 0.1, 0), 9 * s)],
        "spinous": [Cut((0, back - 0.55 * v.spinous, -6 * s), _unit(0.05, 1, 0.35), 9 * s)],
    }
    return sites[kind]
