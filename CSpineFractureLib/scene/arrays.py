"""Between numpy and VTK: matrices and voxel arrays."""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy


def vtk_matrix(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    """A ``vtkMatrix4x4`` of a 4x4 array."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, float).ravel().tolist())
    return result


def numpy_matrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A 4x4 float64 array of a ``vtkMatrix4x4``."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def fill_image(image: vtk.vtkImageData, array: np.ndarray) -> None:
    """Give an image (extent from 0) a copy of an array ``[k, j, i]`` as its scalars."""
    image.SetDimensions(*array.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True, array_type=get_vtk_array_type(array.dtype))
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)


def image_data(array: np.ndarray) -> vtk.vtkImageData:
    """``vtkImageData`` (spacing 1, origin 0) with a copy of an array ``[k, j, i]``."""
    image = vtk.vtkImageData()
    fill_image(image, array)
    return image


def image_array(image: vtk.vtkImageData) -> np.ndarray:
    """The scalars of an image as ``[k, j, i]``: a view on its memory, so keep the image alive while it is used."""
    i, j, k = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)
