"""Random changes of a slice and its map of vertebrae alike, as document 002 names them for stage one (section IV-A).

Mirroring in both directions; shift, scale and rotation; one of grid, optical and elastic distortion; coarse dropout.
The document gives no strengths or chances: those are this project's. All geometry becomes one field of coordinates, so
that a picture is interpolated once: linear for the slice, the nearest pixel for the map.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from CSpineFractureLib.errors import UserError

DISTORTIONS = ("grid", "optical", "elastic")
GRID_CELLS, ELASTIC_KNOTS = 5, 6
LEAST_BLUR = 0.2
"""Standard deviation in pixels, below which a Gaussian changes nothing."""
MOST = {"rotation_deg": 180, "scale": 0.9, "holes": 64, "grid": 0.9, "optical": 0.9, "elastic": 0.5, "blur": 16}


@dataclass(frozen=True)
class MaskAugmentation:
    """How pictures are changed; all zero means not at all.

    Attributes
    ----------
    flip, flip_vertical, move, distort, dropout
        Chances of mirroring left to right, of mirroring top to bottom, of shift, scale and rotation together, of one of
        the distortions, and of holes.
    shift, scale, rotation_deg
        Largest shift as a share of the edge, change of scale (``1 - scale`` to ``1 + scale``), and angle.
    grid
        Largest change of the width of a row or column of cells, as a share.
    optical
        Largest displacement at the middle of an edge, as a share of half the edge (pincushion or barrel).
    elastic
        Standard deviation of the displacement at the knots of a smooth field, as a share of half the edge.
    holes, hole
        Most square holes, and their largest edge as a share of the picture's; in them the slice is black and the map is
        background, for nothing can be seen there.
    tone, blur
        Largest change of contrast and brightness, as a share of white, and largest standard deviation of a Gaussian, in
        pixels; half of the slices are blurred. Not in the document: real bone is duller than synthetic bone.
    """

    flip: float = 0.0
    flip_vertical: float = 0.0
    move: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    rotation_deg: float = 0.0
    distort: float = 0.0
    grid: float = 0.0
    optical: float = 0.0
    elastic: float = 0.0
    dropout: float = 0.0
    holes: int = 0
    hole: float = 0.0
    tone: float = 0.0
    blur: float = 0.0

    @classmethod
    def of(cls, values: dict[str, Any]) -> MaskAugmentation:
        """From the ``augmentation`` of a system. Raises ``UserError`` for what is unknown or out of range."""
        known = [one.name for one in fields(cls)]
        for key, value in values.items():
            if key not in known:
                message = f"augmentation.{key} is not known: use {', '.join(known)}."
                raise UserError(message)
            most = MOST.get(key, 1)
            kind = int if key == "holes" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 <= value <= most:
                message = f"augmentation.{key} is {value!r}: give a number from 0 to {most}."
                raise UserError(message)
        return cls(**values)

    def __call__(
        self, picture: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Changed copies of a float picture ``[c, s, s]`` and its map ``[s, s]``; outside is air and background."""
        size = picture.shape[-1]
        field = self.coordinates(size, rng)
        if field is not None:
            field = torch.from_numpy(field.astype(np.float32))[None]
            picture = functional.grid_sample(picture[None], field, align_corners=False)[0]
            whole = labels[None, None].float()
            labels = functional.grid_sample(whole, field, mode="nearest", align_corners=False)[0, 0].to(labels.dtype)
        for top, left, edge in self.places_of_holes(size, rng):
            picture, labels = picture.clone(), labels.clone()
            picture[:, top : top + edge, left : left + edge] = 0
            labels[top : top + edge, left : left + edge] = 0
        return self._toned(picture, rng), labels

    def _toned(self, picture: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        contrast, brightness, width, is_sharp = rng.uniform(-1, 1, 4)
        if self.tone > 0:
            picture = (picture * (1 + float(contrast) * self.tone) + float(brightness) * self.tone / 4).clamp(0, 1)
        sigma = abs(width) * self.blur
        if is_sharp < 0 and sigma > LEAST_BLUR:
            picture = torch.from_numpy(cv2.GaussianBlur(picture.permute(1, 2, 0).numpy(), (0, 0), sigma))
            picture = picture.permute(2, 0, 1)
        return picture

    def coordinates(self, size: int, rng: np.random.Generator) -> np.ndarray | None:
        """Where each pixel comes from, ``[size, size, 2]`` as (x, y) from -1 to 1; ``None`` for no change.

        Draws the same numbers whatever is switched on, so that a setting does not change what the others do.
        """
        chances = rng.random(4) < (self.flip, self.flip_vertical, self.move, self.distort)
        right, down, zoom, turn = rng.uniform(-1, 1, 4)
        kinds = [kind for kind in DISTORTIONS if getattr(self, kind) > 0]
        kind = kinds[int(rng.random() * len(kinds))] if kinds else ""
        cells, bend = rng.uniform(-1, 1, (2, GRID_CELLS)), rng.uniform(-1, 1)
        knots = rng.normal(0, 1, (2, ELASTIC_KNOTS, ELASTIC_KNOTS))
        if not chances.any():
            return None
        middles = (np.arange(size) * 2 + 1) / size - 1
        x, y = np.meshgrid(middles, middles)
        if chances[2]:
            angle, factor = np.deg2rad(turn * self.rotation_deg), 1 / (1 + zoom * self.scale)
            x, y = x - 2 * right * self.shift, y - 2 * down * self.shift
            cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
            x, y = cosine * x + sine * y, cosine * y - sine * x
        if chances[3] and kind == "grid":
            x, y = (_stretched(axis, widths, self.grid) for axis, widths in ((x, cells[0]), (y, cells[1])))
        elif chances[3] and kind == "optical":
            outwards = 1 + bend * self.optical * (x**2 + y**2)
            x, y = x * outwards, y * outwards
        elif chances[3] and kind == "elastic":
            moved = _smooth(self.elastic * knots, size)
            x, y = x + moved[0], y + moved[1]
        x, y = (-x if chances[0] else x), (-y if chances[1] else y)
        return np.stack([x, y], axis=-1)

    def places_of_holes(self, size: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
        """Top row, left column and edge of each hole, in pixels."""
        there = rng.random() < self.dropout
        count = int(rng.integers(1, self.holes + 1)) if self.holes else 0
        drawn = rng.random((count, 3))
        if not there:
            return []
        edges = np.maximum(1, np.rint(drawn[:, 2] * self.hole * size)).astype(int)
        return [(int(a * (size - n)), int(b * (size - n)), int(n)) for (a, b, _), n in zip(drawn, edges, strict=True)]


def _stretched(axis: np.ndarray, widths: np.ndarray, most: float) -> np.ndarray:
    """Coordinates -1 to 1 with cells of unequal width; the ends stay, and so does the order."""
    ends = np.concatenate([[0], np.cumsum(1 + most * widths)])
    even = np.linspace(-1, 1, len(ends))
    inside = np.interp(axis, even, 2 * ends / ends[-1] - 1)
    return np.where(np.abs(axis) > 1, axis, inside)


def _smooth(knots: np.ndarray, size: int) -> np.ndarray:
    """A field through ``knots`` ``[2, n, n]``, cubic, ``[2, size, size]``."""
    wide = torch.from_numpy(knots)[None]
    return functional.interpolate(wide, (size, size), mode="bicubic", align_corners=True)[0].numpy()
