"""The record of a run tells how long all its parts were trained, however they ended."""

from __future__ import annotations

import sys
import time

import pytest
from broken_off import CPU, kill_after, one_thread
from made_pictures import a_run, make_tree, tiny_networks

from CSpineFractureLib.training.measure_run import measure_run
from CSpineFractureLib.training.metrics_file import read_metrics
from CSpineFractureLib.training.run_clock import SECONDS_FILE, timed, trained_seconds
from CSpineFractureLib.training.run_steps import Order, train_model

PLAN = {"input__size": 64, "training__epochs": 3, "training__batch": 8}
PAUSE = 0.6
TRAINING = f"""
from made_pictures import a_run, tiny_networks
from CSpineFractureLib.training import run_clock
from CSpineFractureLib.training.slice_run import fit
run_clock.EVERY_SECONDS = 0.2
with tiny_networks():
    run = a_run(folder, "000-slice-classifier", "slice-tiny", **{PLAN!r})
    with run_clock.timed(run, slowly) as tell:
        fit(run, CPU, tell)
"""


@pytest.fixture(autouse=True, scope="module")
def tiny():
    with one_thread(), tiny_networks():
        yield


@pytest.fixture
def begun(tmp_path):
    """A run of three batches an epoch."""
    make_tree(tmp_path / "images", 64, train=24, val=8)
    return a_run(tmp_path, "000-slice-classifier", "slice-tiny", **PLAN)


@pytest.fixture
def order(begun, tmp_path):
    """What trains that run."""
    system, setup = begun.setup.system, begun.setup
    (tmp_path / system.folder).mkdir()
    (tmp_path / "images").rename(tmp_path / system.folder / "images")
    return Order(system, tmp_path, setup.source, tmp_path / "studies", setup.seed)


def test_time_is_added_up_over_the_parts_of_a_run(order):
    def pause(event):
        if event["stage"] == "train" and event["done"] in (4, 8):
            time.sleep(PAUSE)

    def stop(event):
        pause(event)
        if event["stage"] == "train" and event["done"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(order, "slice-tiny", CPU, stop)
    run, metrics = train_model(order, "slice-tiny", CPU, pause)
    assert metrics.seconds >= 3 * PAUSE  # batch 4 was done twice: its epoch had not ended
    assert metrics.seconds == pytest.approx(trained_seconds(run))
    again = train_model(order, "slice-tiny", CPU, pause)[1]  # finished: nothing is trained
    assert again.seconds == metrics.seconds
    measure_run(run.path, "val", samples=0)
    assert read_metrics(run.path / "metrics-val.json").seconds == metrics.seconds


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_part_that_was_killed_counts(begun, tmp_path):
    kill_after(tmp_path, TRAINING, done=8)  # slowly: 0.05 seconds each
    assert begun.checkpoints.is_dir()
    before = trained_seconds(begun)
    assert before >= 0.2
    with timed(begun, lambda event: None):
        time.sleep(PAUSE)
    assert trained_seconds(begun) == pytest.approx(before + PAUSE, abs=0.2)


def test_a_run_without_a_checkpoint_begins_at_nought(begun):
    begun.logs.mkdir()
    (begun.logs / SECONDS_FILE).write_text("100.0\n", encoding="utf-8")
    with timed(begun, lambda event: None):
        begun.checkpoints.mkdir()
        (begun.checkpoints / "last.ckpt").touch()
    assert trained_seconds(begun) < 1


@pytest.mark.parametrize("text", ["", "long", "\x00"])
def test_a_damaged_note_counts_as_nought(begun, text):
    begun.logs.mkdir()
    (begun.logs / SECONDS_FILE).write_text(text, encoding="utf-8")
    assert trained_seconds(begun) == 0


def test_a_training_that_fails_before_it_begins_leaves_no_note(begun):
    with pytest.raises(KeyboardInterrupt), timed(begun, lambda event: None):
        raise KeyboardInterrupt
    assert not begun.logs.exists()
