from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.pipeline.worker_client import WorkerClient
from CSpineFractureLib.volume.ct_volume import CTVolume

HERE = Path(__file__).resolve().parent
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(HERE)!r}); import fake_profile; "
    "from CSpineFractureLib.pipeline.worker import main; main('cpu')"
)
COMMAND = [sys.executable, "-c", PROGRAM]


@pytest.fixture
def volume() -> CTVolume:
    hu = np.full((28, 24, 24), -1000, np.int16)
    hu[:, 6:18, 6:18] = 300
    return CTVolume(
        hu, np.diag([-1.0, -1.0, 3.0, 1.0]), series_uid="1.2.3", notices=(Notice("thick", "Thick slices."),)
    )


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with WorkerClient(COMMAND) as worker:
        yield worker
    assert list(tmp_path.iterdir()) == []  # the private folders are gone


def wait_for_progress(client):
    while not any(event["event"] == "progress" and event["stage"] == "fake" for event in client.poll(0.5)):
        assert client.is_busy


def test_a_study_given_as_a_volume_comes_back_with_result_and_arrays(client, volume):
    stages = []
    analysed, output = client.run(volume, "fake", on_event=lambda event: stages.append(event["stage"]))
    assert analysed is volume
    assert output.result.profile == "fake"
    assert output.result.volume.series_uid == "1.2.3"
    assert "thick" in [notice.code for notice in output.result.warnings]
    assert set(np.unique(output.labels)) == set(range(8))
    assert output.cam.dtype == np.uint8
    assert np.allclose(output.cam_ijk_to_ras, volume.ijk_to_ras)
    assert "fake" in stages


def test_one_process_runs_study_after_study(client, volume):
    client.run(volume, "fake")
    first = client.pid
    client.run(volume, "fake")
    assert client.pid == first


def test_what_libraries_print_does_not_reach_the_protocol(client, volume):
    _, output = client.run(volume, "fake", thresholds={"noise": 1})
    assert output.result.status == "complete"


def test_a_users_error_and_a_fault_of_the_program_leave_the_worker_alive(client, volume):
    with pytest.raises(UserError, match="no profile 'nonsense'"):
        client.run(volume, "nonsense")
    pid = client.pid
    with pytest.raises(RuntimeError, match="something broke"):
        client.run(volume, "fake", thresholds={"crash": 1})
    client.run(volume, "fake")
    assert client.pid == pid


def test_networks_named_by_task_reach_the_engine(client, volume):
    with pytest.raises(UserError, match="fake has no network for the task 'nose-detector'"):
        client.run(volume, "fake", models={"nose-detector": "x"})


def test_cancel_is_answered_between_batches_and_the_worker_lives_on(client, volume):
    client.submit(volume, "fake", thresholds={"steps": 200, "delay": 0.05})
    wait_for_progress(client)
    pid = client.pid
    client.cancel()
    events = []
    while client.is_busy:
        events += client.poll(0.5)
    assert events[-1]["event"] == "cancelled"
    client.run(volume, "fake")
    assert client.pid == pid


def test_a_worker_deaf_to_cancel_is_killed_within_two_seconds_and_replaced(client, volume):
    client.submit(volume, "fake", thresholds={"steps": 200, "delay": 5, "deaf": 1})
    wait_for_progress(client)
    pid = client.pid
    start = time.monotonic()
    client.cancel()
    events = []
    while client.is_busy:
        events += client.poll(0.5)
    assert time.monotonic() - start < 2
    assert events[-1]["event"] == "cancelled"
    assert not psutil.pid_exists(pid)
    client.run(volume, "fake")
    assert client.pid != pid


def test_run_raises_cancelled(client, volume):
    with pytest.raises(Cancelled):
        client.run(volume, "fake", thresholds={"steps": 200, "delay": 0.05}, is_cancelled=lambda: True)


def test_a_worker_killed_from_outside_is_a_plain_error_and_is_replaced(client, volume):
    client.submit(volume, "fake", thresholds={"steps": 200, "delay": 0.05})
    wait_for_progress(client)
    psutil.Process(client.pid).kill()
    events = []
    while client.is_busy:
        events += client.poll(0.5)
    assert (events[-1]["event"], events[-1]["kind"]) == ("error", "died")
    client.run(volume, "fake")


def test_a_worker_that_dies_by_itself_is_a_plain_error(client, volume):
    with pytest.raises(UserError, match="ended unexpectedly"):
        client.run(volume, "fake", thresholds={"die": 1})


def test_a_worker_that_cannot_start_is_a_plain_error(volume):
    with pytest.raises(UserError, match="could not be started"):
        WorkerClient(["/nowhere/python"]).run(volume)


def talk(lines: list[str], timeout: float = 30) -> list[dict]:
    """Feed raw lines to a worker, close its stdin, and return what it said on stdout."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        COMMAND, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=timeout, env=environment
    )
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_bad_requests_get_an_answer_and_do_not_end_the_worker(tmp_path):
    run = {"command": "run", "id": "1", "input": "x.nrrd", "arrays": str(tmp_path)}
    bad = [
        "this is not JSON",
        "[1, 2]",
        "null",
        '{"command": "dance"}',
        '{"command": "cancel", "id": ["unhashable"]}',
        json.dumps({**run, "id": 7}),
        json.dumps({**run, "input": 3}),
        json.dumps({**run, "arrays": str(tmp_path / "absent")}),
        json.dumps({**run, "thresholds": [1]}),
        json.dumps({**run, "models": ["slice-cnn"]}),
    ]
    ready, *answers = talk([*bad, '{"command": "quit"}'])
    assert ready["event"] == "ready"
    assert [(answer["event"], answer["kind"]) for answer in answers] == [("error", "request")] * len(bad)


def test_a_volume_outside_the_private_folder_is_not_read(tmp_path):
    np.save(tmp_path / "secret.npy", np.zeros((4, 4, 4), np.int16))
    (tmp_path / "arrays").mkdir()
    source = {"hu": "../secret.npy", "ijk_to_ras": np.eye(4).tolist()}
    run = {"command": "run", "id": "1", "input": source, "arrays": str(tmp_path / "arrays"), "profile": "fake"}
    with subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    ) as process:
        process.stdin.write(json.dumps(run) + "\n")
        process.stdin.flush()
        events = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        process.wait(10)
    assert (events[1]["event"], events[1]["kind"]) == ("error", "user")
    assert "plain file name" in events[1]["message"]


def test_a_worker_ends_when_its_stdin_closes_even_in_the_middle_of_a_run(volume, tmp_path):
    np.save(tmp_path / "input.npy", volume.hu)
    source = {"hu": "input.npy", "ijk_to_ras": volume.ijk_to_ras.tolist()}
    run = {"command": "run", "id": "1", "input": source, "arrays": str(tmp_path), "profile": "fake"}
    start = time.monotonic()
    talk([json.dumps({**run, "thresholds": {"delay": 60, "deaf": 1}})])
    assert time.monotonic() - start < 20


def test_the_client_does_not_import_torch():
    program = "import sys, CSpineFractureLib.pipeline.worker_client; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0
