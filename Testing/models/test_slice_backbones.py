from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from CSpineFractureLib.explain.grad_cam import slice_grad_cam
from CSpineFractureLib.models.registry import create

NAMES = ("slice-resnet50", "slice-densenet121")


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {name: create(name).eval() for name in NAMES}


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_gives_two_logits_per_slice(networks, images, name):
    with torch.no_grad():
        assert networks[name](images).shape == (2, 2)


def test_are_as_large_as_the_networks_they_are_named_after(networks):
    millions = {name: sum(p.numel() for p in net.parameters()) / 1e6 for name, net in networks.items()}
    assert millions["slice-resnet50"] == pytest.approx(25.557 - 2.049 + 0.004 - 0.006, abs=0.001)  # torchvision's less
    assert millions["slice-densenet121"] == pytest.approx(7.979 - 1.025 + 0.002 - 0.006, abs=0.001)  # head and colours


@pytest.mark.parametrize("name", NAMES)
def test_grad_cam_is_formula_5_on_the_last_map_before_the_average(networks, images, name):
    network = networks[name]
    backbone, before = network.backbone, [p.detach().clone() for p in network.parameters()]
    with torch.no_grad():
        maps = backbone.forward_features((images - 0.449) / 0.226).numpy()
    assert maps.shape[2:] == (3, 3)
    seen = []
    weights = backbone.get_classifier().weight.detach().numpy() / 9
    for target in (0, 1):
        expected = np.maximum(np.einsum("k,nkij->nij", weights[target], maps), 0)
        cams = slice_grad_cam(network, images, target_class=target, normalise=False)
        assert cams.shape == (2, 96, 96)
        enlarged = np.stack([cv2.resize(one, (96, 96)) for one in expected])
        np.testing.assert_allclose(cams, enlarged, rtol=1e-3, atol=1e-3 * np.abs(expected).max() + 1e-7)
        seen.append(expected.max())
    assert max(seen) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_last_convolution_sees_a_seven_by_seven_grid(networks, name):
    seen = []
    hook = networks[name].last_conv.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    with torch.no_grad():
        networks[name](torch.zeros(1, 1, 224, 224))
    hook.remove()
    assert seen == [(7, 7)]


@pytest.mark.parametrize("name", NAMES)
def test_grad_cam_leaves_a_training_network_trainable(networks, images, name):
    network = networks[name].train()
    slice_grad_cam(network, images[:1])
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    network.eval()


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns(name):
    torch.manual_seed(0)
    network = create(name)
    network(torch.rand(2, 1, 48, 48)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert network.backbone.get_classifier().weight.grad.abs().max() > 0


@pytest.mark.slow
def test_a_few_steps_tell_two_patterns_apart():
    torch.manual_seed(0)
    images = torch.zeros(8, 1, 64, 64)
    images[:4, :, 24:40] = 1
    images[4:, :, :, 24:40] = 1
    truth = torch.tensor([0] * 4 + [1] * 4)
    network = create("slice-resnet50")
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-4)
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(network(images + 0.1 * torch.rand_like(images)), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert network(images).argmax(1).tolist() == truth.tolist()


def test_another_kind_is_refused():
    from CSpineFractureLib.models.slice_backbones import SliceBackbone

    with pytest.raises(ValueError, match="resnet50 or densenet121"):
        SliceBackbone("resnet18")
