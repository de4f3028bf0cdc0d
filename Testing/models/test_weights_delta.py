"""Changes of weights in two bits: what is kept, what is refused, and that a manifest can name the weights before."""

import json
from dataclasses import replace

import pytest
import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import SCHEMA, as_metadata, write_manifest
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.models.weights_delta import add_delta, write_delta
from CSpineFractureLib.models.weights_file import save_weights, sha256_of
from CSpineFractureLib.training.entries import ENTRIES

ENTRY = ENTRIES["fracture-volume"]


def networks(change=0.02):
    """A network and what a further training made of it."""
    torch.manual_seed(0)
    before, after = create(ENTRY.architecture), create(ENTRY.architecture)
    with torch.no_grad():
        for one, other in zip(after.state_dict().values(), before.state_dict().values(), strict=True):
            one.copy_(other + change * torch.randn(one.shape) if one.is_floating_point() else other + 3)
    return before, after


def rest(before, after, found):
    """How much of the change is lost, of all weights with more than one dimension; and whether others are exact."""
    lost = total = 0.0
    for name, one in found.state_dict().items():
        wanted = after.state_dict()[name]
        if one.ndim < 2:
            assert torch.equal(one, wanted), name
        else:
            lost += float(((one - wanted) ** 2).sum())
            total += float(((before.state_dict()[name] - wanted) ** 2).sum())
    return lost / total


def copy_of(network):
    one = create(ENTRY.architecture)
    one.load_state_dict(network.state_dict())
    return one


def test_most_of_a_change_is_kept_in_a_seventh_of_the_bytes(tmp_path):
    before, after = networks()
    file = write_delta(after, before, tmp_path / "delta.safetensors")
    whole = save_weights(after, tmp_path / "whole.safetensors")
    assert file.stat().st_size < whole.stat().st_size / 6
    assert rest(before, after, add_delta(copy_of(before), file.read_bytes(), file)) < 0.15


def test_no_change_changes_nothing(tmp_path):
    before, _ = networks()
    file = write_delta(before, before, tmp_path / "delta.safetensors")
    found = add_delta(copy_of(before), file.read_bytes(), file)
    assert all(torch.equal(one, before.state_dict()[name]) for name, one in found.state_dict().items())


def test_a_delta_of_another_network_leaves_the_network_as_it_was(tmp_path):
    before, after = networks()
    file = write_delta(after, before, tmp_path / "delta.safetensors")
    other = create(ENTRY.architecture, widths=[4, 8, 12])
    kept = {name: one.clone() for name, one in other.state_dict().items()}
    with pytest.raises(UserError, match="another network"):
        add_delta(other, file.read_bytes(), file)
    with pytest.raises(UserError, match="damaged"):
        add_delta(other, file.read_bytes()[:-7], file)
    assert all(torch.equal(one, kept[name]) for name, one in other.state_dict().items())
    with pytest.raises(ValueError, match="same network"):
        write_delta(other, before, tmp_path / "other.safetensors")


def test_what_is_not_finite_is_not_written(tmp_path):
    before, after = networks()
    with torch.no_grad():
        after.out.bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"out\.bias"):
        write_delta(after, before, tmp_path / "delta.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def shipped(tmp_path):
    """A store whose folder holds a network that is made of two files."""
    before, after = networks()
    folder = tmp_path / "bundled"
    folder.mkdir()
    files = []
    for name, write in (
        ("one.safetensors", lambda path: save_weights(before, path, metadata=as_metadata(ENTRY))),
        ("two.safetensors", lambda path: write_delta(after, before, path)),
    ):
        data = write(folder / name).read_bytes()
        files.append({"file": name, "size": len(data), "sha256": sha256_of(data)})
    entry = replace(ENTRY, version="0.2.0", base=files[0], **files[1])
    write_manifest(folder, [entry])
    return WeightsStore(user=tmp_path / "user", bundled=folder), before, after


def test_the_store_joins_both_files(shipped):
    store, before, after = shipped
    network, info = store.load_for_training("fracture-volume")
    assert rest(before, after, network) < 0.15
    assert info.sha256 == store.find("fracture-volume").sha256
    assert not store.load("fracture-volume")[0].training


@pytest.mark.parametrize("name", ["one.safetensors", "two.safetensors"])
def test_either_file_is_checked(shipped, name):
    store, *_ = shipped
    store.verify(store.find("fracture-volume"))
    file = store.bundled / name
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    for use in (store.verify, store.load):
        with pytest.raises(UserError, match="another SHA-256"):
            use(store.find("fracture-volume"))


def test_the_weights_before_must_lie_in_the_same_folder(shipped):
    store, *_ = shipped
    path = store.bundled / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["schema"] == SCHEMA
    document["models"][0]["base"]["file"] = "../one.safetensors"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json"):
        store.load("fracture-volume")


def test_a_delta_alone_cannot_be_installed(shipped):
    store, *_ = shipped
    with pytest.raises(UserError, match="does not say which network"):
        store.install(store.bundled / "two.safetensors")
    with pytest.raises(UserError, match="another network"):
        store.install(store.bundled / "two.safetensors", ENTRY)
    assert not store.user.exists()


def test_the_command_writes_what_the_store_reads(shipped, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from CSpineFractureLib.cli.models_command import app

    store, before, after = shipped
    store.install(store.bundled / "one.safetensors")
    monkeypatch.setenv("CSPINE_MODELS", str(store.user))
    trained = save_weights(after, tmp_path / "trained.safetensors", metadata=as_metadata(ENTRY))
    out = tmp_path / "delta.safetensors"
    done = CliRunner().invoke(app, ["delta", str(trained), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert f"{out.stat().st_size} bytes" in done.output
    found = add_delta(store.load_for_training("fracture-volume")[0], out.read_bytes(), out)
    assert rest(before, after, found) < 0.15
