"""A training that is killed goes on from its last checkpoint and ends as if nothing had happened."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest
import torch
from broken_off import CPU, assert_same_weights, go_on, kill_after, one_thread, stop_after
from made_pictures import a_run, make_tree, tiny_networks

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.lightning_keep import Keep, checkpoint_of
from CSpineFractureLib.training.slice_run import fit as fit_slices

PLAN = {
    "input__size": 64,
    "training__epochs": 5,
    "training__batch": 8,
    "training__learning_rate": 0.002,
    "training__schedule": "plateau",
}
TRAINING = f"""
from made_pictures import a_run, tiny_networks
from CSpineFractureLib.training.slice_run import fit
with tiny_networks():
    fit(a_run(folder, "000-slice-classifier", "slice-tiny", **{PLAN!r}), CPU, slowly)
"""


@pytest.fixture(autouse=True, scope="module")
def tiny():
    with one_thread(), tiny_networks():
        yield


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """A run that was never broken off."""
    run = begin(tmp_path_factory.mktemp("undisturbed"))
    fit_slices(run, CPU, lambda event: None)
    return run


def begin(folder, **changes):
    make_tree(folder / "images", 64, train=43, val=16)
    return a_run(folder, "000-slice-classifier", "slice-tiny", **{**PLAN, **changes})


def figures(run):
    with open(run.logs / "metrics.csv", encoding="utf-8", newline="") as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def assert_same(run, other):
    """The same figures in all epochs, and the same weights to the last bit."""
    assert [row["epoch"] for row in figures(run)] == ["0", "1", "2", "3", "4"]
    for row, expected in zip(figures(run), figures(other), strict=True):
        assert {name for name in row if row[name] != expected[name]} <= {"train_loss", "train_accuracy"}
    for path in ("slice-tiny.safetensors", "checkpoints/best.safetensors"):
        assert_same_weights(run.path / path, other.path / path)


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(undisturbed, tmp_path):
    run = begin(tmp_path)
    kill_after(tmp_path, TRAINING, done=15)  # of 30; six to an epoch, so in the third
    assert (run.checkpoints / "last.ckpt").is_file()
    assert not run.weights.exists()
    assert len(figures(run)) == 2
    assert go_on(fit_slices, run) == 13
    assert_same(run, undisturbed)


def test_a_checkpoint_inside_an_epoch_goes_on_with_the_pictures_that_were_not_seen(undisturbed, tmp_path, monkeypatch):
    run = begin(tmp_path)
    monkeypatch.setattr(Keep.__init__, "__defaults__", (0.0,))  # after every batch
    stop_after(fit_slices, run, batches=16)
    monkeypatch.undo()
    assert go_on(fit_slices, run) == 16
    assert_same(run, undisturbed)


def test_loader_processes_change_nothing(undisturbed, tmp_path):
    run = begin(tmp_path)
    fit_slices(run, FitOptions(device="cpu", workers=1), lambda event: None)
    assert_same(run, undisturbed)


def test_a_training_killed_before_its_export_only_exports(undisturbed, tmp_path):
    run = begin(tmp_path)
    fit_slices(run, CPU, lambda event: None)
    run.weights.unlink()
    events = []
    fit_slices(run, CPU, events.append)
    assert {event["stage"] for event in events} == {"pictures"}
    assert_same(run, undisturbed)


def test_a_truncated_checkpoint_gives_way_to_the_one_before(undisturbed, tmp_path):
    run = begin(tmp_path)
    stop_after(fit_slices, run, batches=13)
    last = run.checkpoints / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    assert checkpoint_of(run.checkpoints, a_module(run)).name == "previous.ckpt"
    fit_slices(run, CPU, lambda event: None)
    assert_same(run, undisturbed)


def test_without_a_whole_checkpoint_training_begins_anew(undisturbed, tmp_path):
    run = begin(tmp_path)
    run.checkpoints.mkdir()
    for name in ("last.ckpt", "previous.ckpt"):
        (run.checkpoints / name).write_bytes(b"PK\x03\x04 not whole")
    fit_slices(run, CPU, lambda event: None)
    assert_same(run, undisturbed)


def test_ctrl_c_stops_and_the_same_call_goes_on(undisturbed, tmp_path):
    run, handler = begin(tmp_path), signal.getsignal(signal.SIGINT)
    stop_after(fit_slices, run, batches=14, fault=KeyboardInterrupt)
    assert not run.weights.exists()
    assert (run.checkpoints / "last.ckpt").is_file()
    assert signal.getsignal(signal.SIGINT) is handler
    fit_slices(run, CPU, lambda event: None)
    assert_same(run, undisturbed)


def test_a_checkpoint_of_another_architecture_is_one_sentence(tmp_path):
    run = begin(tmp_path)
    stop_after(fit_slices, run, batches=8)
    other = a_run(tmp_path, "000-slice-classifier", "slice-resnet50", **PLAN)
    other.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt").rename(other.checkpoints / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt' is a checkpoint of another architecture"):
        fit_slices(other, CPU, lambda event: None)
    assert not other.weights.exists()


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path):
    run = begin(tmp_path)
    run.checkpoints.mkdir()
    torch.save({"state_dict": Trap(tmp_path / "sprung")}, run.checkpoints / "last.ckpt")
    assert checkpoint_of(run.checkpoints, a_module(run)) is None
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def a_module(run):
    from CSpineFractureLib.training.slice_export import new_network
    from CSpineFractureLib.training.slice_task import SliceTask

    return SliceTask(new_network(run.setup), run.setup.system)
