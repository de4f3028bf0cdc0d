"""The file that a radiograph is read from: the one that is named, or the one behind a 2D volume in the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.panel.dicom_source import database_files
from CSpineFractureLib.scene.arrays import image_array

_LOW, _HIGH = 1.0, 99.0
"""Percentiles of the grey that become black and white where the scene holds the pixels alone."""


def radiograph_file(node: slicer.vtkMRMLVolumeNode, folder: Path) -> Path:
    """The file to read for a volume of one slice: its DICOM file, the picture behind it, or a new PNG in ``folder``.

    Raises ``UserError`` where the volume is no single grey picture.
    """
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        message = f'The volume "{node.GetName()}" holds no pixels: choose one that is loaded.'
        raise UserError(message)
    slices = image.GetDimensions()[2]
    if slices != 1:
        message = f'"{node.GetName()}" holds {slices} slices: choose one radiograph, or analyse a CT in "Analysis".'
        raise UserError(message)
    files = database_files(node) or _stored_file(node)
    return files[0] if files else _written(node, folder)


def _stored_file(node: slicer.vtkMRMLVolumeNode) -> list[Path]:
    storage = node.GetStorageNode()
    name = None if storage is None or node.GetModifiedSinceRead() else storage.GetFullNameFromFileName()
    path = Path(name or "")
    pictures = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".ima")
    return [path] if path.suffix.lower() in pictures and path.is_file() else []


def _written(node: slicer.vtkMRMLVolumeNode, folder: Path) -> Path:
    from PIL import Image  # imported late

    if node.GetImageData().GetNumberOfScalarComponents() != 1 or not np.isclose(*node.GetSpacing()[:2], rtol=0.01):
        message = f'"{node.GetName()}" has colours or pixels that are not square: choose its file instead.'
        raise UserError(message)
    values = np.nan_to_num(np.asarray(image_array(node.GetImageData())[0], np.float32))
    low, high = np.percentile(values, [_LOW, _HIGH])
    grey = np.rint(255 * np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)).astype(np.uint8)
    path = folder / "radiograph.png"
    Image.fromarray(grey).save(path)
    return path
