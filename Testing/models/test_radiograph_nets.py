"""The networks of document 001: shapes, weights, one grey channel as three, and starting weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from CSpineFractureLib.models.radiograph_input import onto_radiograph, radiograph_picture
from CSpineFractureLib.models.radiograph_nets import BUILDERS
from CSpineFractureLib.models.starting_weights import start_from

SMALL = {
    "radiograph-alexnet": {"fc_width": 16, "batch_norm": True},
    "radiograph-googlenet": {},
    "radiograph-stacked": {"fc_width": 16, "hidden": 8},
}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {name: build(**SMALL[name]).eval() for name, build in BUILDERS.items()}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [96, 227])
def test_each_network_gives_three_logits(networks, name, size):
    with torch.inference_mode():
        assert networks[name](torch.rand(2, 3, size, size)).shape == (2, 3)


@pytest.mark.parametrize("name", SMALL)
def test_one_channel_counts_as_three_alike(networks, name):
    grey = torch.rand(1, 1, 96, 96)
    with torch.inference_mode():
        assert torch.equal(networks[name](grey), networks[name](grey.repeat(1, 3, 1, 1)))


def test_googlenet_sees_the_middle_of_a_picture_for_alexnet(networks):
    picture = torch.rand(1, 3, 227, 227)
    changed = picture.clone()
    changed[..., 0, :], changed[..., -2:, :] = 0, 1
    changed[..., :, 0], changed[..., :, -2:] = 0, 1
    with torch.inference_mode():
        network = networks["radiograph-googlenet"]
        assert torch.equal(network(picture), network(changed))
        assert torch.equal(network(picture), network(picture[..., 1:225, 1:225]))


def test_alexnet_has_the_layers_and_weights_of_the_document():
    network = BUILDERS["radiograph-alexnet"]()
    kinds = [type(module).__name__ for module in network.backbone.modules()]
    assert (kinds.count("Conv2d"), kinds.count("Linear")) == (5, 3)
    assert sum(weight.numel() for weight in network.parameters()) == 57_016_131


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_learns_and_the_last_layers_map_is_there(networks, name):
    network = networks[name]
    network.zero_grad()
    maps = []
    hook = network.last_conv.register_forward_hook(lambda module, given, found: maps.append(found))
    network(torch.rand(2, 3, 96, 96))[:, 1].sum().backward()
    hook.remove()
    assert maps[0].ndim == 4
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("name", ["radiograph-alexnet", "radiograph-googlenet"])
def test_weights_in_torchvisions_form_are_a_start_for_all_but_the_last_layer(tmp_path, name):
    arguments = {"fc_width": 16} if "alex" in name else {}
    other = BUILDERS[name](**arguments)
    last = "classifier.6" if "alex" in name else "fc"
    state = {key: value.contiguous() for key, value in other.backbone.state_dict().items()}
    for part, shape in (("weight", (1000, state[f"{last}.weight"].shape[1])), ("bias", (1000,))):
        state[f"{last}.{part}"] = torch.zeros(shape)
    save_file(state, tmp_path / "x.safetensors")
    network = BUILDERS[name](**arguments)

    report = start_from(network, tmp_path / "x.safetensors")

    assert sorted(report.skipped) == [f"{last}.bias", f"{last}.weight"]
    same = [torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True)]
    assert all(same[:-2])


def test_the_picture_uses_the_whole_range_and_keeps_proportions():
    pixels = np.full((60, 30), 0.4, np.float32)
    pixels[:, 15:] = 0.5
    picture = radiograph_picture(pixels, 120)
    assert (picture.shape, picture.dtype) == ((120, 120), np.float32)
    assert (picture[:, :30] == 0).all()
    assert picture[60, 45] < 0.01
    assert picture[60, 75] > 0.99


def test_a_map_comes_back_to_where_it_was():
    pixels = np.zeros((90, 50), np.float32)
    pixels[60:70, 10:20] = 1
    back = onto_radiograph(radiograph_picture(pixels, 227), 90, 50)
    assert back.shape == pixels.shape
    rows, columns = np.nonzero(back > 0.5)
    assert abs(rows.mean() - 64.5) < 1
    assert abs(columns.mean() - 14.5) < 1
