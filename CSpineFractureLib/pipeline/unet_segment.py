"""Vertebrae in every axial slice: the U-Net of document 002, section III-C, over a whole CT.

The network names each pixel: background, C1-C7 or thoracic. Its nine channels are never held for more than one batch;
what stays is the winning class and its probability, one byte each per voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.column_square import SquareOnSlice
from CSpineFractureLib.models.slice_input import SquareFit, square_image
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.level_presence import looked_at
from CSpineFractureLib.pipeline.unet_column import LocatedColumn, find_column
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.slice_stack import stack_painter

if TYPE_CHECKING:
    import torch

    from CSpineFractureLib.models.manifest import ModelEntry

SEGMENTATION = "segmentation"
CLASSES = 9
THORACIC = 8
BATCH = 4
LEAST_BONE = 0.3
"""Probability of bone from which a pixel of a square around the column is bone. The rim, which is cut at half maximum
then, forgives much: on four validation phantoms 0.2 to 0.5 gave a mean Dice of 0.954 to 0.944."""


@dataclass(frozen=True)
class NamedSlices:
    """What the network says of each voxel of the canonical view, uint8 ``[k, j, i]`` both.

    ``names``: 0 background, 1-7 = C1-C7, 8 thoracic; ``sure``: the probability of that name, 255 = 1. ``column``:
    what the column locator found before, where the network takes squares around the column; ``sure`` is then that of
    bone, of whatever name.
    """

    names: np.ndarray
    sure: np.ndarray
    column: LocatedColumn | None = None


@dataclass(frozen=True)
class SegmentationInput:
    """Whole slices of ``size`` pixels square; ``window`` as ``volume.slice_stack`` has it: three, or neighbours.

    With ``spacing_mm`` they are squares of such pixels around the column (``models.column_square``).
    """

    window: str
    size: int
    spacing_mm: float | None = None

    @classmethod
    def of(cls, entry: ModelEntry) -> SegmentationInput:
        """As the manifest entry says. Raises ``UserError`` for images that this program cannot make."""
        window, sizes = str(entry.input.get("window", "")), set(entry.input["size"])
        spacings = set(entry.input.get("spacing_mm") or [None])
        if entry.image != "slice" or len(sizes) != 1 or len(spacings) != 1:
            shape = " x ".join(str(size) for size in entry.input["size"])
            message = (
                f"Model {entry.name!r} takes images that this version cannot make ({entry.image}, {shape}): choose"
                " another with --model, see 'cspine models list'."
            )
            raise UserError(message)
        stack_painter(window)
        return cls(window, int(sizes.pop()), spacings.pop())

    def picture(self, view: CanonicalView, k: int, square: SquareOnSlice | None = None) -> np.ndarray:
        """float32 ``[3, size, size]`` 0..1 of canonical slice ``k``, whole or in the square."""
        image = stack_painter(self.window)(view.hu, k, 1)
        image = square_image(image, self.size) if square is None else square.cut(image)
        return np.moveaxis(image, 2, 0).astype(np.float32) / 255


def name_slices(view: CanonicalView, context: RunContext) -> NamedSlices:
    """The network's answer for every slice of the view; thin slices are looked at every millimetre (see ``exact``).

    A slice between two that were looked at takes, in each pixel, the name of the surer one, the nearer counting more.
    A network of squares sees the slices around the levels that the locator found, and none where it found none. Raises
    ``UserError`` where it needs the locator and that has no weights.
    """
    seen = SegmentationInput.of(context.entry(SEGMENTATION))
    column = find_column(view, context) if seen.spacing_mm else None
    found = NamedSlices(view.zeros(np.uint8), view.zeros(np.uint8), column)
    if seen.spacing_mm and column is None:
        return found
    low, high = column.slices if column else (0, len(view.hu) - 1)
    slices = [k for k in looked_at(view, context.exact) if low <= k <= high]
    network, _ = context.load(SEGMENTATION)

    def square(k: int) -> SquareOnSlice | None:
        return column.square(view, k, seen.size, seen.spacing_mm) if column else None

    def name_batch(batch: list[int], device: str) -> list[None]:
        import torch

        network.to(device)
        images = torch.from_numpy(np.stack([seen.picture(view, k, square(k)) for k in batch])).to(device)
        with torch.inference_mode():
            for k, logits in zip(batch, network(images), strict=True):
                place = square(k)
                if place is None:
                    found.names[k], found.sure[k] = winners(logits.float(), view.hu.shape[1:])
                else:
                    part = (k, *place.window())
                    found.names[part], found.sure[part] = winners_around(logits.float(), place)
        return [None] * len(batch)

    with context.stage("segment", len(slices), "Segmenting the vertebrae"):
        context.run_batches("segment", name_batch, slices, BATCH, "Segmenting the vertebrae")
        _fill_between(found, slices, range(low, high + 1))
    return found


def winners(logits: torch.Tensor, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The winning class and its probability (255 = 1), uint8 ``[h, w]``, of logits ``[9, size, size]``.

    The logits of the square image are brought to the slice's own pixels (``shape``) first, so borders stay smooth. Each
    class has a sigmoid of its own, as it was trained (binary cross-entropy).
    """
    from torch.nn.functional import interpolate

    side = max(shape)
    fit = SquareFit.of(*shape, side)
    if logits.shape[1:] != (side, side):
        logits = interpolate(logits[None], size=(side, side), mode="bilinear", align_corners=False)[0]
    top, left = round(-fit.top), round(-fit.left)
    highest, names = logits[:, top : top + shape[0], left : left + shape[1]].max(0)
    return names.byte().cpu().numpy(), (highest.sigmoid() * 255).round().byte().cpu().numpy()


def winners_around(logits: torch.Tensor, square: SquareOnSlice) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest vertebra where a square around the column shows bone, and the probability of bone or of none.

    uint8 ``[h, w]`` both, for the pixels of ``square.window()``. Names are hard to tell there, so that each of them may
    be less likely than background though there is bone.
    """
    values = square.on_slice(logits)
    bone = (1 - values[0].sigmoid()).cpu().numpy()
    names = np.where(bone >= LEAST_BONE, values[1:].argmax(0).cpu().numpy() + 1, 0)
    return names.astype(np.uint8), np.rint(255 * np.where(names > 0, bone, 1 - bone)).astype(np.uint8)


def _fill_between(found: NamedSlices, slices: list[int], within: range) -> None:
    looked = np.sort(slices)
    for k in sorted(set(within) - set(slices)):
        above = int(np.searchsorted(looked, k))
        a, b = int(looked[max(0, above - 1)]), int(looked[min(above, len(looked) - 1)])
        near = abs(k - a) / max(b - a, 1)
        takes_b = found.sure[b] * np.float32(near) > found.sure[a] * np.float32(1 - near) if a != b else False
        found.names[k] = np.where(takes_b, found.names[b], found.names[a])
        found.sure[k] = np.where(takes_b, found.sure[b], found.sure[a])
