"""A YOLO run that was broken off goes on after its last whole epoch, and ends as if nothing had happened."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from yolo_tree import a_run, a_system, write_tree

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.weights_file import load_weights
from CSpineFractureLib.models.yolo import build_yolo
from CSpineFractureLib.training import yolo_checkpoint
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import RunFolder
from CSpineFractureLib.training.yolo_checkpoint import read_last, write_last
from CSpineFractureLib.training.yolo_fit import fit_boxes, identity

ROOT, HERE = Path(__file__).resolve().parents[2], Path(__file__).resolve().parent
CPU, EPOCHS, BATCHES = FitOptions("cpu"), 4, 2
KILLED = """
import os, signal, sys
from pathlib import Path
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import read_run
from CSpineFractureLib.training.yolo_fit import fit_boxes
def kill(event):
    if event["done"] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
fit_boxes(read_run(Path(sys.argv[1])), FitOptions("cpu"), kill)
"""


def ignore(event) -> None:
    pass


def a_short_run(folder: Path, **training) -> RunFolder:
    folder.mkdir(exist_ok=True)
    write_tree(folder, train=16, val=2)
    system = a_system(epochs=EPOCHS, **training)
    # with every kind of augmentation, so that the random streams matter
    return a_run(folder, replace(system, augmentation={"fliplr": 0.5, "translate": 0.2, "hsv_v": 0.3, "mosaic": 0.5}))


def weights_of(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_weights(build_yolo("yolov8n", 1, 3), run.weights).state_dict()


def logged(run: RunFolder) -> list[list[str]]:
    """The rows of the log without the time."""
    rows = [line.split(",") for line in (run.logs / "results.csv").read_text().splitlines()]
    return [[row[0], *row[2:]] for row in rows]


def seconds(run: RunFolder) -> list[float]:
    return [float(line.split(",")[1]) for line in (run.logs / "results.csv").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = a_short_run(tmp_path_factory.mktemp("whole"))
    fit_boxes(run, CPU, ignore)
    return run


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path, uninterrupted):
    run = a_short_run(tmp_path)
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    command = [sys.executable, "-c", KILLED, str(run.path), str(2 * BATCHES + 1)]
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -signal.SIGKILL
    assert not run.weights.exists()
    assert read_last(run.checkpoints, identity(run))["epoch"] == 1
    (run.checkpoints / "last.pt.part").write_bytes(b"killed while writing")
    events = []
    fit_boxes(run, CPU, events.append)
    assert events[0]["done"] == 2 * BATCHES + 1
    ours, theirs = weights_of(run), weights_of(uninterrupted)
    assert all(torch.allclose(ours[name].float(), theirs[name].float(), atol=1e-4) for name in theirs)
    assert [row[0] for row in logged(run)] == ["epoch", "1", "2", "3", "4"]
    assert seconds(run) == sorted(seconds(run))  # the time goes on, too


def test_a_run_stopped_by_the_user_goes_on_to_the_very_same_end(tmp_path, uninterrupted):
    def stop(event):
        if event["done"] == 3 * BATCHES - 1:
            raise KeyboardInterrupt

    run = a_short_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit_boxes(run, CPU, stop)
    with open(run.logs / "results.csv", "a", encoding="utf-8") as stream:
        stream.write("3,9" + ",0" * 12 + "\n")  # as after a kill between the log and the checkpoint
    fit_boxes(run, CPU, ignore)
    assert logged(run) == logged(uninterrupted)
    ours, theirs = weights_of(run), weights_of(uninterrupted)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_killed_after_its_last_epoch_only_exports(tmp_path, uninterrupted):
    run, events = RunFolder(uninterrupted.path, uninterrupted.setup), []
    before = weights_of(run)
    run.weights.unlink()
    fit_boxes(run, CPU, events.append)
    assert events == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(run).items())


def test_a_checkpoint_of_another_network_is_one_sentence(tmp_path):
    write_tree(tmp_path, train=2, val=2)
    run = a_run(tmp_path, a_system())
    write_last(run.checkpoints, {"identity": {**identity(run), "architecture": "yolov8s"}, "epoch": 0})
    with pytest.raises(UserError, match=r"another network \(architecture yolov8s instead of yolov8n\): delete"):
        fit_boxes(run, CPU, ignore)


class Harmful:
    """What a pickle could do."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", pickle.dumps({"a": Harmful()})])
def test_a_damaged_checkpoint_is_one_sentence_and_runs_no_code(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path, train=2, val=2)
    run = a_run(tmp_path, a_system())
    run.checkpoints.mkdir()
    (run.checkpoints / "last.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt' is damaged or of another version: delete"):
        fit_boxes(run, CPU, ignore)
    assert not (tmp_path / "harmed").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    names = {"architecture": "yolov8n"}
    write_last(tmp_path, {"identity": names, "epoch": 1, "model": {"a": torch.ones(3)}})

    def full(source, target):
        raise OSError

    monkeypatch.setattr(yolo_checkpoint.os, "replace", full)
    with pytest.raises(OSError):  # noqa: PT011
        write_last(tmp_path, {"identity": names, "epoch": 2, "model": {"a": torch.zeros(3)}})
    assert read_last(tmp_path, names)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
