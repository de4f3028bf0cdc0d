"""From slice probabilities and fracture boxes to level and study probabilities and to findings.

Level rule (``slice-top3``): slice probabilities are smoothed along the column, for a gap shows in several slices and a
classifier's slip in one. A slice that cuts two levels counts for the one in which fracture boxes lie, or else for that
on whose bone the Grad-CAM lies. A level's fracture probability is the mean of the three highest among the slices of the
boxes that are its own; the study's probability is that of its most suspicious level. Levels that cannot be judged take
no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.special import expit, logit

from CSpineFractureLib.findings.study_result import (
    BY_CAM,
    BY_VOLUME,
    WITHOUT_BOXES,
    Box,
    FractureFinding,
    VertebraFinding,
)
from CSpineFractureLib.pipeline.axial import AxialImages
from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.fracture_chains import linked
from CSpineFractureLib.pipeline.fuse import FusedLevel
from CSpineFractureLib.pipeline.slice_rows import ras_hull
from CSpineFractureLib.pipeline.torn_bone import TornBone
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.morphology import filled_block

SMOOTH_MM = 1.5
TORN_RULE = "; raised where a 3D network sees torn bone"
TORN_FROM, TORN_FROM_C1 = 3.0, 5.0
"""Logit of the 3D network on a level from which on the level's score is raised by what is above it; at C1 logits are
higher. From 2.5 on one more of 58 sound neck phantoms would be suspected, from 2.0 on one more of the benchmark's
37 sound studies."""
EDGE = 1e-4
LEVEL_RULE = (
    "slice-top3: mean of a level's three highest slice probabilities (thin slices 1.5 mm apart, suspicious ones looked"
    " at six times), smoothed along the column (Gaussian, 1.5 mm), shared between levels by their fracture boxes or"
    " Grad-CAM; study: its highest level"
)


@dataclass
class SliceSuspicion:
    """Canonical slice ``k``: its fracture probability, and where that is high the Grad-CAM and fracture boxes.

    ``centre_ij`` is the middle of the column, where known. ``picture`` (``[h, w]`` 0..1) is what the classifier saw,
    ``cam`` its Grad-CAM, of the same shape and scaled by the probability, and ``place`` where both lie. ``shares`` says
    how much of the suspicion belongs to each of C1-C7, 0..1 (see ``attribute``).
    """

    k: int
    probability: float
    centre_ij: tuple[float, float] | None = None
    picture: np.ndarray | None = None
    cam: np.ndarray | None = None
    place: AxialImages | None = None
    boxes: list[tuple[SliceBox, float]] = field(default_factory=list)
    shares: np.ndarray = field(default_factory=lambda: np.ones(7))


def smoothed(probabilities: list[float], step_mm: float) -> list[float]:
    """Slice probabilities in order along the column, smoothed with a Gaussian of standard deviation 1.5 mm."""
    return gaussian_filter1d(np.asarray(probabilities, float), SMOOTH_MM / step_mm, mode="nearest").tolist()


def attribute(suspicions: list[SliceSuspicion], labels: np.ndarray, view: CanonicalView) -> None:
    """Fill in ``shares``: a slice that cuts two levels counts for the one whose bone the fracture boxes mark.

    A level's share is its best box score over the best of all levels. Without boxes on bone its Grad-CAM over bone
    counts likewise; without a Grad-CAM every level that the slice cuts has all of it.
    """
    block = filled_block(labels)
    if block is None:
        return
    for s in suspicions:
        levels, values = _cam_on_bone(s, labels, block)[:2]
        if not len(levels):
            continue
        scores = np.zeros(7)
        for box, score in s.boxes:
            level = _owner(box, labels, view)
            if level is not None:
                scores[level - 1] = max(scores[level - 1], score)
        if not scores.any():
            scores = np.bincount(levels, weights=values, minlength=8)[1:]
        s.shares = scores / scores.max() if scores.any() else np.isin(np.arange(1, 8), levels).astype(float)


def _cam_on_bone(
    s: SliceSuspicion, labels: np.ndarray, block: tuple[slice, slice, slice]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the pixels of C1-C7 in a slice: their level 1-7, their Grad-CAM (0 without one), and ``[n, 2]`` i, j.

    ``block`` ``[k, j, i]`` holds all labels.
    """
    plane = labels[s.k, block[1], block[2]]
    rows, columns = np.nonzero((plane > 0) & (plane <= 7))
    at = np.stack([columns + block[2].start, rows + block[1].start], axis=1)
    values = np.zeros(len(at))
    if s.cam is not None and len(at):
        u, v = s.place.pixels_of(*at.T)
        values = map_coordinates(s.cam, np.stack([v, u]), order=1, cval=0.0)
    return plane[rows, columns], values, at


def level_probability(level: FusedLevel, suspicions: list[SliceSuspicion]) -> float | None:
    """Mean of the three highest slice probabilities of a level; ``None`` when no slice was classified."""
    ks = [b.k for b in level.boxes.values()]
    if not ks:
        return None
    own = sorted((s.probability * s.shares[level.index] for s in suspicions if min(ks) <= s.k <= max(ks)), reverse=True)
    return float(np.mean(own[:3])) if own else None


def with_torn_bone(probability: float, logit_3d: float, is_c1: bool = False) -> float:
    """A level's score from its slices, raised where the 3D network sees torn bone (its logit of that level)."""
    more = max(0.0, logit_3d - (TORN_FROM_C1 if is_c1 else TORN_FROM))
    return float(expit(logit(np.clip(probability, EDGE, 1 - EDGE)) + more))


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
    torn: TornBone | None = None,
) -> list[FractureFinding]:
    """Link 2D fracture boxes of suspicious slices into 3D findings, named by the vertebra they lie in.

    A box takes the level whose mask fills most of it; boxes of the same level that overlap in the plane and lie
    within 4 mm of height join. A finding needs two slices (or one where slices are thicker than 1.5 mm) and a level
    whose own probability reaches ``threshold``, so that boxes and levels tell the same; its confidence is the mean over
    its slices of box score times slice probability, square-rooted. A level that reaches it without such boxes has one
    finding around the half of the Grad-CAM on its bone, or else where the 3D network sees it ``torn``, as sure as the
    level, after those with boxes.
    """
    slice_mm = view.spacing_mm[2]
    found = [
        (level, box, float(np.sqrt(score * s.probability)))
        for s in sorted(suspicions, key=lambda x: x.k)
        if s.probability >= threshold
        for box, score in s.boxes
        if (level := _owner(box, labels, view)) is not None
    ]
    judged = {
        v.level: v.fracture_probability
        for v in vertebrae
        if v.fracture_assessable is True and (v.fracture_probability or 0) >= threshold
    }
    chains = [c for c in linked(found, slice_mm) if f"C{c.key}" in judged and c.is_long_enough(slice_mm)]
    findings = [FractureFinding("", f"C{c.key}", float(np.mean(c.values)), c.hull(slice_mm)) for c in chains]
    for level in sorted(judged.keys() - {finding.level for finding in findings}):
        number, comment = int(level[1:]), BY_CAM
        box = _cam_box(number, suspicions, labels, view, threshold)
        if box is None and torn is not None and (place := torn.place(number)) is not None:
            box, comment = _box_of(place, view), BY_VOLUME
        if box is not None:
            findings.append(FractureFinding("", level, float(judged[level]), box, comment=comment))
    findings.sort(key=lambda finding: (finding.comment in WITHOUT_BOXES, -finding.confidence))
    return [replace(finding, id=f"fracture-{number}") for number, finding in enumerate(findings, start=1)]


def _cam_box(
    level: int, suspicions: list[SliceSuspicion], labels: np.ndarray, view: CanonicalView, threshold: float
) -> Box | None:
    """Around the bone of a level (1-7) on which the Grad-CAM of suspicious slices is at least half of its highest."""
    values, index, block = [np.zeros(0)], [np.zeros((0, 3))], filled_block(labels)
    for s in suspicions:
        if block is not None and s.cam is not None and s.probability >= threshold:
            levels, cam, at = _cam_on_bone(s, labels, block)
            own = levels == level
            values.append(cam[own])
            index.append(np.column_stack([at[own], np.full(own.sum(), s.k)]))
    value, index = np.concatenate(values), np.concatenate(index)
    if not value.any():
        return None
    marked = index[value >= value.max() / 2]
    first, last = marked.min(axis=0)[::-1].astype(int), marked.max(axis=0)[::-1].astype(int)
    return _box_of(tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True)), view)


def _box_of(place: tuple[slice, slice, slice], view: CanonicalView) -> Box:
    """The box of canonical bounds ``[k, j, i]``."""
    low, high = ras_hull(view, place)
    return Box(((low + high) / 2).tolist(), (high - low).tolist())


def _owner(box: SliceBox, labels: np.ndarray, view: CanonicalView) -> int | None:
    """The level (1-7) whose mask fills most of the box on its slice; ``None`` when there is no vertebra in it."""
    a, b = (view.ijk_of(np.array([*corner, box.s])) for corner in (box.low, box.high))
    low, high = np.floor(np.minimum(a, b)).astype(int), np.ceil(np.maximum(a, b)).astype(int)
    k = int(np.clip(box.k, 0, len(labels) - 1))
    part = labels[k, max(0, low[1]) : high[1] + 1, max(0, low[0]) : high[0] + 1]
    counts = np.bincount(part.ravel(), minlength=9)[1:8]
    return int(counts.argmax()) + 1 if counts.any() else None
