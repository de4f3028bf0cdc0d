"""From slice probabilities and fracture boxes to level and study probabilities and to findings.

Level rule (``slice-top3``): slice probabilities are smoothed along the column, for a gap shows in several slices and a
classifier's slip in one. A slice that cuts two levels counts for the one in which fracture boxes lie. A level's
fracture probability is the mean of the three highest among the slices of the boxes that are its own; the study's
probability is that of its most suspicious level. Levels that cannot be judged take no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d

from CSpineFractureLib.findings.study_result import Box, FractureFinding, VertebraFinding
from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.canonical import CanonicalView
from CSpineFractureLib.pipeline.fuse import FusedLevel

SMOOTH_MM = 1.5
LEVEL_RULE = (
    "slice-top3: mean of a level's three highest slice probabilities, smoothed along the column with a Gaussian of"
    " 1.5 mm and shared between levels by their fracture boxes; study: the highest of its levels"
)


@dataclass
class SliceSuspicion:
    """Canonical slice ``k``: fracture probability, crop centre ``(i, j)``, and where suspicious the CAM and boxes.

    ``shares`` says how much of the suspicion belongs to each of C1-C7, 0..1 (see ``attribute``).
    """

    k: int
    probability: float
    centre_ij: tuple[float, float]
    cam: np.ndarray | None = None
    boxes: list[tuple[SliceBox, float]] = field(default_factory=list)
    shares: np.ndarray = field(default_factory=lambda: np.ones(7))


def smoothed(probabilities: list[float], step_mm: float) -> list[float]:
    """Slice probabilities in order along the column, smoothed with a Gaussian of standard deviation 1.5 mm."""
    return gaussian_filter1d(np.asarray(probabilities, float), SMOOTH_MM / step_mm, mode="nearest").tolist()


def attribute(suspicions: list[SliceSuspicion], labels: np.ndarray, view: CanonicalView) -> None:
    """Fill in ``shares``: a slice that cuts two levels counts for the one whose bone the fracture boxes mark.

    A level's share is its best box score over the best of all levels; without boxes on bone every level has all of it.
    """
    for s in suspicions:
        scores = np.zeros(7)
        for box, score in s.boxes:
            level = _owner(box, labels, view)
            if level is not None:
                scores[level - 1] = max(scores[level - 1], score)
        if scores.any():
            s.shares = scores / scores.max()


def level_probability(level: FusedLevel, suspicions: list[SliceSuspicion]) -> float | None:
    """Mean of the three highest slice probabilities of a level; ``None`` when no slice was classified."""
    ks = [b.k for b in level.boxes.values()]
    if not ks:
        return None
    own = sorted((s.probability * s.shares[level.index] for s in suspicions if min(ks) <= s.k <= max(ks)), reverse=True)
    return float(np.mean(own[:3])) if own else None


def study_probability(vertebrae: list[VertebraFinding]) -> float | None:
    """The highest of the judged levels; ``None`` when no level could be judged.

    Not ``1 - prod(1 - p)``: seven calm levels of 0.3 would make an alarm of 0.92.
    """
    known = [v.fracture_probability for v in vertebrae if v.fracture_probability is not None]
    return max(known, default=None)


def fracture_findings(
    suspicions: list[SliceSuspicion],
    vertebrae: list[VertebraFinding],
    labels: np.ndarray,
    view: CanonicalView,
    threshold: float,
) -> list[FractureFinding]:
    """Link 2D fracture boxes of suspicious slices into 3D findings, named by the vertebra they lie in.

    A box takes the level whose mask fills most of it; boxes of the same level that overlap in the plane and lie
    within 4 mm of height join. A finding needs two slices (or one where slices are thicker than 1.5 mm); its
    confidence is the mean over its slices of box score times slice probability, square-rooted.
    """
    chains: list[dict] = []
    for s in sorted(suspicions, key=lambda x: x.k):
        if s.probability < threshold:
            continue
        for box, score in s.boxes:
            level = _owner(box, labels, view)
            if level is None:
                continue
            chain = next((c for c in chains if c["level"] == level and _joins(c["boxes"][-1], box, view)), None)
            if chain is None:
                chain = {"level": level, "boxes": [], "values": []}
                chains.append(chain)
            chain["boxes"].append(box)
            chain["values"].append(float(np.sqrt(score * s.probability)))
    least = 1 if view.spacing_mm[2] > 1.5 else 2
    judged = {v.level: v for v in vertebrae if v.fracture_assessable is True}
    found = []
    for chain in sorted(chains, key=lambda c: -np.mean(c["values"])):
        name = f"C{chain['level']}"
        if name not in judged or len({b.k for b in chain["boxes"]}) < least:
            continue
        low = np.array([*np.min([b.low for b in chain["boxes"]], axis=0), min(b.s for b in chain["boxes"])])
        high = np.array([*np.max([b.high for b in chain["boxes"]], axis=0), max(b.s for b in chain["boxes"])])
        low[2] -= view.spacing_mm[2] / 2
        high[2] += view.spacing_mm[2] / 2
        box = Box(((low + high) / 2).tolist(), (high - low).tolist())
        found.append(FractureFinding(f"fracture-{len(found) + 1}", name, float(np.mean(chain["values"])), box))
    return found


def _owner(box: SliceBox, labels: np.ndarray, view: CanonicalView) -> int | None:
    """The level (1-7) whose mask fills most of the box on its slice; ``None`` when there is no vertebra in it."""
    a, b = (view.ijk_of(np.array([*corner, box.s])) for corner in (box.low, box.high))
    low, high = np.floor(np.minimum(a, b)).astype(int), np.ceil(np.maximum(a, b)).astype(int)
    k = int(np.clip(box.k, 0, len(labels) - 1))
    part = labels[k, max(0, low[1]) : high[1] + 1, max(0, low[0]) : high[0] + 1]
    counts = np.bincount(part.ravel(), minlength=9)[1:8]
    return int(counts.argmax()) + 1 if counts.any() else None


def _joins(first: SliceBox, second: SliceBox, view: CanonicalView) -> bool:
    overlap = all(min(first.high[n], second.high[n]) > max(first.low[n], second.low[n]) for n in (0, 1))
    return overlap and abs(first.s - second.s) <= max(4.0, 1.5 * view.spacing_mm[2])
