"""A CT slice as the 8-bit picture that the source documents train on, and picture files.

000: window 500/2000; 002: three bone windows as the channels R, G, B; 004: each slice stretched from its lowest to its
highest value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.windows import THREE_BONE_WINDOWS, Window

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
PICTURES = frozenset({".png", ".jpg", ".jpeg"})
_WINDOW = re.compile(r"(-?\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")


def painter(window: str) -> Callable[[np.ndarray], np.ndarray]:
    """What turns HU ``[j, i]`` into uint8 ``[j, i]`` (grey) or ``[j, i, 3]`` (R, G, B).

    ``window`` is ``CENTRE/WIDTH`` in HU such as ``500/2000``, ``three`` or ``minmax``; raises ``UserError`` otherwise.
    """
    if window == "three":
        return lambda hu: np.stack([_eight_bits(one.apply(hu)) for one in THREE_BONE_WINDOWS], axis=-1)
    if window == "minmax":
        return _stretched
    found = _WINDOW.fullmatch(window)
    if not found or float(found[2]) <= 0:
        message = f"'{window}' is no window; give CENTRE/WIDTH in HU such as 500/2000, or three, or minmax."
        raise UserError(message)
    single = Window(float(found[1]), float(found[2]))
    return lambda hu: _eight_bits(single.apply(hu))


def write_image(image: np.ndarray, path: Path) -> None:
    """Write uint8 ``[j, i]`` or ``[j, i, 3]`` (R, G, B) as PNG or JPEG, by the name's ending."""
    Image.fromarray(image).save(path, quality=95)


def read_image(path: Path) -> np.ndarray:
    """uint8 ``[j, i]`` or ``[j, i, 3]`` (R, G, B). Raises ``UserError`` where the file is no whole PNG or JPEG.

    ``Image.open`` is not used: ultralytics replaces it by one that tries to install a package for a damaged file.
    """
    try:
        with open(path, "rb") as stream:
            kind = PngImageFile if stream.read(4) == b"\x89PNG" else JpegImageFile
            stream.seek(0)
            picture = kind(stream)
            return np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        message = f"'{path}' cannot be read as a picture; copy or make it again."
        raise UserError(message) from error


def pictures_below(folder: Path) -> list[Path]:
    """The PNG and JPEG files of a folder and of those in it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())


def _eight_bits(share: np.ndarray) -> np.ndarray:
    return np.rint(share * 255).astype(np.uint8)


def _stretched(hu: np.ndarray) -> np.ndarray:
    values = hu.astype(np.float32)
    low, high = values.min(), values.max()
    return _eight_bits((values - low) / max(high - low, 1))
