"""From fracture boxes in slices and the levels in those slices to findings and level probabilities (document 004)."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.findings.study_result import FractureFinding
from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.decode import level_name
from CSpineFractureLib.pipeline.fracture_chains import FractureChain, linked

LEVEL_RULE = (
    "boxes-top3: mean of a level's three highest slice scores, where a slice's score is that of its best fracture box,"
    " times the level's share (its probability to show in the slice over that of the likeliest level); study: the"
    " highest of its levels"
)

FoundBoxes = dict[int, list[tuple[SliceBox, float]]]
"""The fracture boxes of each slice looked at, with their scores 0..1."""


def level_probability(level: int, rows: range, slices: list[int], presence: np.ndarray, found: FoundBoxes) -> float:
    """Fracture probability of level 0-6 by ``LEVEL_RULE``.

    ``rows`` are those of ``slices`` and ``presence`` ``[n, 7]`` that the level covers; slices without a box count 0.
    """
    scores = []
    for row in rows:
        best = max((score for _, score in found.get(slices[row], [])), default=0.0)
        scores.append(best * float(presence[row, level] / max(presence[row].max(), 1e-6)))
    return float(np.mean(sorted(scores, reverse=True)[:3]))


def fracture_findings(
    slices: list[int],
    presence: np.ndarray,
    found: FoundBoxes,
    judged: list[int],
    slice_mm: float,
    least: float,
) -> list[FractureFinding]:
    """Boxes of neighbouring slices as 3D findings, the surest first.

    Boxes that overlap in the plane within 4 mm of height are one finding; it needs two slices (or one where they are
    more than 1.5 mm apart). Its confidence is the mean of its three best scores, at least ``least``; its level (0-6)
    that which is likeliest to show in its slices, each weighted by its box's score. Findings in other levels than
    ``judged`` are left out.
    """
    row_of = {k: row for row, k in enumerate(slices)}
    boxes = [(None, box, score) for k in sorted(found) for box, score in found[k]]
    findings = []
    for chain in sorted(linked(boxes, slice_mm), key=lambda chain: -_confidence(chain)):
        shown = np.average([presence[row_of[box.k]] for box in chain.boxes], axis=0, weights=chain.values)
        level, confidence = int(shown.argmax()), _confidence(chain)
        if chain.is_long_enough(slice_mm) and confidence >= least and level in judged:
            name = f"fracture-{len(findings) + 1}"
            findings.append(FractureFinding(name, level_name(level), confidence, chain.hull(slice_mm)))
    return findings


def _confidence(chain: FractureChain) -> float:
    return float(np.mean(sorted(chain.values, reverse=True)[:3]))
