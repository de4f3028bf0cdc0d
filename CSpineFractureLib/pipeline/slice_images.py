"""What a network sees of a slice: the 128 mm crop of the shipped networks, or the whole slice of the documents.

``input.image`` of the manifest entry says which: ``column-crop`` (also when absent) or ``slice``. Whole slices take the
way of the training images: windowed to 8 bits (``volume.slice_window``), then made square (``models.slice_input``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.slice_input import SquareFit, square_image
from CSpineFractureLib.pipeline.axial import STEP_MM, AxialImages, column_crop
from CSpineFractureLib.pipeline.body import body_box
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.slice_window import painter

if TYPE_CHECKING:
    from CSpineFractureLib.models.manifest import ModelEntry


@dataclass(frozen=True)
class ColumnCrops:
    """128 mm around the column at 224x224 pixels in the bone window, grey repeated to ``channels``."""

    channels: int = 1
    needs_column: ClassVar[bool] = True

    def picture(
        self, view: CanonicalView, k: int, centre_ij: tuple[float, float] | None
    ) -> tuple[np.ndarray, AxialImages]:
        """float32 ``[channels, 224, 224]`` 0..1 of canonical slice ``k`` around ``(i, j)``, and where it lies."""
        picture, place = column_crop(view, k, centre_ij)
        return np.repeat(picture, self.channels, axis=0), place


@dataclass(frozen=True)
class WholeSlices:
    """Whole axial slices: ``window`` by name, ``size`` pixels square, grey repeated to ``channels``."""

    window: str
    size: int
    channels: int = 1
    needs_column: ClassVar[bool] = False

    def picture(
        self, view: CanonicalView, k: int, centre_ij: tuple[float, float] | None = None
    ) -> tuple[np.ndarray, AxialImages]:
        """float32 ``[channels, size, size]`` 0..1 of canonical slice ``k``, and where it lies."""
        image = square_image(painter(self.window)(view.hu[k]), self.size)
        image = np.moveaxis(image, 2, 0) if image.ndim == 3 else np.repeat(image[None], self.channels, axis=0)
        return image.astype(np.float32) / 255, self.place(view, np.array([k]))

    def place(self, view: CanonicalView, slices: np.ndarray) -> AxialImages:
        """Where the pictures of these canonical slices lie."""
        fit = SquareFit.of(*view.hu.shape[1:], self.size)
        return AxialImages(view, slices, (self.size, self.size), (fit.scale, fit.scale), (fit.left, fit.top))

    def place_on_body(self, view: CanonicalView) -> AxialImages | None:
        """As ``place``, for a slice every 1.5 mm or coarser between the ends of the body; ``None`` for air alone."""
        box = body_box(view)
        if box is None:
            return None
        step = max(1, round(STEP_MM / view.spacing_mm[2]))
        return self.place(view, np.arange(box[0][2], box[1][2] + 1, step))


def slice_input(entry: ModelEntry) -> ColumnCrops | WholeSlices:
    """What a network sees, by its manifest entry.

    Raises ``UserError`` when the entry asks for images that this program cannot make.
    """
    wanted, channels = entry.input, _channels(entry)
    if entry.image == "column-crop":
        return ColumnCrops(channels)
    window = wanted.get("window") or "/".join(f"{value:g}" for value in next(iter(wanted["windows"]), ())) or "minmax"
    if entry.image != "slice" or len(set(wanted["size"])) != 1 or (window == "three" and channels != 3):
        shape = " x ".join(str(size) for size in wanted["size"])
        message = (
            f"Model {entry.name!r} takes images that this version cannot make ({entry.image}, {shape}, window {window},"
            f" {channels} channels): choose another with --model, see 'cspine models list'."
        )
        raise UserError(message)
    painter(window)
    return WholeSlices(window, int(wanted["size"][0]), channels)


def whole_slices(entry: ModelEntry) -> WholeSlices:
    """As ``slice_input``, for a stage that knows no column to crop to. Raises ``UserError`` for a network of crops."""
    seen = slice_input(entry)
    if isinstance(seen, WholeSlices):
        return seen
    message = (
        f"Model {entry.name!r} takes crops around the column, but this profile needs one for whole slices: choose"
        " another with --model, see 'cspine models list'."
    )
    raise UserError(message)


def _channels(entry: ModelEntry) -> int:
    return int(entry.arguments.get("channels", 3 if entry.architecture.startswith("yolo") else 1))
