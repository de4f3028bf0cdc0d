"""A training of the vertebra classifier that is killed ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from made_vertebrae import a_run, make_crops
from safetensors.torch import load_file

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import vertebra_run
from CSpineFractureLib.training.fit_options import FitOptions

PLAN = {"training__epochs": 2, "training__batch": 4, "training__learning_rate": 0.002}
SCRIPT = """
import sys, time
from pathlib import Path
import torch
from made_vertebrae import a_run
from CSpineFractureLib.training import vertebra_run
from CSpineFractureLib.training.fit_options import FitOptions
torch.set_num_threads(1)
def slowly(event):
    time.sleep(0.05)
    print(event["stage"], event["done"], flush=True)
vertebra_run.fit(a_run(Path(sys.argv[1]), **PLAN), FitOptions(device="cpu"), slowly)
"""


def kill_after(folder: Path, done: int) -> None:
    """Train in another process and kill it without warning after so many batches."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    script = textwrap.dedent(SCRIPT).replace("PLAN", repr(PLAN))
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, env=environment)
    try:
        for line in process.stdout:
            stage, number = line.split()
            if stage == b"train" and int(number) >= done:
                break
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(autouse=True)
def one_thread():
    """As in the other process: sums over two threads round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path) -> None:
    runs = []
    for name in ("undisturbed", "killed"):
        make_crops(tmp_path / name / "images", train=6, val=3)
        if name == "killed":
            kill_after(tmp_path / name, done=8)  # of 12; six to an epoch, so in the second
        run = a_run(tmp_path / name, **PLAN)
        assert (run.checkpoints / "last.ckpt").is_file() == (name == "killed")
        assert not run.weights.exists()
        events = []
        vertebra_run.fit(run, FitOptions(device="cpu"), events.append)
        runs.append(run)
    assert next(event["done"] for event in events if event["stage"] == "train") == 7
    ours, theirs = (load_file(run.weights) for run in runs)
    assert ours
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(UserError, match="another training"):
        a_run(tmp_path / "killed", **{**PLAN, "training__epochs": 9})
