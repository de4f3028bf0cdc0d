"""Random changes of training pictures, as documents 000 and 004 name them: mirroring, rotation, Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as change

from CSpineFractureLib.errors import UserError

BLUR_PIXELS = (0.4, 1.2)
"""Range of the Gaussian's standard deviation."""


@dataclass(frozen=True)
class Augmentation:
    """How pictures are changed; all zero means not at all.

    Attributes
    ----------
    flip, blur
        Chances of mirroring left to right and of a Gaussian blur.
    rotation_deg
        Largest rotation to either side.
    shift
        Largest shift along each axis, as a share of the picture's edge.
    scale
        Largest change of scale: factors from ``1 - scale`` to ``1 + scale``.
    """

    flip: float = 0.0
    rotation_deg: float = 0.0
    blur: float = 0.0
    shift: float = 0.0
    scale: float = 0.0

    @classmethod
    def of(cls, values: dict[str, Any]) -> Augmentation:
        """From the ``augmentation`` of a system. Raises ``UserError`` for what is unknown or out of range."""
        most = {"flip": 1, "blur": 1, "rotation_deg": 180, "shift": 1, "scale": 0.9}
        for key, value in values.items():
            if key not in most:
                message = f"augmentation.{key} is not known: use {', '.join(one.name for one in fields(cls))}."
                raise UserError(message)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most[key]:
                message = f"augmentation.{key} is {value!r}: give a number from 0 to {most[key]}."
                raise UserError(message)
        return cls(**values)

    def __call__(self, picture: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """A changed copy of a float picture ``[1, h, w]``; what comes in from outside is 0 (air)."""
        mirrored, blurred = rng.random(2) < (self.flip, self.blur)
        angle, right, down, zoom = rng.uniform(-1, 1, 4)
        sigma = rng.uniform(*BLUR_PIXELS)
        if mirrored:
            picture = change.horizontal_flip(picture)
        if self.rotation_deg or self.shift or self.scale:
            edge = picture.shape[-1] * self.shift
            picture = change.affine(
                picture,
                angle=angle * self.rotation_deg,
                translate=[right * edge, down * edge],
                scale=1 + zoom * self.scale,
                shear=[0.0, 0.0],
                interpolation=InterpolationMode.BILINEAR,
            )
        if blurred:
            picture = change.gaussian_blur(picture, kernel_size=[7, 7], sigma=[sigma, sigma])
        return picture
