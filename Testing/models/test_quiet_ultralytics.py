"""What importing ultralytics does to a machine and a process, watched in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, os, socket, sys
calls = []
def refuse(*arguments, **options):
    calls.append(repr(arguments))
    raise OSError("no network here")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
import CSpineFractureLib.models.yolo as yolo
early = "ultralytics" in sys.modules
import cv2, numpy, torch
from PIL import Image
from CSpineFractureLib.models.quiet_ultralytics import ultralytics_training_parts
def settings():
    return cv2.getNumThreads(), str(numpy.get_printoptions()), torch.save, torch.get_num_threads(), Image.open
before = settings()
yolo.detect(yolo.build_yolo().eval(), torch.rand(1, 3, 64, 64))
parts = ultralytics_training_parts()
after = settings()
from ultralytics.engine import trainer
services = trainer.callbacks.add_integration_callbacks(object())
from ultralytics.utils import SETTINGS, USER_CONFIG_DIR
from ultralytics.utils.events import events
report = dict(early=early, calls=calls, same=before == after, sync=SETTINGS["sync"], events=events.enabled)
report.update(folder=str(USER_CONFIG_DIR), threads=os.environ.get("OMP_NUM_THREADS"))
report.update(mixed_precision=trainer.check_amp(None), services=services)
with open("report.json", "w") as file:
    json.dump(report, file)
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The script's report, what it printed, and the home folder it left behind."""
    home, here = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("here")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "XDG", "OMP", "PYTEST"))}
    environment = kept | {"HOME": str(home), "USERPROFILE": str(home), "APPDATA": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((here / "report.json").read_text()), done.stdout + done.stderr, home, here


def test_models_are_importable_without_ultralytics(watched):
    assert watched[0]["early"] is False


def test_nothing_asks_for_the_network(watched):
    assert watched[0]["calls"] == []


def test_telemetry_is_off(watched):
    assert watched[0]["sync"] is False
    assert watched[0]["events"] is False


def test_the_trainer_tries_no_network_of_its_own_and_calls_no_service(watched):
    assert watched[0]["mixed_precision"] is True
    assert watched[0]["services"] is None


def test_nothing_is_printed(watched):
    assert watched[1] == ""


def test_nothing_is_left_in_the_home_the_current_or_the_private_folder(watched):
    report, _, home, here = watched
    assert list(home.rglob("*")) == []
    assert [path.name for path in here.iterdir()] == ["report.json"]
    assert not Path(report["folder"]).exists()


def test_process_settings_are_put_back(watched):
    assert watched[0]["same"] is True
    assert watched[0]["threads"] is None
