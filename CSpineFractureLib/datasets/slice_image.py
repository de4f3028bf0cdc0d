"""Picture files of slices; how HU become a picture is in ``volume.slice_window``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.slice_window import painter

__all__ = ["PICTURES", "SUFFIXES", "painter", "pictures_below", "read_image", "write_image"]

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
PICTURES = frozenset({".png", ".jpg", ".jpeg"})


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
