"""Where to cut out each vertebra: its largest extent over all slices (document 002, section III-B).

The document takes the extent from YOLOv5 boxes; without weights for that network, from the segment. A network that
sees whole slices needs neither.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.level_presence import looked_at
from CSpineFractureLib.pipeline.slice_images import whole_slices
from CSpineFractureLib.pipeline.vertebra_fractures import VERTEBRA_FRACTURE, CropInput
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.vertebra_crop import MARGIN_MM, VertebraPlace, place_of

if TYPE_CHECKING:
    from CSpineFractureLib.models.yolo import Detections
    from CSpineFractureLib.pipeline.axial import AxialImages

DETECTOR = "vertebra-detector"
VERTEBRA_BOX = 0.25
PixelBox = tuple[float, float, float, float]
"""Left, top, right, bottom: pixel edges of the canonical slice (column, row)."""


def vertebra_places(
    view: CanonicalView, labels: np.ndarray, numbers: list[int], context: RunContext
) -> dict[int, VertebraPlace]:
    """The place of each of these levels (1-7) that ``labels`` (canonical, uint8 ``[k, j, i]``) shows, as large as the
    network that judges vertebrae wants it."""
    places = {number: place_of(labels, number, view.spacing_mm) for number in numbers}
    places = {number: place for number, place in places.items() if place is not None}
    if places and CropInput.of(context.entry(VERTEBRA_FRACTURE)).whole:
        return {number: VertebraPlace.whole(view.hu.shape, place.k0, place.k1) for number, place in places.items()}
    if not places or not context.has(DETECTOR):
        return places
    boxes = _detect(view, places, context)
    return {number: widest(place, boxes.get(number, []), view) for number, place in places.items()}


def widest(place: VertebraPlace, boxes: list[tuple[int, PixelBox]], view: CanonicalView) -> VertebraPlace:
    """The largest extent of the boxes ``(k, edges)`` of one level, 5 mm wider; as it was where no box fits.

    A box fits when its slice and its middle lie within the place that the segment has.
    """
    own = [
        box
        for k, box in boxes
        if place.k0 <= k <= place.k1
        and place.i0 <= (box[0] + box[2]) / 2 <= place.i1
        and place.j0 <= (box[1] + box[3]) / 2 <= place.j1
    ]
    if not own:
        return place
    left, top, right, bottom = np.array(own).T
    (x, y), (rows, columns) = (MARGIN_MM / view.spacing_mm[axis] for axis in (0, 1)), view.hu.shape[1:]
    return replace(
        place,
        j0=max(0, int(np.floor(top.min() - y))),
        j1=min(rows, int(np.ceil(bottom.max() + y))),
        i0=max(0, int(np.floor(left.min() - x))),
        i1=min(columns, int(np.ceil(right.max() + x))),
    )


def _detect(view: CanonicalView, places: dict[int, VertebraPlace], context: RunContext) -> dict[int, list]:
    """Boxes ``(k, edges)`` by level, in the slices that show any of the places."""
    seen = whole_slices(context.entry(DETECTOR))
    detector, _ = context.load(DETECTOR)
    least = context.threshold("vertebra_box", VERTEBRA_BOX)
    shown = [k for k in looked_at(view, context.exact) if any(p.k0 <= k <= p.k1 for p in places.values())]
    boxes: dict[int, list[tuple[int, PixelBox]]] = {}

    def detect_batch(batch: list[int], device: str) -> list[list[tuple[int, int, PixelBox]]]:
        import torch

        from CSpineFractureLib.models.yolo import detect

        detector.to(device)
        pictures = [seen.picture(view, k) for k in batch]
        stack = torch.from_numpy(np.stack([picture for picture, _ in pictures])).to(device)
        found = detect(detector, stack, conf=least, iou=0.6, max_det=12)
        return [_named(place, k, one) for k, (_, place), one in zip(batch, pictures, found, strict=True)]

    with context.stage("detect", len(shown), "Cutting out the vertebrae"):
        for row in context.run_batches("detect", detect_batch, shown, 8, "Cutting out the vertebrae"):
            for number, k, box in row:
                boxes.setdefault(number, []).append((k, box))
    return boxes


def _named(place: AxialImages, k: int, found: Detections) -> list[tuple[int, int, PixelBox]]:
    """``(level, k, edges)`` of the boxes in one picture."""
    scale, offset = np.tile(place.scale, 2), np.tile(place.offset, 2)
    edges = np.asarray(found.boxes_xyxy, float).reshape(-1, 4) * scale + offset
    classes = np.asarray(found.class_probabilities).reshape(len(edges), -1)
    return [(int(row.argmax()) + 1, k, tuple(box)) for row, box in zip(classes, edges.tolist(), strict=True)]
