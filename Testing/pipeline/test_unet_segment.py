"""Naming the voxels of every slice: pictures, places, cancelling, and memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import coded_phantom
import numpy as np
import pytest
import torch
from torch import nn

from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.unet_segment import SegmentationInput, name_slices, winners
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


def view_of(shape, spacing=(1.0, 1.0, 1.0), seed=0):
    hu = np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)
    return CanonicalView.of(CTVolume(hu, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])))


class Bright(nn.Module):
    """Class 3 where the first channel is at least half bright, else background; keeps what it saw."""

    def __init__(self, fail_above: int = 99) -> None:
        super().__init__()
        self.fail_above, self.batches, self.first = fail_above, [], None

    def forward(self, images):
        self.batches.append(len(images))
        if len(images) > self.fail_above:
            message = "not enough memory: you tried to allocate 9 bytes"
            raise RuntimeError(message)
        self.first = images if self.first is None else self.first
        logits = torch.full((len(images), 9, *images.shape[2:]), -4.0)
        logits[:, 3] = 40 * (images[:, 0] - 0.5)
        logits[:, 0] = -logits[:, 3]
        return logits


def context_of(network, size, window="three", **options):
    entry = coded_phantom.entry_of("segmentation", size, window=window)
    store = coded_phantom.PlainStore(a=(network, entry))
    return RunContext(loader=lambda task: store.load(store.find(task)), finder=store.find, **options)


def test_the_picture_has_three_windows_or_the_slices_above_and_below():
    view = view_of((5, 8, 8))
    three = SegmentationInput.of(coded_phantom.entry_of("segmentation", 8)).picture(view, 2)
    for channel, (centre, width) in enumerate(((600, 2800), (700, 4000), (400, 1800))):
        wanted = np.clip((view.hu[2] - centre + width / 2) / width, 0, 1)
        np.testing.assert_allclose(three[channel], wanted, atol=1 / 255)
    near = SegmentationInput.of(coded_phantom.entry_of("segmentation", 8, window="neighbours:500/2000"))
    for k, seen in ((2, (3, 2, 1)), (0, (1, 0, 0)), (4, (4, 4, 3))):
        for channel, n in enumerate(seen):
            wanted = np.clip((view.hu[n] + 500) / 2000, 0, 1)
            np.testing.assert_allclose(near.picture(view, k)[channel], wanted, atol=1 / 255)


@pytest.mark.parametrize("entry", [{"image": "column-crop"}, {"window": "bright"}, {"size": [64, 32]}])
def test_images_that_cannot_be_made_are_refused(entry):
    usual = coded_phantom.entry_of("segmentation", 64)
    with pytest.raises(UserError):
        SegmentationInput.of(replace(usual, input={**usual.input, **entry}))


@pytest.mark.parametrize("size", [24, 48])
def test_names_lie_where_the_picture_showed_them_also_in_slices_that_are_not_square(size):
    hu = np.full((2, 20, 36), -1000, np.int16)
    hu[:, 4:14, 9:27] = 1800
    view = CanonicalView.of(CTVolume(hu, np.diag([-1.0, -1.0, 1.0, 1.0])))
    found = name_slices(view, context_of(Bright(), size))
    assert found.names.shape == view.hu.shape
    wrong = (found.names == 3) != (view.hu > 0)
    edge = np.zeros(wrong.shape, bool)
    edge[:, 3:15, 8:28] = True
    edge[:, 5:13, 10:26] = False
    assert not wrong[~edge].any()
    assert wrong.mean() < 0.03
    assert found.sure[0, 9, 18] == 255


def test_probabilities_are_sigmoids_of_the_winner():
    logits = torch.full((9, 4, 4), -5.0)
    logits[2, 0, 0], logits[6, 0, 0] = 1.0, 0.5
    names, sure = winners(logits, (4, 4))
    assert names[0, 0] == 2
    assert sure[0, 0] == round(255 / (1 + np.exp(-1.0)))


def test_slices_between_those_looked_at_take_the_surer_and_nearer_name():
    view = view_of((9, 16, 16), spacing=(1, 1, 0.4))
    network = Bright()
    found = name_slices(view, context_of(network, 16))
    assert sum(network.batches) == 5
    looked = [8, 6, 4, 2, 0]
    exact = name_slices(view, context_of(Bright(), 16, exact=True))
    for k in looked:
        assert np.array_equal(found.names[k], exact.names[k])
    for k in (1, 3, 5, 7):
        surer = found.sure[k + 1] > found.sure[k - 1]
        assert np.array_equal(found.names[k], np.where(surer, found.names[k + 1], found.names[k - 1]))


def test_a_run_is_cancelled_between_batches():
    network, asked = Bright(), []
    context = context_of(network, 16, is_cancelled=lambda: len(asked) >= 3 or asked.append(1))
    with pytest.raises(Cancelled):
        name_slices(view_of((40, 16, 16)), context)
    assert 1 <= len(network.batches) <= 3


def test_short_memory_halves_the_batch_and_changes_nothing():
    view = view_of((10, 16, 16))
    network = Bright(fail_above=1)
    context = context_of(network, 16)
    found = name_slices(view, context)
    assert [notice.code for notice in context.notices] == ["batch-halved"]
    assert np.array_equal(found.names, name_slices(view, context_of(Bright(), 16)).names)


def test_the_nine_channels_are_never_held_for_the_whole_volume():
    view, network = view_of((160, 64, 64)), Bright()
    context = context_of(network, 64)
    voxels = view.hu.size
    name_slices(view_of((2, 64, 64)), context)  # imports
    tracemalloc.start()
    name_slices(view, context)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * voxels  # two bytes per voxel are kept; nine float channels would take 36
    assert max(network.batches) <= 4
