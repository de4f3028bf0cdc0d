"""The column of a synthetic person in plain soft tissue: what most tests of bone need, in a tenth of the time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.phantom.anatomy import content_of, stream
from CSpineFractureLib.phantom.bone import BonePainter, BoneQuality
from CSpineFractureLib.phantom.morphometry import Spine
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.sdf import Canvas

SOFT_HU = 50.0


@dataclass
class Column:
    """Bones only: canvas, labels and gaps ``[k, j, i]``, and the posed spine."""

    canvas: Canvas
    labels: np.ndarray
    gaps: np.ndarray
    spine: Spine


def column_of(seed: int, plan: StudyPlan) -> Column:
    """The bones that ``anatomy_of`` paints for a seed and plan, without the person around them."""
    spine, fractures, mimics = content_of(seed, plan)
    centres = np.array([spine[level].centre for level in ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1")])
    low, high = centres.min(axis=0) - (44, 62, 6), np.add(centres.max(axis=0), (44, 14, 14))
    canvas = Canvas.covering(tuple(low), tuple(high), plan.spacing_mm, fill=SOFT_HU)
    rng = stream(seed, "bone")
    painter = BonePainter(canvas, BoneQuality.sample(rng, spine.age), rng)
    painter.paint(spine, fractures, mimics)
    return Column(canvas, painter.labels, painter.gaps, spine)
