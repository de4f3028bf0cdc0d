"""Arrays as SimpleITK images: the one place where RAS becomes LPS on the way out."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CSpineFractureLib.volume.quiet import quiet_libraries

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


def write_whole(image: sitk.Image, path: Path) -> None:
    """Write ``image`` as .nii or .nii.gz. Raises ``OSError`` where the file is not whole: niftilib tells nobody."""
    packed = path.suffix == ".gz"
    with quiet_libraries():
        sitk.WriteImage(image, str(path), packed, 1)
    size = 0
    try:
        with (gzip.open if packed else open)(path, "rb") as stream:
            while part := stream.read(1 << 22):
                size += len(part)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        size = 0
    if size <= image.GetNumberOfPixels() * image.GetSizeOfPixelComponent():  # the header comes on top
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
