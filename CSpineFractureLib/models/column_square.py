"""Squares around the cervical column: slices cut to one size in mm, so that every CT looks alike to a network.

A neck of 200 mm and shoulders of 511 mm fill pictures of whole slices quite differently; around the column they do not.
Training and pipeline both go through here. Document 002 takes whole slices; a network whose ``input.spacing_mm`` is not
null takes such squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SquareOnSlice:
    """A square of ``size`` pixels of ``spacing_mm`` on a slice of ``shape`` (rows, columns).

    ``pixel_mm`` is the slice's own spacing along j, i; ``centre`` the (broken) index j, i in the square's middle.
    """

    shape: tuple[int, int]
    pixel_mm: tuple[float, float]
    centre: tuple[float, float]
    size: int
    spacing_mm: float

    @property
    def steps(self) -> tuple[float, float]:
        """Slice pixels per pixel of the square, along j, i."""
        return self.spacing_mm / self.pixel_mm[0], self.spacing_mm / self.pixel_mm[1]

    def cut(self, image: np.ndarray) -> np.ndarray:
        """``image`` uint8 ``[h, w]`` or ``[h, w, c]`` in the square; beyond the slice it is 0.

        Linear, and smoothed before where it shrinks.
        """
        sigma = [0.5 * np.sqrt(max(step**2 - 1, 0)) for step in self.steps]
        if max(sigma) > 0:
            image = cv2.GaussianBlur(image, (0, 0), sigmaX=max(sigma[1], 1e-3), sigmaY=max(sigma[0], 1e-3))
        return self._warped(image, cv2.INTER_LINEAR)

    def cut_labels(self, labels: np.ndarray) -> np.ndarray:
        """A map uint8 ``[h, w]`` in the square: the nearest class, or the strongest of the linear ones if enlarged."""
        if min(self.steps) > 0.7:
            return self._warped(labels, cv2.INTER_NEAREST)
        best, strongest = np.zeros((self.size, self.size), np.uint8), np.full((self.size, self.size), 127, np.uint8)
        for name in np.unique(labels[labels > 0]):
            share = self._warped(np.where(labels == name, np.uint8(255), np.uint8(0)), cv2.INTER_LINEAR)
            best[share > strongest] = name
            np.maximum(strongest, share, out=strongest)
        return best

    def window(self) -> tuple[slice, slice]:
        """The slice's pixels (j, i) whose middles lie in the square."""
        parts = []
        for middle, step, n in zip(self.centre, self.steps, self.shape, strict=True):
            half = self.size * step / 2
            ends = (int(np.clip(np.ceil(middle + side * half), 0, n)) for side in (-1, 1))
            parts.append(slice(*ends))
        return tuple(parts)

    def on_slice(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` ``[c, size, size]`` in the slice's own pixels of ``window``, linear: ``[c, rows, columns]``."""
        import torch
        from torch.nn.functional import grid_sample

        rows, columns = (
            2 * (np.arange(part.start, part.stop) - middle) / (self.size * step)
            for part, middle, step in zip(self.window(), self.centre, self.steps, strict=True)
        )
        x, y = np.meshgrid(columns, rows)
        grid = torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32)).to(values.device)
        return grid_sample(values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]

    def _warped(self, image: np.ndarray, how: int) -> np.ndarray:
        j, i = (middle - (self.size - 1) / 2 * step for middle, step in zip(self.centre, self.steps, strict=True))
        matrix = np.array([[self.steps[1], 0, i], [0, self.steps[0], j]])
        return cv2.warpAffine(image, matrix, (self.size, self.size), flags=how | cv2.WARP_INVERSE_MAP)
