from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.level_presence import BACKBONES
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.starting_weights import start_from


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A DenseNet121 of three colours and 1000 classes, and its file as timm's hub has it."""
    torch.manual_seed(1)
    network = timm.create_model("densenet121").eval()
    path = tmp_path_factory.mktemp("hub") / "model.safetensors"
    save_file(network.state_dict(), path)
    return network, path


@pytest.fixture
def classifier():
    torch.manual_seed(2)
    return create("slice-densenet121").eval()


def same(network, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_grey_network_sees_what_the_coloured_one_saw(classifier, imagenet):
    coloured, path = imagenet
    head = classifier.backbone.classifier.weight.clone()
    report = start_from(classifier, path)
    assert set(report.skipped) == {"classifier.weight", "classifier.bias"}
    assert report.adapted == ["features.conv0.weight"]
    assert report.loaded == len(coloured.state_dict()) - 2
    assert torch.equal(classifier.backbone.classifier.weight, head)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = coloured.forward_features(((grey - 0.449) / 0.226).expand(-1, 3, -1, -1))
        torch.testing.assert_close(
            classifier.backbone.forward_features((grey - 0.449) / 0.226), expected, rtol=1e-3, atol=1e-3
        )


def test_a_level_network_of_three_channels_takes_them_as_they_are(imagenet):
    network = create("level-densenet121", image_size=64)
    report = start_from(network, imagenet[1])
    assert report.adapted == []
    assert torch.equal(network.backbone.features.conv0.weight, imagenet[0].features.conv0.weight)


def test_torchvisions_names_and_wrapped_checkpoints_are_understood(classifier, imagenet, tmp_path):
    def theirs(name):
        for part in ("norm", "conv"):
            for n in "12":
                name = name.replace(f".{part}{n}.", f".{part}.{n}.") if "denselayer" in name else name
        return f"module.{name}"

    state = {theirs(name): tensor for name, tensor in imagenet[0].state_dict().items()}
    torch.save({"epoch": 90, "state_dict": state}, tmp_path / "densenet121.pth")
    report = start_from(classifier, tmp_path / "densenet121.pth")
    assert report.loaded == len(state) - 2
    stored = imagenet[0].features.denseblock1.denselayer2.conv2.weight
    assert torch.equal(classifier.backbone.features.denseblock1.denselayer2.conv2.weight, stored)


def test_half_precision_becomes_single(classifier, imagenet, tmp_path):
    halved = {name: t.half() if t.is_floating_point() else t for name, t in imagenet[0].state_dict().items()}
    save_file(halved, tmp_path / "half.safetensors")
    start_from(classifier, tmp_path / "half.safetensors")
    assert {p.dtype for p in classifier.parameters()} == {torch.float32}


def test_our_own_file_fills_the_head_too(classifier, tmp_path):
    save_file(classifier.state_dict(), tmp_path / "ours.safetensors")
    torch.manual_seed(3)
    other = create("slice-densenet121")
    assert start_from(other, tmp_path / "ours.safetensors").skipped == []
    assert same(other, classifier.state_dict())


def test_coco_weights_fill_a_detector_but_for_its_classes(tmp_path):
    torch.manual_seed(0)
    coco, ours = create("yolov8n", classes=80), create("yolov8n", classes=7)
    save_file(coco.state_dict(), tmp_path / "yolov8n.safetensors")
    report = start_from(ours, tmp_path / "yolov8n.safetensors")
    assert report.adapted == []
    assert report.skipped
    assert all(".cv3." in name for name in report.skipped)  # the branch that gives the classes
    assert torch.equal(ours.model[0].conv.weight, coco.model[0].conv.weight)
    grey = create("yolov8n", classes=7, channels=1)
    assert start_from(grey, tmp_path / "yolov8n.safetensors").adapted == ["model.0.conv.weight"]
    torch.testing.assert_close(grey.model[0].conv.weight, coco.model[0].conv.weight.sum(1, keepdim=True))


def test_position_tables_of_the_proposed_network_follow_the_image_size(tmp_path):
    torch.manual_seed(0)
    large, small = timm.create_model("gcvit_tiny", img_size=128), create("level-gcvit-tiny", image_size=64)
    table = "stages.0.blocks.0.attn.rel_pos.relative_position_bias_table"
    ramp = torch.linspace(0, 1, 7).expand(7, 7).reshape(49, 1)  # windows of 4: offsets from -3 to 3
    with torch.no_grad():
        large.get_parameter(table).copy_(ramp)
    save_file(large.state_dict(), tmp_path / "gcvit.safetensors")
    report = start_from(small, tmp_path / "gcvit.safetensors")
    assert table in report.adapted
    assert set(report.skipped) == {"head.fc.weight", "head.fc.bias"}
    got = small.backbone.get_parameter(table)[:, 0].detach().reshape(3, 3).numpy()
    np.testing.assert_allclose(got[:, 1], 0.5, atol=1e-5)
    assert (got[:, 0] < 0.5).all()
    assert (got[:, 2] > 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_transformers_take_weights_of_another_image_size(name, tmp_path):
    save_file(timm.create_model(BACKBONES[name].timm_name).state_dict(), tmp_path / "model.safetensors")
    network = create(f"level-{name}", image_size=96)
    report = start_from(network, tmp_path / "model.safetensors")
    assert report.adapted
    assert set(report.skipped) == ({"head.weight", "head.bias"} if name == "vit" else set())
    assert report.loaded == len(network.backbone.state_dict())


@pytest.mark.parametrize("name", ["slice-resnet50", "yolov8n", "slice-cnn"])
def test_a_checkpoint_of_another_architecture_is_refused_and_changes_nothing(imagenet, name):
    network = create(name)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(UserError, match="a checkpoint of another architecture"):
        start_from(network, imagenet[1])
    assert same(network, before)


def test_a_deeper_network_of_the_same_family_is_another_architecture(tmp_path):
    torch.manual_seed(0)
    shallow, deep = timm.create_model("resnet50"), {}
    for name, tensor in shallow.state_dict().items():  # a ResNet152 has all the names and shapes of a ResNet50
        deep[name] = tensor
        deep |= {name.replace("layer3.1.", f"layer3.{n}."): tensor.clone() for n in range(6, 36) if "layer3.1." in name}
    save_file(deep, tmp_path / "resnet152.safetensors")
    with pytest.raises(UserError, match="another architecture"):
        start_from(create("slice-resnet50"), tmp_path / "resnet152.safetensors")


def test_a_larger_detector_is_another_architecture(tmp_path):
    save_file(create("yolov8s").state_dict(), tmp_path / "yolov8s.safetensors")
    with pytest.raises(UserError, match="another architecture"):
        start_from(create("yolov8n"), tmp_path / "yolov8s.safetensors")


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_file_that_would_run_code_is_refused_with_the_way_to_convert_it(classifier, tmp_path, suffix):
    for name, save in (("zip", torch.save), ("raw", lambda what, path: path.write_bytes(pickle.dumps(what)))):
        path = tmp_path / f"{name}{suffix}"
        save({"model": Trap(tmp_path / "sprung")}, path)
        with pytest.raises(UserError, match=rf"{name}{suffix}' is damaged or holds program objects.*save_file"):
            start_from(classifier, path)
    assert not (tmp_path / "sprung").exists()


def test_a_whole_pickled_network_is_refused(classifier, tmp_path):
    torch.save({"model": classifier}, tmp_path / "yolov8n.pt")
    with pytest.raises(UserError, match=r"save its state_dict\(\)"):
        start_from(classifier, tmp_path / "yolov8n.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_weights_is_named(classifier, tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"weights{suffix}' is damaged or"):
        start_from(classifier, path)


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.pth"])
def test_a_file_that_is_not_there_is_named(classifier, tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}' could not be read \(.*\): name a file on this computer"):
        start_from(classifier, tmp_path / name)


def test_a_folder_and_another_kind_of_file_are_refused(classifier, tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match=r"folder\.safetensors"):
        start_from(classifier, tmp_path / "folder.safetensors")
    with pytest.raises(UserError, match=r"B_32\.npz' cannot be read .*: give a \.safetensors"):
        start_from(classifier, tmp_path / "B_32.npz")


@pytest.mark.parametrize("content", [[torch.zeros(3)], {"epoch": 3}, {"state_dict": {}}, torch.zeros(2)])
def test_a_file_without_named_tensors_is_another_architecture(classifier, tmp_path, content):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(UserError, match="another architecture"):
        start_from(classifier, tmp_path / "odd.pt")
