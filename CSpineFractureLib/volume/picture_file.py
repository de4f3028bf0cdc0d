"""Picture files through Pillow's own readers, one for each kind.

``PIL.Image.open`` is not used: ultralytics replaces it by one that tries to install a package for a damaged file.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.radiograph_image import RadiographImage, check_pixels

STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
)
"""First bytes of each kind; of WebP they stand apart (``RIFF????WEBP``)."""
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of more than 8 bits."""
_ORIENTATION, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 274, 262, 0


def picture_kind(path: Path) -> str | None:
    """``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``GIF`` or ``WEBP`` by the file's first bytes, else ``None``."""
    with open(path, "rb") as stream:
        head = stream.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for start, kind in STARTS if head.startswith(start)), None)


def read_picture(path: Path, kind: str) -> RadiographImage:
    """Read a picture of a kind from ``picture_kind``; colours become grey, more than 8 bits are stretched to 0..1.

    Raises ``UserError`` where it is cut off or damaged, far too large, or holds several pictures.
    """
    try:
        with open(path, "rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow about odd but readable tags
            picture = _reader(kind)(stream)
            check_pixels(*picture.size, path.name)
            if getattr(picture, "n_frames", 1) > 1:
                message = f"'{path.name}' holds {picture.n_frames} pictures; export the one radiograph that is meant."
                raise UserError(message)
            picture.load()
            if picture.getexif().get(_ORIENTATION, 1) != 1:
                picture = ImageOps.exif_transpose(picture)
            return _grey(picture, kind)
    except UserError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        message = f"'{path.name}' is cut off or damaged and cannot be read as {kind}; copy or export it again."
        raise UserError(message) from error


def _reader(kind: str) -> Any:
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    return {
        "PNG": PngImagePlugin.PngImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
    }[kind]


def _grey(picture: Image.Image, kind: str) -> RadiographImage:
    if picture.mode in _DEEP:
        values = np.nan_to_num(np.asarray(picture, np.float32))
        low, high = float(values.min()), float(values.max())
        pixels = (values - low) / max(high - low, 1e-6)
        if getattr(picture, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
            pixels = 1 - pixels
        message = f"The picture has more than 8 bits: its values {low:g} to {high:g} were taken as black to white."
        return RadiographImage(pixels, None, kind, notices=[Notice("stretched", message)])
    if picture.mode in ("1", "L"):
        return RadiographImage(np.asarray(picture.convert("L"), np.float32) / 255, None, kind)
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, "black"), over)
    colours = np.asarray(picture.convert("RGB"), np.float32) / 255
    colour = float((colours.max(axis=2) - colours.min(axis=2)).mean())
    return RadiographImage(colours.mean(axis=2, dtype=np.float32), None, kind, colour)
