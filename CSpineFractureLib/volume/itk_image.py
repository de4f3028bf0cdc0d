"""Arrays as SimpleITK images: the one place where RAS becomes LPS on the way out."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def itk_image(array: np.ndarray, ijk_to_ras: np.ndarray) -> sitk.Image:
    """A SimpleITK image (LPS) of an array ``[k, j, i]`` with a 4x4 matrix to RAS mm, whose axes are orthogonal."""
    image = sitk.GetImageFromArray(array)
    matrix = _RAS_TO_LPS @ ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix / spacing).ravel().tolist())
    image.SetOrigin((_RAS_TO_LPS @ ijk_to_ras[:3, 3]).tolist())
    return image
