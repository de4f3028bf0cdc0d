"""A 3D network sees the block around the neck; its names come back to the voxels they were given to."""

from __future__ import annotations

from dataclasses import replace

import coded_phantom
import numpy as np
import pytest
import torch
from made_neck import BLOCK_HU, ReadsHU, a_neck

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.unet_volume import name_volume, name_voxels
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

SHAPE = (96, 40, 32)


class BlockReader(torch.nn.Module):
    """Names bone by its HU, as the made neck codes it."""

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        hu = blocks[:, 1] * 1200
        names = ((hu - BLOCK_HU) / 50).round().long().clamp(0, 7) + 1
        return 10.0 * torch.nn.functional.one_hot(names * (hu > BLOCK_HU - 30), 9).movedim(-1, 1) - 5


def a_context(**changes: object) -> RunContext:
    told = coded_phantom.entry_of("segmentation", SHAPE[1], "block", slices=SHAPE[0])
    entry = replace(told, input={**told.input, "size": SHAPE[1:], **changes})
    locator = ReadsHU(), coded_phantom.entry_of("column-locator", 64)
    store = coded_phantom.PlainStore(a=(BlockReader(), entry), b=locator)
    return RunContext(loader=lambda task: store.load(store.find(task)), finder=store.find)


@pytest.mark.parametrize("turned", [False, True])
def test_names_lie_where_the_block_showed_them(turned):
    volume, middles = a_neck()
    if turned:  # stored from top to bottom
        matrix = volume.ijk_to_ras @ np.diag([1.0, 1.0, -1.0, 1.0])
        matrix[:3, 3] = volume.ras_of(np.array([0, 0, len(volume.hu) - 1]))
        volume = CTVolume(np.ascontiguousarray(volume.hu[::-1]), matrix)
    view = CanonicalView.of(volume)
    found = name_volume(view, a_context())
    for n, middle in enumerate(middles[:7]):
        i, j, k = np.rint(view.ijk_of(middle)).astype(int)
        assert found.names[k, j, i] == n + 1
        assert found.sure[k, j, i] > 250
    bone = view.hu > BLOCK_HU - 30
    assert ((found.names > 0) & bone).sum() / ((found.names > 0) | bone).sum() > 0.7
    assert found.column is None
    assert np.array_equal(name_voxels(view, a_context()).names, found.names)


def test_nothing_is_named_in_air():
    found = name_volume(CanonicalView.of(CTVolume(np.full((30, 30, 30), -1000, np.int16), np.eye(4))), a_context())
    assert not found.names.any()


def test_blocks_of_unknown_size_are_refused():
    with pytest.raises(UserError, match="how large its blocks are"):
        name_volume(CanonicalView.of(a_neck()[0]), a_context(size=[1, 2, 3]))
