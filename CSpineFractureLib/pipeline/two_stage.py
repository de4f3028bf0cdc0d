"""The ``two-stage`` profile: document 000 (Yaseen et al., IEEE Access 2024) on a whole CT.

The document classifies each slice first (CNN, Grad-CAM) and then detects C1-C7 (YOLOv8). Here the detector runs first,
on axial slices of the body at 1 mm, because the column it finds tells the classifier where to look: slices are cropped
to 128 mm around the column, so a fracture is still visible at the document's 224x224 pixels. A second YOLOv8 draws
fracture boxes in the slices that the classifier suspects. Boxes are fused into levels (see ``decode``), levels into
segments (see ``segment``), suspicious slices into findings (see ``suspicion``).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import Box, SliceFinding, VertebraFinding
from CSpineFractureLib.pipeline.assess import STRONG_LEAN_DEG, body_cut, column_lean, fracture_assessable
from CSpineFractureLib.pipeline.axial import AxialImages, column_crop, detector_images, detector_input
from CSpineFractureLib.pipeline.body_centre import body_centre
from CSpineFractureLib.pipeline.boxes2d import SliceBox, follow_column
from CSpineFractureLib.pipeline.cam_volume import cam_volume
from CSpineFractureLib.pipeline.canonical import CanonicalView
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.decode import level_name
from CSpineFractureLib.pipeline.discs import disc_evidence
from CSpineFractureLib.pipeline.fuse import FusedLevel, fuse
from CSpineFractureLib.pipeline.segment import segment_levels
from CSpineFractureLib.pipeline.suspicion import (
    LEVEL_RULE,
    SliceSuspicion,
    attribute,
    fracture_findings,
    level_probability,
    smoothed,
    study_probability,
)
from CSpineFractureLib.volume.ct_volume import CTVolume

DETECTOR, CLASSIFIER, FRACTURES = "vertebra-detector", "slice-classifier", "fracture-detector"
LEAST_CONFIDENCE = 0.15
LEAST_VOLUME_MM3 = 400.0
FRACTURE = 0.6


def run(volume: CTVolume, context: RunContext) -> StudyOutput:
    """Analyse one CT; see the module's text for the stages. Results are on the volume's own grid."""
    view = CanonicalView.of(volume)
    result = context.new_result(volume, LEVEL_RULE)
    images = detector_images(view)
    levels, slices = ([], []) if images is None else _find_levels(images, context)
    with context.stage("segment", len(levels), "Segmenting C1-C7"):
        labels = segment_levels(view, levels, slices)
    levels = [level for level in levels if _worth(level, labels, view, context)]
    labels[~np.isin(labels, [0, *(level.index + 1 for level in levels)])] = 0
    suspicions = _classify(view, levels, context)
    attribute(suspicions, labels, view)
    cam, cam_matrix = cam_volume(view, suspicions, labels)
    _explain_absence(levels, view, context)
    gate = fracture_assessable(view.spacing_mm)
    result.slices = _slice_findings(view, volume, suspicions if gate is True else [], slices)
    result.vertebrae = [_vertebra(level, labels, view, volume, suspicions, gate) for level in levels]
    threshold = context.threshold("fracture", FRACTURE)
    lean = column_lean([vertebra.center_ras for vertebra in result.vertebrae])
    if lean > STRONG_LEAN_DEG:
        context.warn(
            "leaning-column",
            f"The column leans {lean:.0f} degrees from the body axis: check the levels and their middles.",
        )
    if gate is True:
        result.fractures = fracture_findings(suspicions, result.vertebrae, labels, view, threshold)
    elif levels:
        context.warn("fracture-not-assessable", f"Fractures were not judged: {gate}.")
    result.study.fracture_probability = study_probability(result.vertebrae)
    return StudyOutput(result, view.to_stored(labels), cam, cam_matrix)


def _find_levels(images: AxialImages, context: RunContext) -> tuple[list[FusedLevel], list[list[SliceBox]]]:
    """Detect vertebra boxes on every image slice and fuse them; slices are returned from superior to inferior."""
    model, _ = context.load(DETECTOR)
    least = context.threshold("vertebra_box", 0.10)

    def detect_batch(batch: list[int], device: str) -> list[list[SliceBox]]:
        import torch

        from CSpineFractureLib.models.yolo import detect

        model.to(device)
        stack = torch.from_numpy(np.stack([detector_input(images, int(k)) for k in batch])).to(device)
        found = detect(model, stack, conf=least, iou=0.6, max_det=12)
        return [
            [_slice_box(images, int(k), box, p) for box, p in zip(d.boxes_xyxy, d.class_probabilities, strict=True)]
            for k, d in zip(batch, found, strict=True)
        ]

    order = [int(k) for k in images.slices[::-1]]
    with context.stage("detect", len(order), "Finding the vertebrae"):
        boxes = context.run_batches("detect", detect_batch, order, 8, "Finding the vertebrae")
    step = float(abs(images.slices[1] - images.slices[0]) if len(images.slices) > 1 else 1) * images.view.spacing_mm[2]
    with context.stage("fuse", 1, "Naming the levels"):
        kept = follow_column(boxes, step)
        middle = np.array(images.view.hu.shape[:0:-1]) / 2
        heights = np.array([images.view.ras_of(np.array([*middle, k]))[2] for k in order])
        discs = disc_evidence(images.view, kept, np.array(order), step)
        return fuse(kept, heights, step, discs), kept


def _slice_box(images: AxialImages, k: int, box: np.ndarray, scores: np.ndarray) -> SliceBox:
    """A box in pixels to RAS mm."""
    a, b = images.ras_of(float(box[0]), float(box[1]), k), images.ras_of(float(box[2]), float(box[3]), k)
    low, high = np.minimum(a, b), np.maximum(a, b)
    return SliceBox(k, float((a[2] + b[2]) / 2), tuple(low[:2]), tuple(high[:2]), np.asarray(scores, float))


def _worth(level: FusedLevel, labels: np.ndarray, view: CanonicalView, context: RunContext) -> bool:
    """A level needs some confidence and some bone; anything less is not shown."""
    least = context.threshold("level_confidence", LEAST_CONFIDENCE)
    bone = float((labels == level.index + 1).sum()) * float(np.prod(view.spacing_mm))
    return level.slab.confidence >= least and bone >= LEAST_VOLUME_MM3


def _column_line(levels: list[FusedLevel], view: CanonicalView, k: np.ndarray) -> np.ndarray:
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


def _classify(view: CanonicalView, levels: list[FusedLevel], context: RunContext) -> list[SliceSuspicion]:
    """Fracture probability of every slice of the cervical column; CAM and fracture boxes where it is suspicious."""
    if not levels:
        return []
    boxes = [b.k for level in levels for b in level.boxes.values()]
    span = list(range(min(boxes), max(boxes) + 1))
    line = dict(zip(span, _column_line(levels, view, np.array(span, float)), strict=True))
    classifier, _ = context.load(CLASSIFIER)

    def classify_batch(batch: list[int], device: str) -> list[float]:
        import torch

        classifier.to(device)
        stack = torch.from_numpy(np.stack([column_crop(view, k, line[k])[0] for k in batch])).to(device)
        with torch.inference_mode():
            return torch.softmax(classifier(stack), 1)[:, 1].float().cpu().tolist()

    with context.stage("classify", len(span), "Looking for fractures"):
        probabilities = context.run_batches("classify", classify_batch, span, 32, "Looking for fractures")
    probabilities = smoothed(probabilities, view.spacing_mm[2])
    found = [SliceSuspicion(k, float(p), tuple(line[k])) for k, p in zip(span, probabilities, strict=True)]
    show = min(context.threshold("gradcam", 0.5), context.threshold("fracture", FRACTURE))
    suspicious = [s for s in found if s.probability >= show]
    _explain(view, suspicious, context)
    return found


def _explain(view: CanonicalView, suspicious: list[SliceSuspicion], context: RunContext) -> None:
    """Grad-CAM and fracture boxes, only for slices that need them."""
    classifier, _ = context.load(CLASSIFIER)
    detector, _ = context.load(FRACTURES)
    least = context.threshold("fracture_box", 0.15)

    def explain_batch(batch: list[SliceSuspicion], device: str) -> list[None]:
        import torch

        from CSpineFractureLib.explain.grad_cam import scale_by_probability, slice_grad_cam
        from CSpineFractureLib.models.yolo import detect

        crops = [column_crop(view, s.k, s.centre_ij) for s in batch]
        stack = torch.from_numpy(np.stack([c[0] for c in crops]))
        classifier.to(device)
        detector.to(device)
        cams = slice_grad_cam(classifier, stack.to(device), batch_size=len(batch))
        cams = scale_by_probability(cams, np.array([s.probability for s in batch]))
        boxes = detect(detector, stack.to(device), conf=least, iou=0.5, max_det=8)
        for s, (_, images), cam, found in zip(batch, crops, cams, boxes, strict=True):
            s.cam = cam
            s.boxes = [
                (_slice_box(images, s.k, b, p), float(score))
                for b, p, score in zip(found.boxes_xyxy, found.class_probabilities, found.scores, strict=True)
            ]
        return [None] * len(batch)

    with context.stage("explain", len(suspicious), "Explaining suspicious slices"):
        context.run_batches("explain", explain_batch, suspicious, 16, "Explaining suspicious slices")


def _slice_findings(view, volume, suspicions, slices) -> list[SliceFinding]:
    """Per-slice rows, where the volume stores its slices along the body axis (else none).

    Slices without a suspicion have no fracture probability.
    """
    if view.stored_slice_axis() != 0:
        return []
    by_k = {s.k: s.probability for s in suspicions}
    rows = {}
    for boxes in slices:
        for box in boxes:
            row = rows.setdefault(box.k, {})
            for index in range(7):
                if box.scores[index] >= 0.05:
                    row[level_name(index)] = max(row.get(level_name(index), 0.0), float(box.scores[index]))
    found = []
    for stored in range(volume.hu.shape[0]):
        k = view.stored_slice(stored)
        found.append(SliceFinding(stored, by_k.get(k), rows.get(k, {})))
    return found


def _vertebra(level, labels, view, volume, suspicions, gate) -> VertebraFinding:
    name = level_name(level.index)
    mask = labels == level.index + 1
    (place,) = ndimage.find_objects(mask.astype(np.uint8))
    centre = body_centre(mask, place, view, level.center_ras, first=level.index == 0)
    low, high = _ras_hull(view, place)
    stored_axis = view.stored_slice_axis()
    ends = sorted(view.stored_slice(int(n)) for n in (place[stored_axis].start, place[stored_axis].stop - 1))
    cut = level.slab.cut_above or level.slab.cut_below or body_cut(mask, view, place)
    visible = "partial" if cut else "full"
    assessable = gate if gate is not True or visible == "full" else "the scan shows only part of this vertebra"
    probability = level_probability(level, suspicions) if assessable is True else None
    return VertebraFinding(
        id=f"vertebra-{name}",
        level=name,
        visible=visible,
        assessed=True,
        confidence=level.slab.confidence,
        center_ras=centre.tolist(),
        box=Box(((low + high) / 2).tolist(), (high - low).tolist()),
        slice_range=[int(e) for e in ends],
        fracture_probability=probability,
        fracture_assessable=assessable,
        volume_mm3=float(mask.sum()) * float(np.prod(view.spacing_mm)),
    )


def _ras_hull(view: CanonicalView, place) -> tuple[np.ndarray, np.ndarray]:
    """Axis-aligned RAS hull (voxel edges) of an index block."""
    ends = [(p.start - 0.5, p.stop - 0.5) for p in place[::-1]]
    corners = np.array([[ends[axis][(n >> axis) & 1] for axis in range(3)] for n in range(8)])
    ras = view.ras_of(corners)
    return ras.min(axis=0), ras.max(axis=0)


def _explain_absence(levels: list[FusedLevel], view: CanonicalView, context: RunContext) -> None:
    """Say why levels are missing: nothing found, or the volume does not reach them."""
    names = [level_name(level.index) for level in levels]
    if not names:
        context.warn(
            "no-cervical-spine",
            "No cervical vertebra was found: the volume may not show the neck, or too little of it; "
            "nothing was assessed.",
        )
        return
    if names[-1] != "C7":
        context.warn(
            "levels-below-missing",
            f"Nothing was assessed below {names[-1]}: the volume ends there or shows too little of the levels below.",
        )
    if names[0] != "C1":
        context.warn(
            "levels-above-missing",
            f"Nothing was assessed above {names[0]}: the volume begins there, so the numbering rests on the levels "
            "below alone.",
        )
