from __future__ import annotations

import pytest
import torch
from torch import nn

from CSpineFractureLib.models.slice_cnn import SliceCNN


def test_gives_two_logits_per_slice():
    assert SliceCNN()(torch.rand(3, 1, 224, 224)).shape == (3, 2)


def test_has_six_pools_and_linear_layers_512_128_2_as_document_000_proposes():
    model = SliceCNN()
    pools = [m for m in model.modules() if isinstance(m, nn.MaxPool2d)]
    assert len(pools) == 6
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [512, 128, 2]


def test_is_small_enough_to_ship():
    assert sum(p.numel() for p in SliceCNN().parameters()) < 1_600_000


@pytest.mark.parametrize("fc_layers", [1, 2, 3])
def test_ablation_has_the_number_of_linear_layers_it_names(fc_layers):
    model = SliceCNN(fc_layers=fc_layers)
    assert sum(isinstance(m, nn.Linear) for m in model.modules()) == fc_layers
    assert model(torch.rand(1, 1, 224, 224)).shape == (1, 2)


def test_four_linear_layers_are_refused():
    with pytest.raises(ValueError, match="1, 2 or 3"):
        SliceCNN(fc_layers=4)


def test_last_convolution_sees_a_seven_by_seven_grid():
    model, seen = SliceCNN(), []
    model.last_conv.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model(torch.rand(1, 1, 224, 224))
    assert seen == [(1, 160, 7, 7)]


def test_learns_to_tell_two_patterns_apart():
    torch.manual_seed(0)
    images = torch.zeros(4, 1, 224, 224)
    images[:2, :, 96:128] = 1
    images[2:, :, :, 96:128] = 1
    truth = torch.tensor([0, 0, 1, 1])
    model = SliceCNN()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(images), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert model(images).argmax(1).tolist() == truth.tolist()
