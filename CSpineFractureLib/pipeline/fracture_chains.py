"""2D fracture boxes of neighbouring slices as one 3D box."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np

from CSpineFractureLib.findings.study_result import Box
from CSpineFractureLib.pipeline.boxes2d import SliceBox

REACH_MM = 4.0
THICK_MM = 1.5


@dataclass
class FractureChain:
    """Linked boxes of one ``key`` (a level, or nothing) from inferior to superior, each with its value 0..1."""

    key: Hashable
    boxes: list[SliceBox] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def hull(self, slice_mm: float) -> Box:
        """The box around all of them; each is as thick as a slice."""
        low = np.array([*np.min([b.low for b in self.boxes], axis=0), min(b.s for b in self.boxes) - slice_mm / 2])
        high = np.array([*np.max([b.high for b in self.boxes], axis=0), max(b.s for b in self.boxes) + slice_mm / 2])
        return Box(((low + high) / 2).tolist(), (high - low).tolist())

    def is_long_enough(self, slice_mm: float) -> bool:
        """Whether it spans two slices, or one where slices are thicker than 1.5 mm."""
        return len({b.k for b in self.boxes}) >= (1 if slice_mm > THICK_MM else 2)


def linked(found: Iterable[tuple[Hashable, SliceBox, float]], slice_mm: float) -> list[FractureChain]:
    """Boxes (key, box, value), from inferior to superior, as chains.

    A box joins the first chain of its key whose last box it overlaps in the plane, within 4 mm of height.
    """
    chains: list[FractureChain] = []
    for key, box, value in found:
        chain = next((c for c in chains if c.key == key and _joins(c.boxes[-1], box, slice_mm)), None)
        if chain is None:
            chain = FractureChain(key)
            chains.append(chain)
        chain.boxes.append(box)
        chain.values.append(value)
    return chains


def _joins(first: SliceBox, second: SliceBox, slice_mm: float) -> bool:
    overlap = all(min(first.high[n], second.high[n]) > max(first.low[n], second.low[n]) for n in (0, 1))
    return overlap and abs(first.s - second.s) <= max(REACH_MM, 1.5 * slice_mm)
