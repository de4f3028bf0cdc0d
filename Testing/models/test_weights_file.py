from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.weights_file import load_weights, read_metadata, save_weights


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = create("yolov8n", classes=7, channels=1)
    model(torch.rand(2, 1, 64, 64))  # the batch-normalisation averages leave their start
    return model.eval()


def test_network_survives_half_precision_storage(network, tmp_path):
    path = save_weights(network, tmp_path / "net.safetensors")
    again = load_weights(create("yolov8n", classes=7, channels=1), path).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(image)[0], network(image)[0], rtol=0.01, atol=0.05)
    assert all(p.dtype == torch.float32 for p in again.parameters())


def test_kernels_are_stored_half_and_statistics_whole(network, tmp_path):
    stored = load_file(save_weights(network, tmp_path / "net.safetensors"))
    state = network.state_dict()
    assert {t.dtype for n, t in stored.items() if t.ndim > 1} == {torch.float16}
    counters = [n for n in stored if n.endswith("num_batches_tracked")]
    assert counters
    for name, tensor in stored.items():
        if tensor.ndim <= 1:
            torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    assert stored[counters[0]].dtype == torch.int64
    assert stored[counters[0]].item() == 1


def test_weights_too_large_for_half_precision_stay_whole(tmp_path):
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.weight, 1e6)
    stored = load_file(save_weights(layer, tmp_path / "net.safetensors"))
    assert stored["weight"].tolist() == [[1e6, 1e6], [1e6, 1e6]]


def test_full_precision_is_exact(tmp_path):
    layer = torch.nn.Linear(3, 2)
    path = save_weights(layer, tmp_path / "net.safetensors", dtype=torch.float32, metadata={"epoch": "3"})
    torch.testing.assert_close(load_weights(torch.nn.Linear(3, 2), path).weight, layer.weight, rtol=0, atol=0)
    assert read_metadata(path) == {"epoch": "3"}


def test_damaged_weights_are_not_saved(tmp_path):
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.bias, float("nan"))
    with pytest.raises(ValueError, match="bias"):
        save_weights(layer, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no-such.*could not be written"):
        save_weights(torch.nn.Linear(2, 2), tmp_path / "no-such" / "net.safetensors")


def test_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"net\.safetensors is missing: .*cspine models install"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "net.safetensors")


def test_pickle_is_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = tmp_path / "net.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="not a safetensors file"):
        load_weights(torch.nn.Linear(2, 2), path)
    with pytest.raises(UserError, match="not a safetensors file"):
        read_metadata(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("keep", [0, 4, 100])
def test_truncated_file_is_refused(tmp_path, keep):
    path = save_weights(torch.nn.Linear(30, 20), tmp_path / "net.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        load_weights(torch.nn.Linear(30, 20), path)


@pytest.mark.parametrize(
    "other", [{"weight": torch.zeros(2, 2)}, {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}]
)
def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path, other):
    path, layer = tmp_path / "net.safetensors", torch.nn.Linear(2, 2)
    save_file(other, path)
    before = layer.weight.clone()
    with pytest.raises(UserError, match="another network"):
        load_weights(layer, path)
    torch.testing.assert_close(layer.weight, before, rtol=0, atol=0)


def test_a_folder_of_that_name_is_refused(tmp_path):
    (tmp_path / "net.safetensors").mkdir()
    with pytest.raises(UserError, match="could not be read"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "net.safetensors")
