"""CrackNet and what it is compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CSpineFractureLib.explain.grad_cam import slice_grad_cam
from CSpineFractureLib.models.crack_net import SlicesOfOne, cnn_lstm, crack_net, whole_slice_net
from CSpineFractureLib.models.weights_file import load_weights, save_weights

SMALL = {
    "cracknet-resnet18": lambda channels=3: crack_net("resnet18", channels),
    "vertebra-cnn-lstm": cnn_lstm,
    "vertebra-resnet50": whole_slice_net,
}


def some_crops(channels: int = 3, slices: int = 3) -> torch.Tensor:
    return torch.rand(2, slices, channels, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "channels"), [("cracknet-resnet18", 3), *((name, 4) for name in SMALL)])
def test_a_vertebra_has_one_logit_and_the_batch_does_not_change_it(name: str, channels: int) -> None:
    network, crops = SMALL[name](channels=channels).eval(), some_crops(channels)
    logits = network(crops)
    assert logits.shape == (2,)
    assert torch.allclose(network(crops[1:]), logits[1:], atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(network(crops), logits, atol=1e-5), "slices looked at in small parts"


def test_resnet_101_takes_a_vertebra() -> None:
    network = crack_net().eval()
    with torch.inference_mode():
        assert network(some_crops(slices=2)).shape == (2,)
    assert 50e6 < sum(weight.numel() for weight in network.parameters()) < 65e6


def test_the_small_cracknet_is_small() -> None:
    assert sum(weight.numel() for weight in crack_net("resnet18").parameters()) < 3e6


@pytest.mark.parametrize("name", ["cracknet-resnet18", "vertebra-cnn-lstm"])
def test_the_order_of_the_slices_counts(name: str) -> None:
    network, crops = SMALL[name]().eval(), some_crops()
    assert not torch.allclose(network(crops), network(crops.flip(1)), atol=1e-6)


def test_cracknet_draws_a_map_for_every_slice_and_answers_as_without() -> None:
    network, crops = crack_net("resnet18").eval(), some_crops()
    logits, maps = network.draw(crops)
    assert maps.shape == (2, 3, 32, 32)
    assert torch.allclose(logits, network(crops), atol=1e-6)
    assert network.draws
    assert not cnn_lstm().draws


def test_what_is_drawn_counts_for_the_answer() -> None:
    network, crops = crack_net("resnet18").eval(), some_crops()
    before = network(crops)
    torch.nn.init.constant_(network.features.crack.bias, 4.0)
    assert not torch.allclose(network(crops), before, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_learns(name: str) -> None:
    network = SMALL[name]()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # some begin with 0, and then what lies before them does not learn yet
    network(some_crops()).sum().backward()
    idle = [n for n, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [n for n in idle if "bias" not in n], idle


@pytest.mark.parametrize("name", SMALL)
def test_grad_cam_gives_a_map_of_every_slice(name: str) -> None:
    network = SMALL[name]().eval()
    slices = some_crops()[0]
    maps = slice_grad_cam(SlicesOfOne(network), slices, normalise=False)
    assert maps.shape == (3, 64, 64)
    assert np.isfinite(maps).all()
    whole = network(slices[None])
    assert torch.allclose(SlicesOfOne(network)(slices)[:, 1].sum(), whole[0], atol=1e-5)


def test_exported_weights_give_the_same_logits(tmp_path) -> None:
    network, other = crack_net("resnet18").eval(), crack_net("resnet18").eval()
    save_weights(network, tmp_path / "net.safetensors", dtype=torch.float32)
    load_weights(other, tmp_path / "net.safetensors")
    with torch.inference_mode():
        assert torch.equal(network(some_crops()), other(some_crops()))


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet101 or resnet18"):
        crack_net("resnet7")
