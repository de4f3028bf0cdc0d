"""Where the vertebrae of a study lie, with the patient always lying the same way.

A place comes from the vertebra mask, or from boxes that a detector (YOLOv5 in document 002) found in the slices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.vertebra_crop import MARGIN_MM, VertebraPlace, place_of

LEAST_SCORE, FAR_MM = 0.25, 30.0
"""Boxes of a lower score, or further from the middle of a vertebra's other boxes, do not count."""
StudyBoxes = dict[str, np.ndarray]
"""Boxes by level: float ``[n, 5]``, k, x0, y0, x1, y1 as the CT is stored."""


@dataclass(frozen=True, eq=False)
class LyingStudy:
    """A study in canonical order: ``hu`` int16 and ``labels`` uint8 (all 0 without a mask), ``[k, j, i]``.

    ``spacing_mm`` along i, j, k.
    """

    hu: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]
    _name: str
    _volume: CTVolume
    _view: CanonicalView

    @classmethod
    def of(cls, record: StudyRecord) -> LyingStudy:
        """Read a study. Raises ``UserError`` where CT or mask cannot be read, or do not fit together."""
        volume = record.load_volume()
        view = CanonicalView.of(volume)
        labels = np.zeros(view.hu.shape, np.uint8)
        if record.load_levels is not None:
            labels = _lying(record.load_levels(), volume, record.id)
        return cls(np.ascontiguousarray(view.hu), labels, view.spacing_mm, record.id, volume, view)

    def as_lying(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the stored grid in canonical order, uint8. Raises ``UserError`` where it is of another grid."""
        return _lying(mask, self._volume, self._name)

    def from_stored(self, ijk: np.ndarray) -> np.ndarray:
        """Continuous canonical indices ``[n, 3]`` of stored ones."""
        return self._view.ijk_of(self._volume.ras_of(ijk))

    def stored_slices(self, k0: int, k1: int) -> tuple[int, int]:
        """The stored slices from ``k0`` to ``k1``, the lower number first; -1, -1 where those are not axial."""
        if self._view.stored_slice_axis() != 0:
            return -1, -1
        low, high = sorted(self._view.stored_slice(k) for k in (k0, k1))
        return low, high


def _lying(mask: np.ndarray, volume: CTVolume, name: str) -> np.ndarray:
    if mask.shape != volume.hu.shape:
        sizes = [" x ".join(str(size) for size in reversed(shape)) for shape in (mask.shape, volume.hu.shape)]
        message = f"Study '{name}' has a mask of {sizes[0]} voxels for a CT of {sizes[1]}; give it the mask of this CT."
        raise UserError(message)
    turned = CanonicalView.of(CTVolume(mask.astype(np.int16), volume.ijk_to_ras)).hu
    return np.ascontiguousarray(turned.astype(np.uint8))


def places_of(study: LyingStudy, boxes: StudyBoxes | None = None) -> dict[str, VertebraPlace]:
    """The places of C1-C7, as far as they are there: from ``boxes`` where those have the level, else from the mask."""
    places = {}
    for number, level in enumerate(LEVELS, 1):
        if level in (boxes or {}):
            place = place_of_boxes(study, boxes[level])
        else:
            place = place_of(study.labels, number, study.spacing_mm)
        if place is not None:
            places[level] = place
    return places


def place_of_boxes(study: LyingStudy, boxes: np.ndarray) -> VertebraPlace | None:
    """The largest extent of boxes ``[n, 5]`` (k, x0, y0, x1, y1 as stored), wider by the margin of the mask's place."""
    first = study.from_stored(np.column_stack([boxes[:, 1] - 0.5, boxes[:, 2] - 0.5, boxes[:, 0] - 0.5]))
    last = study.from_stored(np.column_stack([boxes[:, 3] - 0.5, boxes[:, 4] - 0.5, boxes[:, 0] + 0.5]))
    low, high = np.minimum(first, last) + 0.5, np.maximum(first, last) + 0.5  # edges, pixel n covers n to n + 1
    centres = (low + high) / 2 * study.spacing_mm
    near = np.linalg.norm(centres - np.median(centres, axis=0), axis=1) <= FAR_MM
    if not near.any():
        return None
    margin = np.array([MARGIN_MM / study.spacing_mm[0], MARGIN_MM / study.spacing_mm[1], 0])
    size = np.array(study.hu.shape[::-1])
    start = np.clip(np.floor(low[near].min(axis=0) - margin + 1e-3), 0, size - 1).astype(int).tolist()
    stop = np.clip(np.ceil(high[near].max(axis=0) + margin - 1e-3), 1, size).astype(int).tolist()
    return VertebraPlace(start[2], stop[2] - 1, start[1], stop[1], start[0], stop[0])


def visible_shares(study: LyingStudy, places: dict[str, VertebraPlace]) -> dict[str, float]:
    """How much of each vertebra the scan shows, 0..1.

    That is its height against the median of those that the scan does not cut; 0 for all where it cuts every one.
    """
    heights = {level: place.k1 - place.k0 + 1 for level, place in places.items()}
    cut = {level: place.k0 == 0 or place.k1 == len(study.hu) - 1 for level, place in places.items()}
    whole = [heights[level] for level in places if not cut[level]]
    if not whole:
        return dict.fromkeys(places, 0.0)
    return {level: min(1.0, heights[level] / float(np.median(whole))) for level in places}


def read_level_boxes(path: Path, least_score: float = LEAST_SCORE) -> dict[str, StudyBoxes]:
    """What a vertebra detector found (``detections-<set>.json``), by study: per slice the best box of each level.

    Raises ``UserError`` where the file is missing or no such document.
    """
    best: dict[tuple[str, str, int], list[float]] = {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        names = list(document["classes"])
        for image in document["images"]:
            for number, score, *corners in image["found"]:
                key = (str(image["study"]), names[int(number)], int(image["k"]))
                if score >= least_score and key[1] in LEVELS and score > best.get(key, [0.0])[0]:
                    best[key] = [score, *(float(corners[n]) for n in range(4))]
    except OSError as error:
        message = f"'{path}' cannot be read ({error.strerror or error}); give the detections-<set>.json of a run."
        raise UserError(message) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        message = f"'{path}' holds no boxes of a vertebra detector; give the detections-<set>.json of a run."
        raise UserError(message) from error
    rows: dict[str, dict[str, list]] = {}
    for (study, level, k), (_, *corners) in sorted(best.items()):
        rows.setdefault(study, {}).setdefault(level, []).append([k, *corners])
    return {study: {level: np.array(own) for level, own in levels.items()} for study, levels in rows.items()}
