"""Frames of enhanced (multi-frame) CT as single planes."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from CSpineFractureLib.volume.dicom_slice import DicomSlice, UnusableSlice, number, plane_of, text

GEOMETRY = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
}
RESCALE = {"PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept")}
KERNEL = {"CTReconstructionSequence": ("ConvolutionKernel",)}


def frame_count(dataset: Dataset) -> int:
    """NumberOfFrames, at least 1."""
    return max(1, int(number(dataset, "NumberOfFrames", 1)))


def planes_of_frames(dataset: Dataset, path: Path) -> list[DicomSlice]:
    """One plane per frame, from the shared and per-frame functional groups (DICOM PS3.3 C.7.6.16).

    Raises ``UnusableSlice`` where the frames carry no position of their own (e.g. ultrasound-like multi-frames).
    """
    shared = _first(dataset, "SharedFunctionalGroupsSequence") or Dataset()
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    count = frame_count(dataset)
    if len(per_frame) < count:
        reason = f"only {len(per_frame)} of its {count} frames have a position"
        raise UnusableSlice(reason)
    if not text(dataset, "ConvolutionKernel"):
        dataset.update(_gathered(per_frame[0], shared, dataset, KERNEL))
    planes = []
    for index in range(count):
        geometry = _gathered(per_frame[index], shared, dataset, GEOMETRY)
        rescale = _gathered(per_frame[index], shared, dataset, RESCALE)
        planes.append(plane_of(dataset, path, index, geometry, rescale))
    return planes


def _gathered(group: Dataset, shared: Dataset, top: Dataset, wanted: dict[str, tuple[str, ...]]) -> Dataset:
    """The wanted tags from the frame's own group, else the shared group, else the top level."""
    found = Dataset()
    for sequence, keywords in wanted.items():
        for source in (_first(group, sequence), _first(shared, sequence), top):
            if source is not None and any(keyword in source for keyword in keywords):
                for keyword in keywords:
                    if keyword in source:
                        found[keyword] = source[keyword]
                break
    return found


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    items = dataset.get(keyword)
    return items[0] if items else None
