"""What a synthetic study shall hold, as plain numbers that go to ``truth.json``."""

from __future__ import annotations

from dataclasses import dataclass

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.fracture_types import types_of
from CSpineFractureLib.phantom.mimics import KINDS, fits
from CSpineFractureLib.phantom.morphometry import LEVELS


@dataclass(frozen=True)
class StudyPlan:
    """What to make.

    Parameters
    ----------
    spacing_mm
        Voxel size along i, j and k (mm); slices above 1.5 mm are averages over their thickness.
    fractures, mimics
        ``(level, type)`` pairs, a ``None`` type is drawn; ``None``: by chance, with the rates below.
    fracture_rate, hairline_rate, mimic_rate
        Share of studies with fractures, of fractures that are hairlines, of studies with mimics.
    width_mm, depth_mm
        Field of view along R and A.
    above_mm, below_mm
        Field of view above the centre of C1 and below that of T1; negative numbers crop.
    noise_hu
        Range from which the noise (HU) is drawn in place of the scanner's own.
    dislocation
        ``(level, kind)``: that level and all above it slip on the one below (``phantom.dislocation``).
    randomise
        Domain randomisation of tissues and scanner in place of realistic ones.
    """

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
    noise_hu: tuple[float, float] | None = None
    dislocation: tuple[str, str] | None = None
    randomise: bool = False


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


def parse_mimics(specs: list[str]) -> tuple[tuple[str, str], ...]:
    """``["C6:osteophyte"]`` to pairs; raises UserError for unknown levels or kinds."""
    pairs = []
    for spec in specs:
        level, _, kind = spec.partition(":")
        if level not in LEVELS[:7] or kind not in KINDS or not fits(kind, level):
            known = [k for k in KINDS if fits(k, level)] if level in LEVELS[:7] else KINDS
            message = f"--mimic {spec}: write LEVEL:KIND with a level C1-C7 and one of {', '.join(known)}."
            raise UserError(message)
        pairs.append((level, kind))
    return tuple(pairs)
