"""Vertebrae by a 3D network, which sees the whole neck in one block of coarse voxels: document 002's 3D ResNet.

The column locator says where the neck is; the names are the network's own. ``name_voxels`` takes whichever network
there is, this or one of slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.unet_column import LocatedColumn, find_column
from CSpineFractureLib.pipeline.unet_segment import SEGMENTATION, NamedSlices, name_slices
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import coarse_hu, to_coarse

if TYPE_CHECKING:
    import torch

    from CSpineFractureLib.models.manifest import ModelEntry
    from CSpineFractureLib.models.neck_block import NeckBlock

BLOCK = "block"
"""``input.image`` of such networks."""


def name_voxels(view: CanonicalView, context: RunContext) -> NamedSlices:
    """What the run's segmentation network says, of blocks or of slices. Raises ``UserError`` as those do."""
    name = name_volume if context.entry(SEGMENTATION).image == BLOCK else name_slices
    return name(view, context)


def name_volume(view: CanonicalView, context: RunContext) -> NamedSlices:
    """The network's answer for the block around the neck; nothing where the locator found no level.

    Raises ``UserError`` without weights of the locator, and where the network takes other blocks.
    """
    shape = _block_shape(context.entry(SEGMENTATION))
    found = NamedSlices(view.zeros(np.uint8), view.zeros(np.uint8))
    column = find_column(view, context)
    if column is None:
        return found
    network, _ = context.load(SEGMENTATION)
    hu = coarse_hu(view.hu, view.spacing_mm, context.each)
    block = _around(column, view, shape)

    def name_block(batch: list[NeckBlock], device: str) -> list[torch.Tensor]:
        import torch

        from CSpineFractureLib.models.neck_block import network_input

        network.to(device)
        with torch.inference_mode():
            return [network(network_input(one.cut(hu))[None].to(device))[0].float() for one in batch]

    with context.stage("segment", message="Segmenting the vertebrae"):
        (logits,) = context.run_batches("segment", name_block, [block], 1, "Segmenting the vertebrae")
        _bring_to(found, logits, block, view, context)
    return found


def _block_shape(entry: ModelEntry) -> tuple[int, int, int]:
    sizes = entry.input["size"]
    if len(sizes) != 2 or "slices" not in entry.input:
        message = f"Model {entry.name!r} does not say how large its blocks are: choose another with --model."
        raise UserError(message)
    return int(entry.input["slices"]), int(sizes[0]), int(sizes[1])


def _around(column: LocatedColumn, view: CanonicalView, shape: tuple[int, int, int]) -> NeckBlock:
    from CSpineFractureLib.models.neck_block import NeckBlock

    middle = np.mean([level.center_ras for level in column.levels], axis=0)
    return NeckBlock(shape, tuple(to_coarse(view.ijk_of(middle)[::-1], view.spacing_mm)))


def _bring_to(
    found: NamedSlices, logits: torch.Tensor, block: NeckBlock, view: CanonicalView, context: RunContext
) -> None:
    """Write the winning name of each voxel that the block shows, and its probability, slice by slice; linear between
    the block's voxels."""
    from CSpineFractureLib.models.neck_block import sampled

    places = [
        to_coarse(np.tile(np.arange(n)[:, None], 3), view.spacing_mm)[:, axis] - block.corner[axis]
        for axis, n in enumerate(view.hu.shape)
    ]
    inside = [np.flatnonzero((place > -0.5) & (place < n - 0.5)) for place, n in zip(places, block.shape, strict=True)]
    if not all(map(len, inside)):
        return
    rows, columns = (slice(one[0], one[-1] + 1) for one in inside[1:])
    for k in inside[0]:
        context.check_cancelled()
        points = np.stack(np.meshgrid(places[0][[k]], places[1][rows], places[2][columns], indexing="ij"), axis=-1)
        highest, names = sampled(logits, points)[:, 0].max(0)
        found.names[k, rows, columns] = names.byte().cpu().numpy()
        found.sure[k, rows, columns] = (highest.sigmoid() * 255).round().byte().cpu().numpy()
