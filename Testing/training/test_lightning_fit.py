"""Training of the slice classifiers and level-presence networks on made pictures, to weights that can be installed."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_pictures import a_run, make_tree, tiny_networks
from safetensors.torch import load_file, save_file

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import as_metadata
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.slice_cnn import SliceCNN
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.training import lightning_fit, slice_run
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.learner import check_plan
from CSpineFractureLib.training.lightning_keep import BEST, LAST, PREVIOUS, checkpoint_of
from CSpineFractureLib.training.slice_export import exported_network, new_network
from CSpineFractureLib.training.slice_run import fit as fit_slices
from CSpineFractureLib.training.slice_run import look as predict_slices
from CSpineFractureLib.training.teachable import TeachableCNN, plain, teachable

CPU = FitOptions(device="cpu")
CLASSIFIER, LEVELS = "000-slice-classifier", "004-level-presence"
SMALL = {"input__size": 64, "training__epochs": 1, "training__batch": 8}
"""For the tiny networks."""


@pytest.fixture(autouse=True, scope="module")
def tiny():
    with tiny_networks():
        yield


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A slice CNN that was trained to the end, and the events on the way."""
    folder, events = tmp_path_factory.mktemp("runs"), []
    make_tree(folder / "images", 192, train=40, val=16)
    make_tree(folder / "images-other", 200, train=0, val=12, split="test")
    run = a_run(
        folder,
        CLASSIFIER,
        "slice-cnn",
        input__size=192,
        training__epochs=4,
        training__batch=8,
        training__learning_rate=0.001,
    )
    fit_slices(run, CPU, events.append)
    return run, events


def table(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_slice_cnn_learns_what_it_is_shown(fitted):
    run, _events = fitted
    rows = table(predict_slices(run, "val", "cpu"))
    right = [(float(row["probability"]) > 0.5) == (row["truth"] == "1") for row in rows]
    assert len(rows) == 16
    assert np.mean(right) >= 0.85
    assert list(rows[0]) == ["file", "study", "k", "split", "strata", "truth", "probability"]
    assert {row["split"] for row in rows} == {"val"}


def test_another_set_is_its_split_test(fitted):
    run, _events = fitted
    rows = table(predict_slices(run, "other", "cpu"))
    assert len(rows) == 12
    assert {row["split"] for row in rows} == {"test"}


def test_every_epoch_is_a_row_of_the_log(fitted):
    run, _events = fitted
    rows = table(run.logs / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"]) == pytest.approx(0.001)
    assert float(rows[-1]["seconds"]) > float(rows[0]["seconds"]) > 0
    assert {"val_loss", "val_accuracy", "val_auc", "train_accuracy"} <= set(rows[0])
    assert list((run.logs / "tensorboard").glob("events*"))


def test_progress_counts_the_batches_of_all_epochs(fitted):
    _run, events = fitted
    training = [event for event in events if event["stage"] == "train"]
    assert training[0]["done"] == 1
    assert {event["total"] for event in training} == {20}
    assert [event["done"] for event in training] == sorted(event["done"] for event in training)
    assert training[-1]["done"] == 20
    assert training[-1]["message"].startswith("Epoch 4 of 4, loss 0.")
    assert "val accuracy" in training[-1]["message"]
    assert {event["stage"] for event in events} == {"pictures", "train"}


def test_a_finished_run_is_left_as_it_is(fitted):
    run, _events = fitted
    before, events = run.weights.stat().st_mtime_ns, []
    fit_slices(run, CPU, events.append)
    assert run.weights.stat().st_mtime_ns == before
    assert not events


def test_the_weights_can_be_installed_and_are_a_plain_slice_cnn(fitted, tmp_path):
    run, _events = fitted
    store = WeightsStore(user=tmp_path / "models", bundled=tmp_path / "none")
    entry = store.install(run.weights)
    module, info = store.load("slice-classifier", profile="two-stage")
    assert isinstance(module, SliceCNN)
    assert entry.input["image"] == "slice"
    assert entry.input["size"] == [192, 192]
    assert "synthetic" in info.trained_on


def test_training_says_nothing(tmp_path, capfd):
    make_tree(tmp_path / "images", 64, train=16, val=8)
    fit_slices(a_run(tmp_path, CLASSIFIER, "slice-tiny", **SMALL), CPU, lambda event: None)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_the_exported_network_has_the_logits_of_the_one_that_learnt():
    torch.manual_seed(0)
    model = teachable(SliceCNN())
    assert isinstance(model, TeachableCNN)
    images = torch.rand(4, 1, 224, 224)
    for _ in range(3):
        model(images)  # moves the running statistics
    model.eval()
    exported = plain(model)
    assert type(exported) is SliceCNN
    with torch.no_grad():
        torch.testing.assert_close(exported(images), model(images), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(model.network(images), model(images))  # the original is not changed


def test_level_presence_learns_from_picture_and_metadata_and_keeps_its_image_size(tmp_path):
    make_tree(tmp_path / "images", 64, train=21, val=14, levels=True)
    run = a_run(tmp_path, LEVELS, "level-tiny", **SMALL)
    fit_slices(run, CPU, lambda event: None)
    row = table(predict_slices(run, "val", "cpu"))[0]
    names = [f"C{n}" for n in range(1, 8)]
    assert list(row) == ["file", "study", "k", "strata", *(f"t_{n}" for n in names), *(f"p_{n}" for n in names)]
    assert {"val_macro_f1", "val_exact_match", "val_accuracy"} <= set(table(run.logs / "metrics.csv")[0])
    assert exported_network(run).image_size == 64
    assert run.weights.is_file()


@pytest.mark.parametrize(
    ("schedule", "optimiser", "falls"),
    [("plateau", "adamw", False), ("constant", "sgd", False), ("cosine", "adam", True)],
)
def test_schedules_move_the_learning_rate(tmp_path, schedule, optimiser, falls):
    make_tree(tmp_path / "images", 64, train=8, val=4)
    plan = {**SMALL, "training__epochs": 2, "training__schedule": schedule, "training__optimiser": optimiser}
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **plan)
    fit_slices(run, CPU, lambda event: None)
    rates = [float(row["learning_rate"]) for row in table(run.logs / "metrics.csv")]
    assert (rates[1] < rates[0]) == falls


def test_mixed_precision_learns_too_and_keeps_float32_weights(tmp_path):
    make_tree(tmp_path / "images", 64, train=16, val=8)
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **{**SMALL, "training__epochs": 3})
    fit_slices(run, FitOptions(device="cpu", precision="bf16-mixed"), lambda event: None)
    losses = [float(row["train_loss"]) for row in table(run.logs / "metrics.csv")]
    assert losses[-1] < losses[0]
    assert {tensor.dtype for tensor in load_file(run.checkpoints / "best.safetensors").values()} == {
        torch.float32,
        torch.int64,
    }


def test_starting_weights_from_a_file_are_where_training_begins(tmp_path):
    make_tree(tmp_path / "images", 64, train=8, val=4)
    torch.manual_seed(1)
    save_file(create("slice-tiny").state_dict(), tmp_path / "start.safetensors")
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", start=str(tmp_path / "start.safetensors"), **SMALL)
    given = load_file(tmp_path / "start.safetensors")
    begun = new_network(run.setup)
    assert torch.equal(begun.state_dict()["backbone.0.weight"], given["backbone.0.weight"])
    assert begun.training


def test_a_level_network_that_starts_from_weights_keeps_its_frozen_part(tmp_path):
    make_tree(tmp_path / "images", 64, train=14, val=7, levels=True)
    arguments = {"image_size": 64}
    torch.manual_seed(1)
    save_file(create("level-tiny", **arguments).state_dict(), tmp_path / "start.safetensors")
    run = a_run(tmp_path, LEVELS, "level-tiny", start=str(tmp_path / "start.safetensors"), **SMALL)
    fit_slices(run, CPU, lambda event: None)
    before, after = load_file(tmp_path / "start.safetensors"), load_file(run.checkpoints / "best.safetensors")
    assert torch.equal(before["backbone.0.weight"], after["backbone.0.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_the_shipped_slice_cnn_is_a_start(tmp_path):
    make_tree(tmp_path / "images", 64, train=8, val=4)
    run = a_run(tmp_path, CLASSIFIER, "slice-cnn", start="shipped")
    shipped, _info = WeightsStore().load("slice-classifier", profile="two-stage")
    model = teachable(new_network(run.setup))
    images = torch.rand(16, 1, 224, 224) * 0.1 + 0.25
    model.match_norms(images)
    with torch.no_grad():
        torch.testing.assert_close(plain(model)(images), shipped(images), rtol=0.02, atol=0.02)


def test_weights_of_another_kind_are_no_shipped_start(tmp_path):
    with pytest.raises(UserError, match="no weights of slice-densenet121"):
        new_network(a_run(tmp_path, CLASSIFIER, "slice-densenet121", start="shipped").setup)
    with pytest.raises(UserError, match="'slice-cnn'"):
        new_network(a_run(tmp_path, CLASSIFIER, "slice-cnn-fc1", start="shipped").setup)


@pytest.mark.parametrize(
    ("system", "model", "size"), [(CLASSIFIER, "slice-cnn", 96), (LEVELS, "level-gcvit-tiny", 100)]
)
def test_images_of_a_wrong_size_are_one_sentence(tmp_path, system, model, size):
    make_tree(tmp_path / "images", 64, train=14, val=7, levels=system == LEVELS)
    with pytest.raises(UserError, match=f"{size} x {size} pixels.*: use --set input.size=224"):
        fit_slices(a_run(tmp_path, system, model, input__size=size), CPU, lambda event: None)


@pytest.mark.parametrize(("key", "value"), [("optimiser", "adagrad"), ("schedule", "never"), ("monitor", "macro_f1")])
def test_a_training_that_cannot_be_is_one_sentence(tmp_path, key, value):
    make_tree(tmp_path / "images", 64, train=8, val=4)
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **{**SMALL, f"training__{key}": value})
    with pytest.raises(UserError, match=rf"training\.{key} is '{value}': use one of"):
        fit_slices(run, CPU, lambda event: None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schedule": "step", "step_epochs": None}, r"training\.step_epochs is None: give a number from 1"),
        ({"schedule": "step", "step_epochs": 0}, r"training\.step_epochs is 0: give a number from 1"),
        ({"optimiser": "sgd", "momentum": "much"}, r"training\.momentum is 'much': give a number from 0 to 1"),
    ],
)
def test_numbers_that_a_schedule_or_an_optimiser_cannot_use_are_one_sentence(tmp_path, changes, words):
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **{**SMALL, **{f"training__{k}": v for k, v in changes.items()}})
    with pytest.raises(UserError, match=words):
        check_plan(run.setup.system)


def test_the_schedule_step_needs_its_epochs(tmp_path):
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **{**SMALL, "training__schedule": "step"})
    with pytest.raises(UserError, match=r"needs training\.step_epochs"):
        check_plan(run.setup.system)


@pytest.mark.parametrize("lost", ["optimizer_states", "pytorch-lightning_version"])
def test_a_checkpoint_that_lacks_a_part_is_passed_over(tmp_path, lost):
    network = torch.nn.Linear(2, 1)
    whole = {"state_dict": network.state_dict(), "optimizer_states": [], "pytorch-lightning_version": "2"}
    torch.save(whole, tmp_path / PREVIOUS)
    torch.save({key: value for key, value in whole.items() if key != lost}, tmp_path / LAST)
    assert checkpoint_of(tmp_path, network) == tmp_path / PREVIOUS
    torch.save(whole, tmp_path / LAST)
    assert checkpoint_of(tmp_path, network) == tmp_path / LAST


def test_a_full_disk_is_one_sentence_and_leaves_no_weights(tmp_path, monkeypatch):
    make_tree(tmp_path / "images", 64, train=8, val=4)
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **SMALL)

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("CSpineFractureLib.training.lightning_keep.os.fsync", full)
    with pytest.raises(UserError, match="no space left") as caught:
        fit_slices(run, CPU, lambda event: None)
    assert str(run.path) in str(caught.value)
    assert not run.weights.exists()
    assert not list(run.checkpoints.glob("*.part"))


def test_too_little_memory_is_one_sentence(tmp_path, monkeypatch):
    make_tree(tmp_path / "images", 64, train=8, val=4)

    def short(self, batch, number):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(slice_run.SliceTask, "training_step", short)
    with pytest.raises(UserError, match=r"lower training\.batch"):
        fit_slices(a_run(tmp_path, CLASSIFIER, "slice-tiny", **SMALL), CPU, lambda event: None)


def test_a_learning_rate_that_is_far_too_high_is_one_sentence(tmp_path):
    make_tree(tmp_path / "images", 64, train=16, val=4)
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **SMALL, training__optimiser="sgd", training__learning_rate=1e30)
    with pytest.raises(UserError, match=r"lower training\.learning_rate"):
        fit_slices(run, CPU, lambda event: None)
    assert not run.weights.exists()


def test_predicting_before_the_end_of_training_is_one_sentence(tmp_path):
    make_tree(tmp_path / "images", 64, train=8, val=4)
    with pytest.raises(UserError, match="holds no weights yet"):
        predict_slices(a_run(tmp_path, CLASSIFIER, "slice-cnn"), "val", "cpu")


@pytest.mark.parametrize("damage", ["truncated", "of another network"])
def test_damaged_weights_of_a_run_name_what_to_delete(fitted, tmp_path, damage):
    whole, _ = fitted
    run = replace(whole, path=Path(shutil.copytree(whole.path.parent, tmp_path / "runs")) / whole.path.name)
    if damage == "truncated":
        run.weights.write_bytes(run.weights.read_bytes()[:100])
    else:
        entry = replace(run.entry(), architecture="slice-resnet50", arguments={})
        save_file(load_file(whole.weights), run.weights, metadata=as_metadata(entry))
    with pytest.raises(UserError, match=r"slice-cnn\.safetensors' [^\n]*: delete it, and 'cspine train 000-slice-cl"):
        exported_network(run)
    run.weights.unlink()
    fit_slices(run, CPU, lambda event: None)  # what the sentence promises
    assert run.weights.read_bytes() == whole.weights.read_bytes()


def test_a_lost_best_epoch_names_what_to_delete(fitted, tmp_path):
    whole, _ = fitted
    run = replace(whole, path=Path(shutil.copytree(whole.path.parent, tmp_path / "runs")) / whole.path.name)
    run.weights.unlink()
    (run.checkpoints / BEST).write_bytes(b"cut")
    with pytest.raises(UserError, match=r"best\.safetensors [^\n]*: delete '[^']*checkpoints' and give the same"):
        fit_slices(run, CPU, lambda event: None)


def test_more_gpus_than_there_are_is_one_sentence(tmp_path, monkeypatch):
    make_tree(tmp_path / "images", 64, train=8, val=4)
    monkeypatch.setattr(lightning_fit, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    run = a_run(tmp_path, CLASSIFIER, "slice-tiny", **SMALL)
    with pytest.raises(UserError, match="--gpus 2 cannot be used: this computer has 1"):
        fit_slices(run, FitOptions(device="cuda", devices=2), lambda event: None)


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path, monkeypatch):
    events = []
    make_tree(tmp_path / "images", 64, train=32, val=8)
    monkeypatch.setattr(lightning_fit, "choose_device", lambda name: torch.device("cpu"))
    run = a_run(tmp_path, CLASSIFIER, "slice-resnet50", **SMALL)
    fit_slices(run, FitOptions(device="auto", devices=2), events.append)
    assert run.weights.is_file()
    assert {event["total"] for event in events if event["stage"] == "train"} == {2}  # 32 pictures, 2 processes, 8 each
    assert len(table(run.logs / "metrics.csv")) == 1


def test_the_weights_say_what_they_are(fitted):
    from CSpineFractureLib.models.weights_file import read_metadata

    run, _events = fitted
    document = json.loads(read_metadata(run.weights)["cspine-models/1"])
    assert document["architecture"] == "slice-cnn"
    assert document["arguments"]["fc_layers"] == 3
