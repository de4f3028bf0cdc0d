from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import ModelEntry, as_metadata, read_manifest, write_manifest
from CSpineFractureLib.models.registry import create, prepare_for_inference
from CSpineFractureLib.models.slice_cnn import SliceCNN
from CSpineFractureLib.models.store import WeightsStore, save_weights, user_models_folder

ENTRY = ModelEntry(
    name="toy-classifier",
    version="0.1",
    task="slice-classifier",
    profiles=["two-stage"],
    architecture="slice-cnn",
    arguments={"fc_layers": 1},
    licence="Apache-2.0",
    trained_on="synthetic CT",
    metrics={"phantom_auc": 0.9},
    input={"spacing_mm": [0.571, 0.571], "windows": [[500, 2000]], "size": [224, 224]},
    notice="synthetic, research use only",
)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    return save_weights(SliceCNN(fc_layers=1), tmp_path / "run.safetensors", metadata=as_metadata(ENTRY))


@pytest.fixture
def store(tmp_path):
    (tmp_path / "bundled").mkdir()
    return WeightsStore(user=tmp_path / "user" / "models", bundled=tmp_path / "bundled")


@pytest.fixture
def installed(store, weights):
    return store.install(weights, ENTRY)


def files(store):
    return sorted(path.name for path in store.user.iterdir())


def test_installed_network_is_found_and_loads_ready_for_use(store, installed):
    module, info = store.load("slice-classifier")
    assert not module.training
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert module(torch.rand(2, 1, 224, 224)).shape == (2, 2)
    assert (info.task, info.name, info.version) == ("slice-classifier", "toy-classifier", "0.1")
    assert info.sha256 == installed.sha256
    assert "research use only" in info.trained_on


def test_loaded_weights_are_those_that_were_saved(store, installed):
    torch.manual_seed(0)
    saved = SliceCNN(fc_layers=1)
    module, _ = store.load(installed)
    for name, tensor in saved.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)


def test_file_made_by_training_installs_by_itself(store, weights):
    assert replace(store.install(weights), file="", size=0, sha256="") == ENTRY


def test_file_that_does_not_say_what_it_is_needs_an_entry(store, tmp_path):
    path = save_weights(SliceCNN(fc_layers=1), tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match="does not say which network"):
        store.install(path)


@pytest.mark.parametrize(
    ("task", "profile", "system"),
    [
        ("slice-classifier", "gcvit-yolo", "000-slice-classifier"),
        ("vertebra-detector", "two-stage", "000-vertebra-detector"),
        ("vertebra-detector", "vertebra-yolo", "003-vertebra-detector"),
        ("level-presence", "gcvit-yolo", "004-level-presence"),
        ("fracture-detector", "two-stage", "two-stage"),
        ("fracture-detector", "gcvit-yolo", "004-fracture-detector"),
        ("fracture-detector", None, "004-fracture-detector"),
        ("crack-detector", None, "SYSTEM"),
    ],
)
def test_task_or_profile_without_weights_names_the_commands_that_bring_them(store, installed, task, profile, system):
    whose = rf"{task} of profile {profile}" if profile else task
    with pytest.raises(
        UserError, match=rf"no weights for the {whose} .*'cspine train {system}'.*cspine models install"
    ):
        store.load(task, profile=profile)


def test_a_network_is_found_by_its_name_though_it_is_not_the_first(store, installed, weights):
    second = store.install(weights, replace(ENTRY, name="second"))
    assert store.find("slice-classifier") == second
    assert store.find("slice-classifier", "two-stage", "toy-classifier") == installed
    module, info = store.load_for_training("slice-classifier", name="toy-classifier")
    assert module.training
    assert info.name == "toy-classifier"


@pytest.mark.parametrize(
    ("task", "profile", "name", "words"),
    [
        ("slice-classifier", None, "nobody", "'nobody' is not on this computer: .* there is toy-classifier"),
        ("slice-classifier", "gcvit-yolo", "toy-classifier", "not a slice-classifier of profile gcvit-yolo: .*train"),
        ("fracture-detector", None, "toy-classifier", "not a fracture-detector: .*cspine train 004-fracture-detector"),
    ],
)
def test_a_name_that_does_not_fit_is_answered_with_those_that_do(store, installed, task, profile, name, words):
    for find in (store.find, store.load_for_training):
        with pytest.raises(UserError, match=words):
            find(task, profile, name)


def test_networks_for_whole_slices_say_so_and_older_descriptions_mean_crops(store, weights):
    size = {"spacing_mm": [None, None], "windows": [], "size": [96, 96]}
    whole = replace(ENTRY, name="whole", input={"image": "slice", "window": "minmax", **size})
    assert store.install(weights, whole).image == "slice"
    assert store.install(weights, ENTRY).image == "column-crop"
    assert [entry.image for entry in store.list()] == ["column-crop", "slice"]
    for wrong in ({"image": "page"}, {"image": "slice", "window": 500}):
        with pytest.raises(UserError, match="description is not valid"):
            store.install(weights, replace(whole, input={**size, **wrong}))


DEEP = ("level-resnet152", "level-inceptionv3")
"""In so many layers of random weights rounding grows, on some processors beyond a millionth."""
LEVELS = [f"level-{one}" for one in ("resnet152", "resnet152v1", "vgg19", "convnext", "inceptionv3", "vit", "swin")]


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("slice-densenet121", {}),
        ("level-densenet121", {"image_size": 64}),
        ("level-gcvit-tiny", {"image_size": 64}),
        pytest.param("slice-resnet50", {}, marks=pytest.mark.slow),
        *(pytest.param(name, {"image_size": 96}, marks=pytest.mark.slow) for name in LEVELS),
    ],
)
def test_networks_of_the_documents_come_back_as_they_were_saved(store, tmp_path, architecture, arguments):
    torch.manual_seed(0)
    network = create(architecture, **arguments)
    size = arguments.get("image_size", 64)
    inputs = [torch.rand(2, 1, size, size)]
    inputs += [torch.tensor([[40.0, 0.2], [160.0, 0.8]])] if architecture.startswith("level-") else []
    with torch.no_grad():
        network(*inputs)  # the averages of batch normalisation leave their start
        before = network.eval()(*inputs)
    entry = replace(ENTRY, name="net", architecture=architecture, arguments=arguments)
    metadata = as_metadata(entry)
    store.install(save_weights(network, tmp_path / "net.safetensors", torch.float32, metadata))
    again, _ = store.load("slice-classifier")
    torch.testing.assert_close(again.state_dict(), network.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        expected = prepare_for_inference(network)(*inputs)
        torch.testing.assert_close(again(*inputs), expected)
    rounding = {"rtol": 0, "atol": 0.005 * float(before.abs().max())} if architecture in DEEP else {}
    torch.testing.assert_close(expected, before, **rounding)  # channels last add up in another order
    assert not any(p.requires_grad for p in again.parameters())


def test_yolo_comes_fused_and_detects(store, tmp_path):
    from CSpineFractureLib.models.yolo import detect

    network = create("yolov8n", classes=1, channels=1).eval()
    path = save_weights(network, tmp_path / "yolo.safetensors")
    arguments = {"classes": 1, "channels": 1}
    task = "fracture-detector"
    store.install(path, replace(ENTRY, name="toy-yolo", task=task, architecture="yolov8n", arguments=arguments))
    module, _ = store.load(task)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module(image)[0], network(image)[0], rtol=0.01, atol=0.05)
    assert len(detect(module, image)) == 1


def test_missing_weights_are_named_with_the_remedy(store, installed):
    installed.path.unlink()
    with pytest.raises(UserError, match=rf"{installed.file} is missing: .*cspine models install"):
        store.load("slice-classifier")


def test_truncated_weights_are_refused(store, installed):
    installed.path.write_bytes(installed.path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=rf"{installed.file} is truncated .*cspine models install"):
        store.load("slice-classifier")


def test_altered_weights_are_refused_though_they_would_load(store, installed):
    data = bytearray(installed.path.read_bytes())
    data[-1] ^= 1
    installed.path.write_bytes(data)
    for action in (store.verify, store.load):
        with pytest.raises(UserError, match="another SHA-256"):
            action(installed)


def test_whole_weights_verify(store, installed):
    store.verify(installed)


def test_weights_of_another_network_are_not_installed(store, weights):
    with pytest.raises(UserError, match="another network"):
        store.install(weights, replace(ENTRY, arguments={"fc_layers": 2}))
    assert store.list() == []
    assert not store.user.exists()


def test_network_that_this_version_does_not_know_is_refused(store, weights):
    with pytest.raises(UserError, match="needs another version"):
        store.install(weights, replace(ENTRY, architecture="transformer-9000"))


@pytest.mark.parametrize("arguments", [{"architecture": "x"}, {"fc_layers": 10**9}, {"channels": -4}])
def test_arguments_that_no_network_has_are_refused(store, weights, arguments):
    with pytest.raises(UserError, match=r"^[^\n]*needs another version[^\n]*$"):
        store.install(weights, replace(ENTRY, arguments=arguments))
    assert not store.user.exists()


@pytest.mark.parametrize("change", [{"metrics": {"auc": float("nan")}}, {"trained_on": "\ud800"}])
def test_a_description_that_cannot_be_written_as_json_is_refused_and_leaves_nothing(store, weights, change):
    with pytest.raises(UserError, match="description is not valid"):
        store.install(weights, replace(ENTRY, **change))
    assert not store.user.exists()


def test_weights_that_are_not_finite_are_not_installed(store, tmp_path):
    state = SliceCNN(fc_layers=1).state_dict()
    next(iter(state.values()))[0] = float("nan")
    path = tmp_path / "run.safetensors"
    save_file(state, path, metadata=as_metadata(ENTRY))
    with pytest.raises(UserError, match="not finite"):
        store.install(path)


def test_pickle_is_not_installed(store, tmp_path):
    path = tmp_path / "weights.safetensors"
    torch.save(SliceCNN(fc_layers=1).state_dict(), path)
    with pytest.raises(UserError, match="not a safetensors file"):
        store.install(path, ENTRY)


@pytest.mark.parametrize(
    "change", [{"name": "../evil"}, {"name": "Évil"}, {"version": "1/2"}, {"trained_on": ""}, {"input": {}}]
)
def test_description_that_breaks_the_schema_is_refused(store, weights, change):
    with pytest.raises(UserError, match="description is not valid"):
        store.install(weights, replace(ENTRY, **change))
    assert not store.user.exists()


def test_new_version_replaces_the_old_and_its_file(store, installed, tmp_path):
    path = save_weights(SliceCNN(fc_layers=1), tmp_path / "new.safetensors")
    newer = store.install(path, replace(ENTRY, version="0.2"))
    assert store.list() == [newer]
    assert files(store) == sorted(["manifest.json", newer.file])


def test_old_version_stays_when_the_new_one_is_damaged(store, installed, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(installed.path.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        store.install(bad, replace(ENTRY, version="0.2"))
    assert store.list() == [installed]
    store.verify(installed)


def test_installing_the_same_file_twice_changes_nothing(store, installed, weights):
    assert store.install(weights, ENTRY) == installed
    store.verify(installed)
    assert files(store) == sorted(["manifest.json", installed.file])


def test_removed_network_is_gone_with_its_file(store, installed):
    store.remove("toy-classifier")
    assert store.list() == []
    assert files(store) == ["manifest.json"]
    with pytest.raises(UserError, match="not installed"):
        store.remove("toy-classifier")


def test_what_came_with_the_program_stays_in_use_until_the_user_installs_a_version_of_it(store, weights, tmp_path):
    bundled = WeightsStore(user=store.bundled, bundled=tmp_path / "none").install(weights, replace(ENTRY, name="ours"))
    assert store.find("slice-classifier") == bundled
    assert store.list()[0].bundled
    theirs = store.install(weights, ENTRY)
    assert store.find("slice-classifier") == bundled
    assert store.find("slice-classifier", name=ENTRY.name) == theirs
    newer = store.install(weights, replace(ENTRY, name="ours", version="9"))
    assert store.find("slice-classifier") == newer
    store.remove("ours")
    assert store.find("slice-classifier") == bundled
    with pytest.raises(UserError, match="came with the program"):
        store.remove("ours")
    bundled.path.unlink()
    store.verify(theirs)


@pytest.mark.parametrize(
    "file", ["../run.safetensors", "/etc/run.safetensors", "a/b.safetensors", "..\\b.safetensors", "b.pt"]
)
def test_manifest_that_leads_out_of_its_folder_is_refused(store, installed, file):
    path = store.user / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["models"][0]["file"] = file
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json is not a valid"):
        store.load("slice-classifier")


def test_link_that_leads_out_of_the_folder_is_refused(store, installed, weights):
    installed.path.unlink()
    try:
        installed.path.symlink_to(weights)
    except OSError:
        pytest.skip("this system makes no links")
    with pytest.raises(UserError, match="outside its folder"):
        store.load("slice-classifier")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "cspine-models/2", "models": []}', '{"schema": "cspine-models/1"}']
)
def test_broken_manifest_is_named_with_the_remedy(store, installed, text):
    (store.user / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json .*delete it"):
        store.list()


def test_two_entries_of_one_name_are_refused(store, installed):
    with pytest.raises(ValueError, match="twice"):
        write_manifest(store.user, [installed, installed])
    assert store.list() == [installed]


def test_folder_that_cannot_be_written_is_named(weights, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    store = WeightsStore(user=tmp_path / "file" / "models", bundled=tmp_path / "none")
    with pytest.raises(UserError, match="CSPINE_MODELS"):
        store.install(weights, ENTRY)


def test_user_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CSPINE_MODELS", str(tmp_path / "mine"))
    assert user_models_folder() == tmp_path / "mine"
    monkeypatch.delenv("CSPINE_MODELS")
    assert user_models_folder().parts[-2:] == ("CSpineFracture", "models")


def test_shipped_manifest_is_valid_and_every_file_it_names_verifies(tmp_path):
    store = WeightsStore(user=tmp_path)
    assert read_manifest(store.bundled, bundled=True) == store.list()
    for entry in store.list():
        store.verify(entry)
    assert sum(entry.size for entry in store.list()) < 40_000_000


def test_a_copied_folder_of_weights_works_elsewhere(store, installed, tmp_path):
    shutil.copytree(store.user, tmp_path / "elsewhere")
    module, _ = WeightsStore(user=tmp_path / "elsewhere", bundled=tmp_path / "none").load("slice-classifier")
    assert isinstance(module, SliceCNN)
