"""The picture that the networks for radiographs see; training and pipeline both make it here.

Document 001, section 3.1: intensities are brought to one scale and pictures resized to the networks' input. It does
not say how; here the grey between the first and the last percent becomes 0 to 1, and pictures are padded to a square
first, so that nothing is stretched. Its Gaussian filter is the averaging that comes with shrinking.
"""

from __future__ import annotations

import cv2
import numpy as np

from CSpineFractureLib.models.slice_input import SquareFit, square_image

PERCENTILES = (1.0, 99.0)


def radiograph_picture(pixels: np.ndarray, size: int) -> np.ndarray:
    """float32 ``[size, size]`` 0..1 of a radiograph ``[j, i]`` with bright bone."""
    low, high = np.percentile(pixels, PERCENTILES)
    scaled = np.clip((np.asarray(pixels, np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return square_image(scaled.astype(np.float32), size)


def onto_radiograph(square: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map of the square picture, float32 ``[size, size]``, on the radiograph's own pixels ``[height, width]``."""
    fit = SquareFit.of(height, width, len(square))
    side = max(height, width)
    whole = cv2.resize(np.asarray(square, np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    top, left = int(-fit.top), int(-fit.left)
    return np.ascontiguousarray(whole[top : top + height, left : left + width])
