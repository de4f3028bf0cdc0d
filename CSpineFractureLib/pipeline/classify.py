"""Fracture probability of the slices of the column; Grad-CAM and fracture boxes where it is high.

A slice that looks suspicious, but not for certain, is looked at again, moved by some pixels and mirrored, and its
probability is the mean of all looks (as in Krizhevsky et al., NeurIPS 2012, section 4.1): a gap stays a gap, while what
a network takes for one by accident often does not. Sizes are left alone, for resampling blurs fine gaps.
Of thin slices not every one is looked at (``STEP_MM``), for probabilities are smoothed over more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.find_levels import scored_boxes
from CSpineFractureLib.pipeline.fuse import FusedLevel
from CSpineFractureLib.pipeline.slice_images import slice_input
from CSpineFractureLib.pipeline.suspicion import SliceSuspicion, smoothed
from CSpineFractureLib.volume.canonical import CanonicalView

if TYPE_CHECKING:
    import torch
    from torch import nn

CLASSIFIER, FRACTURES = "slice-classifier", "fracture-detector"
FRACTURE, SHOW_CAM, FRACTURE_BOX = 0.72, 0.5, 0.15
"""Least scores. ``FRACTURE`` was chosen on 120 phantoms (plan ``neck``), in steps of 0.01: within 0.70 to 0.73, where
as many displaced fractures are found as at 0.55 (38 of 42) and one of 58 sound studies is suspected (two at 0.69). Of
743 sound levels 31 reach 0.6, 5 reach 0.7 and 4 this one; of 38 hairlines 13, 6 and 5."""
WORTH = ((0.0, 0.5, 0.6, 0.985, 0.997, 1.0), (0, 0, 1, 1, 0, 0))
"""How much the further looks are worth, by the probability of the first one: where it is calm or certain nothing, and
a slice that is hardly different is never worth much less. Slices for which they are worth nothing get none."""
LOOKS = ((0, 0, True), (11, 5, False), (-5, 11, True), (-9, -7, False), (7, -9, True))
"""The further looks: by how many of ``WIDTH`` pixels the picture is moved to the left and upwards, and whether it is
mirrored. Networks of other sizes see it moved by the same share."""
WIDTH = 224
STEP_MM = 1.5
"""How far apart slices that are looked at lie at most, where slices are thinner than half of that (all: ``exact``)."""


def classify_slices(view: CanonicalView, levels: list[FusedLevel], context: RunContext) -> list[SliceSuspicion]:
    """Every slice of the cervical column with its probability, between those that are looked at interpolated.

    Where no level was found, a classifier of whole slices looks at all slices of the volume, one of crops at none.
    """
    seen = slice_input(context.entry(CLASSIFIER))
    boxes = [b.k for level in levels for b in level.boxes.values()]
    if not boxes and seen.needs_column:
        return []
    span = list(range(min(boxes), max(boxes) + 1)) if boxes else list(range(len(view.hu)))
    centres: dict[int, tuple[float, float] | None] = dict.fromkeys(span)
    if boxes:
        line = column_line(levels, view, np.array(span, float))
        centres = {k: tuple(centre) for k, centre in zip(span, line, strict=True)}
    classifier, _ = context.load(CLASSIFIER)

    def look(batch: list[int], device: str, judge: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> list[float]:
        import torch

        if device != context.device:  # whose memory was short
            classifier.to(device)
        stack = torch.from_numpy(np.stack([seen.picture(view, k, centres[k])[0] for k in batch])).to(device)
        with torch.inference_mode():
            return judge(classifier, stack).cpu().tolist()

    def judged(stage: str, items: list[int], message: str, judge: Callable) -> np.ndarray:
        function, at_once = partial(look, judge=judge), _at_once(context)
        return np.array(context.run_batches(stage, function, items, at_once, message, side_by_side=True), np.float32)

    every = 1 if context.exact else max(1, int((STEP_MM + 1e-3) / view.spacing_mm[2]))
    seen_ks = sorted({*span[::every], span[-1]})
    with context.stage("classify", len(seen_ks), "Looking for fractures"):
        probabilities = judged("classify", seen_ks, "Looking for fractures", _fractured)
        worth = np.interp(probabilities, *WORTH)
        again = np.flatnonzero(worth)
        further = judged(
            "look-again", [seen_ks[n] for n in again], "Looking again at suspicious slices", _further_looks
        )
        share = worth[again] * len(LOOKS) / (1 + len(LOOKS))
        probabilities[again] += share * (further - probabilities[again])
    probabilities = smoothed(np.interp(span, seen_ks, probabilities), view.spacing_mm[2])
    return [SliceSuspicion(k, float(p), centres[k]) for k, p in zip(span, probabilities, strict=True)]


def _fractured(classifier: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """The probability ``[n]`` that pictures ``[n, c, h, w]`` show a fracture."""
    import torch

    return torch.softmax(classifier(pictures), 1)[:, 1].float()


def _further_looks(classifier: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """As ``_fractured``, the mean of ``LOOKS``."""
    import torch
    from torch.nn import functional

    height, width = pictures.shape[2:]
    moves = [tuple(round(way * width / WIDTH) for way in ways) for *ways, _ in LOOKS]
    most = max(abs(way) for ways in moves for way in ways)
    padded = functional.pad(pictures, (most,) * 4, mode="replicate")
    looks = []
    for (right, down), (*_, mirrored) in zip(moves, LOOKS, strict=True):
        shown = padded[:, :, most + down : most + down + height, most + right : most + right + width]
        looks.append(_fractured(classifier, shown.flip(3) if mirrored else shown.contiguous()))
    return torch.stack(looks).mean(0)


def explain_slices(view: CanonicalView, found: list[SliceSuspicion], context: RunContext) -> None:
    """Fill in picture, CAM and fracture boxes of the suspicious ones among classified slices, in place."""
    show = min(context.threshold("gradcam", SHOW_CAM), context.threshold("fracture", FRACTURE))
    suspicious = [s for s in found if s.probability >= show]
    with context.stage("explain", len(suspicious), "Explaining suspicious slices"):
        _explain(view, suspicious, context)


def _explain(view: CanonicalView, suspicious: list[SliceSuspicion], context: RunContext) -> None:
    """Fill in picture, CAM and fracture boxes; without weights of a fracture detector there are no boxes."""
    seen = slice_input(context.entry(CLASSIFIER))
    classifier, _ = context.load(CLASSIFIER)
    detector = None
    if context.has(FRACTURES):
        detector, _ = context.load(FRACTURES)
        detector_sees = slice_input(context.entry(FRACTURES))
    else:
        context.warn(
            "no-fracture-detector",
            "There are no weights for the fracture-detector: fractures were judged by slice and placed by Grad-CAM.",
        )
    least = context.threshold("fracture_box", FRACTURE_BOX)

    def explain_batch(batch: list[SliceSuspicion], device: str) -> list[None]:
        import torch

        from CSpineFractureLib.explain.grad_cam import scale_by_probability, slice_grad_cam
        from CSpineFractureLib.models.yolo import detect

        pictures = [seen.picture(view, s.k, s.centre_ij) for s in batch]
        stack = torch.from_numpy(np.stack([p[0] for p in pictures]))
        if device != context.device:
            for network in filter(None, (classifier, detector)):
                network.to(device)
        cams = slice_grad_cam(classifier, stack.to(device), batch_size=len(batch))
        cams = scale_by_probability(cams, np.array([s.probability for s in batch]))
        for s, (picture, place), cam in zip(batch, pictures, cams, strict=True):
            s.picture, s.place, s.cam = picture[0], place, cam
        if detector is None:
            return [None] * len(batch)
        if detector_sees != seen:
            batch = [s for s in batch if s.centre_ij is not None or not detector_sees.needs_column]
            pictures = [detector_sees.picture(view, s.k, s.centre_ij) for s in batch]
            stack = torch.from_numpy(np.stack([p[0] for p in pictures])) if batch else stack[:0]
        boxes = detect(detector, stack.to(device), conf=least, iou=0.5, max_det=8) if batch else []
        for s, (_, place), found in zip(batch, pictures, boxes, strict=True):
            s.boxes = scored_boxes(place, s.k, found)
        return [None] * len(cams)

    context.run_batches(
        "explain", explain_batch, suspicious, _at_once(context), "Explaining suspicious slices", side_by_side=True
    )


def _at_once(context: RunContext) -> int:
    """Slices in one batch. On the CPU 8: with more, each activation is so large that its memory is mapped anew."""
    return 8 if str(context.device) == "cpu" else 32


def column_line(levels: list[FusedLevel], view: CanonicalView, k: np.ndarray) -> np.ndarray:
    """Middle of the column ``(i, j)`` at canonical slices ``k``: half way between body and spinous process."""
    boxes = sorted((b for level in levels for b in level.boxes.values()), key=lambda b: b.k)
    at = np.array([b.k for b in boxes], float)
    ij = np.array([view.ijk_of(np.array([*b.middle, b.s]))[:2] for b in boxes])
    knots = np.unique(at)
    mean = np.array([ij[at == knot].mean(axis=0) for knot in knots])
    if len(knots) > 5:
        kernel = np.ones(5) / 5
        padded = np.pad(mean, ((2, 2), (0, 0)), mode="edge")
        mean = np.stack([np.convolve(padded[:, axis], kernel, "valid") for axis in (0, 1)], axis=1)
    return np.stack([np.interp(k, knots, mean[:, axis]) for axis in (0, 1)], axis=1)
