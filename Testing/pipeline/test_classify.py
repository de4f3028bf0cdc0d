"""Slices that look suspicious are looked at again, moved and mirrored; the others once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.pipeline.classify import LOOKS, classify_slices
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

SIZE = 64


class LikesTheLeft(torch.nn.Module):
    """As sure of a fracture as the left half of a picture is bright; notes how many pictures it sees at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        share = images[:, 0, :, : SIZE // 2].mean((1, 2)).clamp(1e-4, 1 - 1e-4)
        return torch.stack([torch.log(1 - share), torch.log(share)], dim=1)


def judged(hu: np.ndarray, network: torch.nn.Module, slice_mm: float = 20.0, exact: bool = False) -> list[float]:
    """The probabilities of slices ``[k, SIZE, SIZE]``, which by default lie too far apart to be smoothed."""
    seen = {"image": "slice", "window": "500/2000", "windows": [], "size": [SIZE, SIZE], "spacing_mm": [None, None]}
    entry = ModelEntry("likes-left", "1", "slice-classifier", ["two-stage"], "none", "Apache-2.0", "nothing", seen)

    def find(task: str) -> ModelEntry:
        if task != "slice-classifier":
            message = f"There are no weights for {task}."
            raise UserError(message)
        return entry

    context = RunContext(loader=lambda task: (network, None), finder=find, exact=exact)
    view = CanonicalView.of(CTVolume(hu.astype(np.int16), np.diag([-1.0, -1.0, slice_mm, 1.0])))
    return [slice_.probability for slice_ in classify_slices(view, [], context)]


def test_a_suspicious_slice_is_worth_the_mean_of_all_looks():
    hu = np.full((3, SIZE, SIZE), -500)
    hu[0, :, : SIZE // 2] = 1100  # a value of 0.8 on one side: gone in the mirror
    hu[1] = 1100  # on both
    network = LikesTheLeft()
    one_sided, both, dark = judged(hu, network)
    half = SIZE // 2  # of the columns of each look's left half those that are bright, in the order of LOOKS
    bright = [half, 0, half - 3, 1, half, 0]  # moved by 3 to the left, then by 1, 3 and 2
    assert one_sided == pytest.approx(0.8 * np.mean(bright) / half, abs=0.01)
    assert both == pytest.approx(0.8, abs=0.01)
    assert dark == pytest.approx(0.0, abs=0.01)
    assert network.seen == [3] + [2] * len(LOOKS)


@pytest.mark.parametrize(("hu", "probability"), [(-100, 0.2), (1500, 1.0)])
def test_slices_that_are_calm_or_certain_are_looked_at_once(hu, probability):
    network = LikesTheLeft()
    assert judged(np.full((4, SIZE, SIZE), hu), network) == pytest.approx([probability] * 4, abs=0.01)
    assert network.seen == [4]


@pytest.mark.parametrize(("first", "worth"), [(0.505, 0.05), (0.55, 0.5), (0.7, 1.0), (0.9, 1.0), (0.98, 1.0)])
def test_a_slice_that_is_hardly_different_is_worth_hardly_less(first, worth):
    hu = np.full((1, SIZE, SIZE), -500)
    hu[0, :, : SIZE // 2] = round(2000 * first - 500)
    half = SIZE // 2
    mean = first * np.mean([half, 0, half - 3, 1, half, 0]) / half
    assert judged(hu, LikesTheLeft())[0] == pytest.approx(first + worth * (mean - first), abs=0.02)


@pytest.mark.parametrize(("slice_mm", "looked_at"), [(0.4, 8), (0.5, 8), (0.7, 11), (0.8, 20), (1.25, 20)])
def test_thin_slices_have_a_probability_each_though_not_all_are_looked_at(slice_mm, looked_at):
    hu = np.full((20, SIZE, SIZE), -100)
    hu[10:] = 1500
    network = LikesTheLeft()
    found = judged(hu, network, slice_mm)
    assert sum(network.seen) == looked_at
    assert len(found) == 20
    assert found == sorted(found), "from 0.2 up to 1, without dents between the slices that were looked at"
    assert (found[0], found[-1]) == (pytest.approx(0.2, abs=0.02), pytest.approx(1.0, abs=0.02))


def test_an_exact_run_looks_at_every_slice():
    network = LikesTheLeft()
    judged(np.full((20, SIZE, SIZE), -100), network, 0.4, exact=True)
    assert sum(network.seen) == 20
