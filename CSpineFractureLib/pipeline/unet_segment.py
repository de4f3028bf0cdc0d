"""Vertebrae in every axial slice: the U-Net of document 002, section III-C, over a whole CT.

The network names each pixel: background, C1-C7 or thoracic. Its nine channels are never held for more than one batch;
what stays is the winning class and its probability, one byte each per voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.slice_input import SquareFit, square_image
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.level_presence import looked_at
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.slice_stack import stack_painter

if TYPE_CHECKING:
    import torch

    from CSpineFractureLib.models.manifest import ModelEntry

SEGMENTATION = "segmentation"
CLASSES = 9
THORACIC = 8
BATCH = 4


@dataclass(frozen=True)
class NamedSlices:
    """What the network says of each voxel of the canonical view, uint8 ``[k, j, i]`` both.

    ``names``: 0 background, 1-7 = C1-C7, 8 thoracic; ``sure``: the probability of that name, 255 = 1.
    """

    names: np.ndarray
    sure: np.ndarray


@dataclass(frozen=True)
class SegmentationInput:
    """Whole slices of ``size`` pixels square; ``window`` as ``volume.slice_stack`` has it: three, or neighbours."""

    window: str
    size: int

    @classmethod
    def of(cls, entry: ModelEntry) -> SegmentationInput:
        """As the manifest entry says. Raises ``UserError`` for images that this program cannot make."""
        window, sizes = str(entry.input.get("window", "")), set(entry.input["size"])
        if entry.image != "slice" or len(sizes) != 1:
            shape = " x ".join(str(size) for size in entry.input["size"])
            message = (
                f"Model {entry.name!r} takes images that this version cannot make ({entry.image}, {shape}): choose"
                " another with --model, see 'cspine models list'."
            )
            raise UserError(message)
        stack_painter(window)
        return cls(window, int(sizes.pop()))

    def picture(self, view: CanonicalView, k: int) -> np.ndarray:
        """float32 ``[3, size, size]`` 0..1 of canonical slice ``k``."""
        image = stack_painter(self.window)(view.hu, k, 1)
        return np.moveaxis(square_image(image, self.size), 2, 0).astype(np.float32) / 255


def name_slices(view: CanonicalView, context: RunContext) -> NamedSlices:
    """The network's answer for every slice of the view; thin slices are looked at every millimetre (see ``exact``).

    A slice between two that were looked at takes, in each pixel, the name of the surer one, the nearer counting more.
    """
    seen = SegmentationInput.of(context.entry(SEGMENTATION))
    network, _ = context.load(SEGMENTATION)
    slices = looked_at(view, context.exact)
    found = NamedSlices(np.zeros(view.hu.shape, np.uint8), np.zeros(view.hu.shape, np.uint8))

    def name_batch(batch: list[int], device: str) -> list[None]:
        import torch

        network.to(device)
        images = torch.from_numpy(np.stack([seen.picture(view, k) for k in batch])).to(device)
        with torch.inference_mode():
            for k, logits in zip(batch, network(images), strict=True):
                found.names[k], found.sure[k] = winners(logits.float(), view.hu.shape[1:])
        return [None] * len(batch)

    with context.stage("segment", len(slices), "Segmenting the vertebrae"):
        context.run_batches("segment", name_batch, slices, BATCH, "Segmenting the vertebrae")
        _fill_between(found, slices)
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


def _fill_between(found: NamedSlices, slices: list[int]) -> None:
    looked, count = np.sort(slices), len(found.names)
    for k in sorted(set(range(count)) - set(slices)):
        above = int(np.searchsorted(looked, k))
        a, b = int(looked[max(0, above - 1)]), int(looked[min(above, len(looked) - 1)])
        near = abs(k - a) / max(b - a, 1)
        takes_b = found.sure[b] * np.float32(near) > found.sure[a] * np.float32(1 - near) if a != b else False
        found.names[k] = np.where(takes_b, found.names[b], found.names[a])
        found.sure[k] = np.where(takes_b, found.sure[b], found.sure[a])
