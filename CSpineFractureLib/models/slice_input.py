"""Whole axial slices as the square images that the source documents' networks take.

Documents 000 and 004 resize slices of 512x512 pixels; slices that are not square are first padded around their middle,
so that nothing is stretched. Training and pipeline both go through here and so see the same image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class SquareFit:
    """How a slice of ``height`` x ``width`` pixels lies in a square image: ``scale`` slice pixels per image pixel.

    ``left`` and ``top`` are the slice's pixel edges in which the square begins (negative where it was padded).
    """

    scale: float
    left: float
    top: float

    @classmethod
    def of(cls, height: int, width: int, size: int) -> SquareFit:
        """The fit that ``square_image`` uses."""
        side = max(height, width)
        return cls(side / size, -float((side - width) // 2), -float((side - height) // 2))

    def to_slice(self, x: float, y: float) -> tuple[float, float]:
        """Pixel edges of the square image to pixel edges (column, row) of the slice."""
        return x * self.scale + self.left, y * self.scale + self.top


def square_image(image: np.ndarray, size: int, fill: float = 0.0) -> np.ndarray:
    """``[h, w]`` or ``[h, w, c]`` padded with ``fill`` to a square around its middle, then ``size`` pixels wide.

    Area-averaged when shrinking, linear when enlarging; same type.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    if height != width:
        top, left = (side - height) // 2, (side - width) // 2
        square = np.full((side, side, *image.shape[2:]), fill, image.dtype)
        square[top : top + height, left : left + width] = image
        image = square
    if side == size:
        return np.ascontiguousarray(image)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
