"""Random changes of the pictures of a vertebra, as document 002 names them for its stage 2 (section IV-A).

Mirroring in both directions, transposition, brightness, shift-scale-rotate; one of motion, median and Gaussian blur and
Gaussian noise; one of grid and optical distortion; sharpening. The document gives neither chances nor amounts: they are
this project's choice. All slices of a vertebra change alike; a mask (fourth channel) only changes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from CSpineFractureLib.errors import UserError

WINDOWS = 3
"""Channels that are pictures; a further one is a mask."""
GRID_STEPS = 5
"""Cells of the grid distortion along each axis."""
SHARPEN_SIGMA = 1.0


@dataclass(frozen=True)
class VertebraAugmentation:
    """Random changes; all zero means none at all.

    Attributes
    ----------
    flip_horizontal, flip_vertical, transpose, blur, distortion, sharpen
        Chances: of mirroring left to right, front to back, swapping rows and columns; of one of the blurs or noise; of
        one of the distortions; of sharpening.
    brightness
        Largest change, as a share of the window.
    rotation_deg, shift, scale
        Largest rotation to either side; largest shift as a share of the edge; largest change of scale.
    """

    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    transpose: float = 0.0
    brightness: float = 0.0
    rotation_deg: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    blur: float = 0.0
    distortion: float = 0.0
    sharpen: float = 0.0

    @classmethod
    def of(cls, values: dict[str, Any]) -> VertebraAugmentation:
        """From the ``augmentation`` of a system. Raises ``UserError`` for what is unknown or out of range."""
        most = dict.fromkeys((one.name for one in fields(cls)), 1) | {"rotation_deg": 180, "scale": 0.9}
        for key, value in values.items():
            if key not in most:
                message = f"augmentation.{key} is not known: use {', '.join(most)}."
                raise UserError(message)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most[key]:
                message = f"augmentation.{key} is {value!r}: give a number from 0 to {most[key]}."
                raise UserError(message)
        return cls(**values)

    def __call__(self, crop: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """A changed copy of ``crop``, float32 ``[slices, 3 or 4, s, s]`` 0..1; what comes in from outside is 0."""
        chance, way = rng.random(6), rng.random(2)
        amounts, angle, line = rng.uniform(-1, 1, 6), rng.uniform(0, np.pi), rng.uniform(0, 1)
        cells = rng.uniform(-1, 1, (2, GRID_STEPS))
        noise = np.random.default_rng(rng.integers(2**63))
        if chance[0] < self.transpose:
            crop = crop.transpose(2, 3)
        mirrored = ((3, chance[1] < self.flip_horizontal), (2, chance[2] < self.flip_vertical))
        flips = [axis for axis, here in mirrored if here]
        crop = crop.flip(flips) if flips else crop
        distort = chance[3] < self.distortion
        if distort or self.rotation_deg or self.shift or self.scale:
            places = self._places(crop.shape[-1], amounts)
            if distort:
                places = _on_grid(places, cells) if way[0] < 0.5 else _through_lens(places, amounts[5])
            places = torch.from_numpy(places.astype(np.float32))[None].expand(len(crop), -1, -1, -1)
            crop = functional.grid_sample(crop, places, align_corners=False)
        pictures = crop[:, :WINDOWS]
        if chance[4] < self.blur:
            pictures = _one_of_blurs(pictures, int(way[1] * 4), angle, line, noise)
        if chance[5] < self.sharpen:
            soft = _each(pictures, lambda image: cv2.GaussianBlur(image, (0, 0), SHARPEN_SIGMA))
            pictures = pictures + line * (pictures - soft)
        if self.brightness:
            pictures = pictures + amounts[3] * self.brightness
        return torch.cat([pictures.clamp(0, 1), crop[:, WINDOWS:]], dim=1)

    def _places(self, size: int, amounts: np.ndarray) -> np.ndarray:
        """Where each pixel comes from, ``[s, s, 2]`` (x, y) from -1 to 1: shifted, scaled, rotated."""
        middle = (np.arange(size) * 2 + 1) / size - 1
        x, y = np.meshgrid(middle, middle)
        turn, zoom = np.deg2rad(amounts[2] * self.rotation_deg), 1 / (1 + abs(amounts[4]) * self.scale)
        zoom = zoom if amounts[4] > 0 else 1 / zoom
        cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
        right, down = 2 * self.shift * amounts[:2]
        return np.stack([cos * x - sin * y + right, sin * x + cos * y + down], axis=-1)


def _on_grid(places: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Grid distortion: rows and columns of cells become up to 30 % narrower or wider."""
    moved = []
    for axis in (0, 1):
        widths = 1 + 0.3 * cells[axis]
        edges = np.concatenate([[0], np.cumsum(widths)]) / widths.sum() * 2 - 1
        even = np.linspace(-1, 1, GRID_STEPS + 1)
        inside = np.clip(places[..., axis], -1, 1)
        moved.append(np.interp(inside, even, edges) + places[..., axis] - inside)
    return np.stack(moved, axis=-1)


def _through_lens(places: np.ndarray, amount: float) -> np.ndarray:
    """Optical distortion: barrel or pincushion, up to 10 % at the edges."""
    return places * (1 + 0.1 * amount * ((places**2).sum(-1, keepdims=True) - 1))


def _one_of_blurs(
    pictures: torch.Tensor, kind: int, angle: float, amount: float, rng: np.random.Generator
) -> torch.Tensor:
    """Motion, median or Gaussian blur, or Gaussian noise."""
    if kind == 0:
        kernel = _line(angle)
        return _each(pictures, lambda image: cv2.filter2D(image, -1, kernel))
    if kind == 1:
        return _each(pictures, lambda image: cv2.medianBlur(image, 3))
    if kind == 2:
        return _each(pictures, lambda image: cv2.GaussianBlur(image, (0, 0), 0.4 + 0.8 * amount))
    values = rng.standard_normal(pictures.shape, np.float32) * np.float32(0.01 + 0.03 * amount)
    return pictures + torch.from_numpy(values)


def _line(angle: float) -> np.ndarray:
    """float32 ``[5, 5]``: a straight line through the middle."""
    steps = np.linspace(-2, 2, 17)
    kernel = np.zeros((5, 5), np.float32)
    rows, columns = (np.rint(2 + steps * way(angle)).astype(int) for way in (np.sin, np.cos))
    np.add.at(kernel, (rows, columns), 1)
    return kernel / kernel.sum()


def _each(pictures: torch.Tensor, change: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
    """``change`` applied to each slice, which OpenCV takes as ``[s, s, channels]``."""
    images = pictures.permute(0, 2, 3, 1).contiguous().numpy()
    changed = np.stack([change(image) for image in images])
    return torch.from_numpy(changed).permute(0, 3, 1, 2)
