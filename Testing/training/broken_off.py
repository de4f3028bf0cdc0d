"""Trainings that are killed or stopped, and what they must end as: the undisturbed one, to the last bit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.run_folder import RunFolder

CPU = FitOptions(device="cpu")
BEFORE = """
import sys, time
from pathlib import Path
import torch
from CSpineFractureLib.training.fit_options import FitOptions
torch.set_num_threads(1)
CPU, folder = FitOptions(device="cpu"), Path(sys.argv[1])
def slowly(event):
    time.sleep(0.05)
    print(event["stage"], event["done"], flush=True)
"""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch counts on one thread: more only wait for each other, and sums over two round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def kill_after(folder: Path, training: str, done: int) -> None:
    """Train in another process, on one thread, and kill it without warning after so many batches.

    ``training`` is a program that fits a run below ``folder`` with the options ``CPU`` and the events ``slowly``.
    """
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    command = [sys.executable, "-c", BEFORE + textwrap.dedent(training), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths})
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


def stop_after(fit: Callable[..., None], run: RunFolder, batches: int, fault: type = RuntimeError) -> None:
    """Train a run until so many batches are done."""

    def stop(event: dict[str, Any]) -> None:
        if event["stage"] == "train" and event["done"] == batches:
            raise fault

    with pytest.raises(fault):
        fit(run, CPU, stop)


def break_off_and_go_on(fit: Callable[..., None], whole: RunFolder, broken: RunFolder) -> None:
    """Train two equal runs to their end, one of them stopped half-way by Ctrl+C first; both end up the same."""
    fit(whole, CPU, lambda event: None)

    def stop(event: dict[str, Any]) -> None:
        if event["stage"] == "train" and event["done"] >= event["total"] // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(broken, CPU, stop)
    assert not broken.weights.is_file()
    fit(broken, CPU, lambda event: None)
    assert_same_weights(whole.weights, broken.weights)


def go_on(fit: Callable[..., None], run: RunFolder) -> int:
    """Train a run to its end; returns how many batches were done after the first one."""
    events: list[dict[str, Any]] = []
    fit(run, CPU, events.append)
    return next(event["done"] for event in events if event["stage"] == "train")


def assert_same_weights(ours: Path, theirs: Path) -> None:
    """Two files hold the same, to the last bit."""
    first, second = load_file(ours), load_file(theirs)
    assert first
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in second)
