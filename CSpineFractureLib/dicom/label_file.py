"""The labels of a segmentation such as a run's ``vertebrae.seg.nrrd``, read without Slicer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, VolumeInfo
from CSpineFractureLib.volume.dicom_geometry import LPS_TO_RAS
from CSpineFractureLib.volume.quiet import quiet_libraries


def read_labels(
    path: str | Path,
    volume: VolumeInfo,
    remedy: str = "name the folder of a finished run",
    off_grid: str = "does not lie on the grid of its result.json: run the study again",
) -> np.ndarray:
    """uint8 labels ``[k, j, i]`` (0 background, 1-7 = C1-C7) on the grid of ``volume``.

    The file may be cropped or mirrored against the grid and hold several layers, as Slicer writes it after an edit;
    segments go by their names. Raises ``UserError``: with ``remedy`` where it is missing or no segmentation, with
    ``off_grid`` where it lies elsewhere.
    """
    path = Path(path)
    try:
        with quiet_libraries():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        message = f"'{path}' could not be read as a segmentation: {remedy}."
        raise UserError(message) from error
    if image.GetDimension() != 3:
        message = f"'{path}' is not a 3D segmentation: {remedy}."
        raise UserError(message)
    array = sitk.GetArrayFromImage(image)
    layers = array[..., None] if array.ndim == 3 else array
    found = np.zeros(layers.shape[:3], np.uint8)
    for level, layer, value in _segments(image):
        if layer < layers.shape[3]:
            found[layers[..., layer] == value] = LEVELS.index(level) + 1
    return _on_grid(found, image, volume, f"'{path}' {off_grid}.")


def _segments(image: sitk.Image) -> list[tuple[str, int, int]]:
    """Level, layer and label value of each segment whose name is a level, C1 first."""
    segments = []
    for key in image.GetMetaDataKeys():
        name = image.GetMetaData(key)
        if key.startswith("Segment") and key.endswith("_Name") and name in LEVELS:
            stem = key[: -len("_Name")]

            def number(field: str, default: int, stem: str = stem) -> int:
                key = f"{stem}_{field}"
                return int(image.GetMetaData(key)) if image.HasMetaDataKey(key) else default

            segments.append((name, number("Layer", 0), number("LabelValue", 1)))
    return sorted(segments)


def _on_grid(labels: np.ndarray, image: sitk.Image, volume: VolumeInfo, fault: str) -> np.ndarray:
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    own = np.eye(4)
    own[:3, :3] = LPS_TO_RAS @ direction
    own[:3, 3] = LPS_TO_RAS @ np.array(image.GetOrigin())
    to_grid = np.linalg.inv(np.array(volume.ijk_to_ras, float)) @ own
    signs = np.sign(np.diag(to_grid)[:3])
    last = np.array(labels.shape[::-1]) - 1
    ends = to_grid[:3, 3], to_grid[:3, :3] @ last + to_grid[:3, 3]
    low = np.rint(np.minimum(*ends)).astype(int)
    fits = (low >= 0).all() and (low + last < np.array(volume.shape_kji[::-1])).all()
    straight = np.abs(to_grid[:3, :3] - np.diag(signs)).max() * last.max() < 0.1
    if not fits or not straight or np.abs(np.minimum(*ends) - low).max() > 0.1:
        raise UserError(fault)
    turned = labels[tuple(slice(None, None, -1 if sign < 0 else 1) for sign in signs[::-1])]
    whole = np.zeros(volume.shape_kji, np.uint8)
    whole[tuple(slice(start, start + size) for start, size in zip(low[::-1], labels.shape, strict=True))] = turned
    return whole
