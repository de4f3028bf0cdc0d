"""Saliency maps point at what the answer depends on, and leave the network as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from CSpineFractureLib.explain.saliency import input_saliency, write_saliency_picture


class Corner(nn.Module):
    """Class 1 grows with the square of one corner, class 0 with that of the other."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.drop = nn.Dropout(0.5)

    def forward(self, images):
        images = self.drop(images)
        parts = images[:, :, -12:, -12:], images[:, :, :12, :12]
        return self.weight * torch.stack([part.square().sum(dim=(1, 2, 3)) for part in parts], dim=1)


@pytest.fixture
def picture():
    return torch.full((1, 40, 40), 0.5)


def test_the_map_is_bright_where_the_class_is_decided(picture):
    found = input_saliency(Corner().eval(), picture, 1)
    assert (found.shape, found.dtype) == ((40, 40), np.float32)
    assert found[:10, :10].mean() > 0.5
    assert found[20:, 20:].max() < 0.05
    assert input_saliency(Corner().eval(), picture, 0)[-10:, -10:].mean() > 0.5


def test_the_same_seed_gives_the_same_map_in_any_mode_of_the_caller(picture):
    network = Corner()
    first = input_saliency(network, picture, 1)
    with torch.inference_mode():
        inside = picture.clone()
        assert np.array_equal(first, input_saliency(network, inside, 1))
    assert not np.array_equal(first, input_saliency(network, picture, 1, seed=5))


def test_the_network_is_left_as_it_was(picture):
    network = Corner().train()
    network.weight.requires_grad_(False)
    input_saliency(network, picture, 1)
    assert network.training
    assert network.drop.training
    assert not network.weight.requires_grad
    assert network.weight.grad is None


def test_a_network_that_looks_at_nothing_gives_an_empty_map(picture):
    network = Corner()
    network.weight.data.zero_()
    assert not input_saliency(network, picture, 1).any()


def test_the_picture_shows_the_radiograph_beside_its_maps(tmp_path):
    pixels = np.full((100, 80), 0.5, np.float32)
    spot = np.zeros_like(pixels)
    spot[40:60, 30:50] = 1
    write_saliency_picture(tmp_path / "x.png", pixels, {"Saliency": spot, "Grad-CAM": spot * 0}, "fracture")
    page = np.asarray(Image.open(tmp_path / "x.png")).astype(int)
    width = (page.shape[1] - 16) // 3
    middle = page.shape[0] // 2
    plain, hot, cold = (page[middle, n * (width + 8) + width // 2] for n in range(3))
    assert np.ptp(plain) == 0
    assert hot[0] > hot[2] + 50
    assert cold[2] > cold[0] + 50
