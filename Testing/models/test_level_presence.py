from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from CSpineFractureLib.models.level_presence import (
    BACKBONES,
    STATED_PARAMETERS,
    LevelBaseline,
    LevelPresenceNet,
    parameter_counts,
)
from CSpineFractureLib.models.registry import architectures, create

NAMES = sorted(name for name in architectures() if name.startswith("level-") and name != "level-regressor")
METADATA = torch.tensor([[40.0, 0.2], [160.0, 0.8]])


@functools.cache
def described(name, image_size=224):
    """The network without its numbers, which takes no time."""
    with torch.device("meta"):
        network = create(name, image_size=image_size)
    network.freeze()
    return network


@pytest.fixture(scope="module")
def proposed():
    torch.manual_seed(0)
    return LevelPresenceNet(image_size=64).eval()


@pytest.fixture(scope="module")
def densenet():
    torch.manual_seed(0)
    return create("level-densenet121", image_size=64)


def answers(network, images, metadata=METADATA):
    with torch.no_grad():
        return network(images, metadata)


def test_every_network_of_the_document_is_known():
    assert set(NAMES) == {f"level-{kind}" for kind in BACKBONES}
    assert set(STATED_PARAMETERS) < set(NAMES)


def test_proposed_network_has_the_parameters_of_table_1():
    assert parameter_counts(described("level-gcvit-tiny")) == (13_080_663, 14_683_998)


@pytest.mark.parametrize(("name", "size"), [("level-vit", 256), ("level-convnext", 224), ("level-swin", 224)])
def test_these_baselines_have_the_parameters_of_table_1_to_the_last(name, size):
    assert parameter_counts(described(name, size)) == STATED_PARAMETERS[name]


def test_the_others_differ_from_table_1_by_what_their_note_says():
    trainable, frozen = parameter_counts(described("level-inceptionv3"))
    assert (trainable, frozen - 17_216) == STATED_PARAMETERS["level-inceptionv3"]
    trainable, frozen = parameter_counts(described("level-resnet152"))
    stated = STATED_PARAMETERS["level-resnet152"]
    assert (stated[0] - trainable) + (stated[1] - frozen) == 51_776
    assert stated[0] - trainable == 2 * 2048  # the biases of two convolutions
    assert STATED_PARAMETERS["level-vit"][1] - parameter_counts(described("level-vit"))[1] == 11_520


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_part_to_train_meets_a_weight(name):
    network = described(name)
    names = [one for one, _ in network.backbone.named_parameters()]
    for part in network.design.trained:
        assert any(one.startswith(part) for one in names), part
    trainable, frozen = parameter_counts(network)
    assert trainable > 500_000
    assert frozen > 2_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [96, pytest.param(128, marks=pytest.mark.slow)])
def test_every_network_can_be_made_for_small_images(name, size):
    network = described(name, size)
    images = torch.empty(2, 1, size, size, device="meta")
    assert network.eval()(images, torch.empty(2, 2, device="meta")).shape == (2, 7)


def test_before_freezing_everything_is_trained():
    with torch.device("meta"):
        network = LevelPresenceNet()
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("gcvit-tiny", 100, "multiple of 32, not 100"),
        ("vit", 32, "at least 64"),
        ("swin", 200, "multiple of 32"),
        ("inceptionv3", 74, "at least 75"),
        ("vgg19", 63, "at least 64"),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, size, words):
    with pytest.raises(ValueError, match=words):
        create(f"level-{name}", image_size=size)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="use one of gcvit-tiny"):
        LevelBaseline("resnet18")


def test_images_of_another_size_are_refused(proposed):
    with pytest.raises(ValueError, match=r"\[1, 64, 64\], not \[1, 96, 96\]"):
        proposed(torch.zeros(2, 1, 96, 96), METADATA)


def test_metadata_and_image_both_decide(proposed):
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found = answers(proposed, images)
    assert found.shape == (2, 7)
    assert not torch.allclose(found[0], answers(proposed, images, METADATA.flip(0))[0], atol=1e-4)
    assert not torch.allclose(found[0], answers(proposed, images.flip(0))[0], atol=1e-6)


def test_metadata_reach_the_layers_in_decimetres_and_as_ratio(proposed):
    seen = []
    hook = proposed.metadata.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    answers(proposed, torch.rand(2, 1, 64, 64))
    hook.remove()
    torch.testing.assert_close(seen[0], torch.tensor([[0.4, 0.2], [1.6, 0.8]]))


def test_a_baseline_ignores_the_metadata(densenet):
    images = torch.rand(2, 1, 64, 64)
    densenet.eval()
    torch.testing.assert_close(answers(densenet, images), answers(densenet, images, None), rtol=0, atol=0)


def test_frozen_parts_neither_learn_nor_drift(densenet):
    network = densenet
    network.freeze()
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(2, 1, 64, 64)).square().sum().backward()
    optimiser.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(
        name.startswith(("head.", "backbone.features.denseblock4", "backbone.features.norm5")) for name in changed
    )
    assert any("denseblock4" in name and "running_mean" in name for name in changed)


def test_proposed_network_learns_which_levels_are_there_from_metadata_alone(proposed):
    torch.manual_seed(0)
    proposed.requires_grad_(False)
    layers = [proposed.metadata, proposed.head]
    features = proposed.features(torch.zeros(1, 1, 64, 64)).detach().expand(64, -1)
    ratio = torch.linspace(0, 1, 64)
    metadata = torch.stack([200 * ratio, ratio], 1) / torch.tensor([100.0, 1.0])
    truth = nn.functional.one_hot((ratio * 6.99).long(), 7).float()
    parameters = [p.requires_grad_(True) for layer in layers for p in layer.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.01)
    for _ in range(150):
        logits = proposed.head(torch.cat([features, proposed.metadata(metadata)], 1))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(1) == truth.argmax(1)).float().mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_network_answers_and_every_trainable_weight_learns(name):
    torch.manual_seed(0)
    network = create(name, image_size=96)
    assert answers(network.eval(), torch.rand(2, 1, 96, 96)).isfinite().all()
    network.freeze()
    network.train()
    network(torch.rand(2, 1, 96, 96), METADATA).square().sum().backward()
    for parameter in network.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
