"""Is a picture plainly not a radiograph? A few measures with wide limits; what passes may still be anything.

Each picture is averaged to about 128 pixels along its longer edge, so that grain and size do not count. The limits
leave a wide margin around what the project's synthetic radiographs give (in brackets, of 66 of them; a slow test
makes others): they are of this project, not of a document.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.radiograph_image import RadiographImage

CODE = "not-a-radiograph"
EDGE = 128
MOST_COLOUR = 0.06
LEAST_PIXELS, MOST_ASPECT = 100, 3.0
LEAST_CONTRAST = 0.25
"""Of the grey between the first and the last percent (0.89 to 1)."""
LEAST_SHADES = 12.0
"""Shades that are really used: exp of the entropy of 64 bins (20 to 46)."""
MOST_FLAT = 0.5
"""Share of pixels, black and white ones aside, that equal their neighbours exactly (0 to 0.27)."""
MOST_ROUGH = 0.6
"""Spread of the steps between neighbours over the spread of the grey (0.12 to 0.29; white noise has 1.4)."""
DARK = 0.12
LEAST_CORNER, LEAST_BORDER = 0.05, 0.4
"""Share that is filled of the fullest corner (0.66 to 1) and of the fullest border (0.2 to 0.99) of the box around the
largest part that is not dark. A section through the body is round and leaves all four corners empty; on a radiograph
the body reaches the border."""


@dataclass(frozen=True)
class Look:
    """The measures of one picture; see the limits of the same names."""

    contrast: float
    shades: float
    flat: float
    rough: float
    corner: float
    border: float


def radiograph_notice(image: RadiographImage) -> Notice | None:
    """The warning ``not-a-radiograph`` with the first reason found, or ``None``."""
    reason = _reason(image)
    if reason is None:
        return None
    message = f"This is hardly a radiograph of the neck ({reason}): its class means nothing unless it is one."
    return Notice(CODE, message)


def look_of(pixels: np.ndarray) -> Look:
    """The measures of a picture ``[j, i]`` 0..1."""
    small = _averaged(np.asarray(pixels, np.float32))
    share = np.histogram(small, 64, (0, 1))[0] / small.size
    used = share[share > 0]
    steps = np.concatenate([np.diff(small, axis=0).ravel(), np.diff(small, axis=1).ravel()])
    here = pixels[1:, 1:]
    equal = (here == pixels[:-1, 1:]) & (here == pixels[1:, :-1]) & (here > 0.02) & (here < 0.98)
    return Look(
        contrast=float(np.subtract(*np.percentile(small, [99, 1]))),
        shades=float(np.exp(-(used * np.log(used)).sum())),
        flat=float(equal.mean()),
        rough=float(steps.std() / max(small.std(), 1e-6)),
        **_outline(small > DARK),
    )


def _reason(image: RadiographImage) -> str | None:
    height, width = image.pixels.shape
    if image.colour > MOST_COLOUR:
        return "it is in colour"
    if min(height, width) < LEAST_PIXELS:
        return f"it has only {width} x {height} pixels"
    if max(height, width) > MOST_ASPECT * min(height, width):
        return "it is far longer than wide"
    look = look_of(image.pixels)
    if look.contrast < LEAST_CONTRAST:
        return "it shows next to nothing"
    if look.rough > MOST_ROUGH:
        return "it is noise or fine texture"
    if look.corner < LEAST_CORNER and look.border < LEAST_BORDER:
        return "it shows a round section surrounded by air, as CT and MR slices do"
    if look.shades < LEAST_SHADES or look.flat > MOST_FLAT:
        return "it has few shades of grey, as drawings, text and screens have"
    return None


def _averaged(pixels: np.ndarray) -> np.ndarray:
    step = max(1, round(max(pixels.shape) / EDGE))
    height, width = (n // step * step for n in pixels.shape)
    return pixels[:height, :width].reshape(height // step, step, width // step, step).mean(axis=(1, 3))


def _outline(bright: np.ndarray) -> dict[str, float]:
    """How full the fullest corner and the fullest border are of the box around the largest bright part."""
    parts, count = ndimage.label(ndimage.binary_opening(bright))
    if not count:
        return {"corner": 0.0, "border": 0.0}
    body = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    box = body[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    n = max(2, int(0.12 * min(box.shape)))
    corners = (box[:n, :n], box[:n, -n:], box[-n:, :n], box[-n:, -n:])
    borders = (box[0], box[-1], box[:, 0], box[:, -1])
    return {"corner": max(float(c.mean()) for c in corners), "border": max(float(b.mean()) for b in borders)}
