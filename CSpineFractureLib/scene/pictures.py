"""Pictures of views as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy


def picture_of(window: vtk.vtkRenderWindow) -> np.ndarray:
    """What a render window shows, uint8 ``[row, column, rgb]``, top row first."""
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGB()
    grab.ReadFrontBufferOff()
    grab.ShouldRerenderOff()
    grab.Update()
    image = grab.GetOutput()
    columns, rows, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)
    return np.array(pixels[::-1])


def write_png(picture: np.ndarray, path: Path) -> Path:
    """Write a picture, uint8 ``[row, column, rgb]``, top row first. Raises ``OSError`` when it cannot be written."""
    rows, columns, _ = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(picture[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    writer.WriteToMemoryOn()
    writer.Write()
    path.write_bytes(vtk_to_numpy(writer.GetResult()).tobytes())
    return path


def tiled(pictures: Sequence[np.ndarray], columns: int = 2, gap: int = 6) -> np.ndarray:
    """Pictures of one size side by side, ``columns`` to a row, with a dark gap between them."""
    rows, width, _ = pictures[0].shape
    lines = -(-len(pictures) // columns)
    sheet = np.full((lines * (rows + gap) - gap, columns * (width + gap) - gap, 3), 40, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = (index // columns) * (rows + gap), (index % columns) * (width + gap)
        sheet[top : top + rows, left : left + width] = picture
    return sheet
