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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_stages_are_convolution_relu_and_pool_in_values_and_gradients(layout):
    torch.manual_seed(1)
    model = SliceCNN().to(memory_format=layout)
    images = torch.rand(2, 1, 224, 224).to(memory_format=layout)

    def as_in_the_document(values):
        for stage in (part for part in model.features if isinstance(part, nn.Conv2d)):
            values = nn.functional.max_pool2d(nn.functional.relu(stage(values)), 2, 2)
        return values

    with torch.inference_mode():
        assert torch.equal(model.features(images), as_in_the_document(images))
    gradients = []
    for stack in (model.features, as_in_the_document):
        model.zero_grad()
        (stack(images) ** 2).sum().backward()
        gradients.append([part.weight.grad.clone() for part in model.features if isinstance(part, nn.Conv2d)])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert all(one.abs().max() > 0 for one in gradients[0])
