"""``cspine run PICTURE --profile radiograph``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cspine_runner import cspine_here
from PIL import Image

from CSpineFractureLib.models import store
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.radiograph_nets import BUILDERS

ENTRY = ModelEntry(
    name="tiny",
    version="0.1.0",
    task="radiograph",
    profiles=["radiograph"],
    architecture="radiograph-alexnet",
    licence="Apache-2.0",
    trained_on="synthetic radiographs",
    input={"image": "radiograph", "windows": [], "size": [96, 96], "spacing_mm": [None, None]},
    sha256="0" * 64,
)


@pytest.fixture
def weights(monkeypatch):
    """A network with random weights on this computer."""

    class Store:
        def list(self):
            return [ENTRY]

        def find(self, *what):
            return ENTRY

        def load(self, entry, device):
            network = BUILDERS["radiograph-alexnet"](fc_width=16, batch_norm=True)
            return network.eval().requires_grad_(False), entry.info

    monkeypatch.setattr(store, "WeightsStore", Store)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.add.outer(np.arange(200), np.arange(55)).astype(np.uint8).repeat(3, axis=1)).save(path)
    return path


def radiograph(capfd, picture, *words):
    return cspine_here(capfd, "run", picture, "--profile", "radiograph", "--device", "cpu", *words)


def test_class_and_confidence_stand_in_one_line(capfd, picture, tmp_path, weights):
    ended = radiograph(capfd, picture, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    first = ended.out.splitlines()[0]
    assert first.split(",")[0] in ("normal", "fracture", "dislocation")
    assert "confidence 0." in first
    assert "research use only" in first
    assert "synthetic" in first
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "saliency.png", "saliency.nrrd"}
    assert json.loads((tmp_path / "out" / "result.json").read_text())["radiograph"]["class"] == first.split(",")[0]


def test_events_as_json_end_with_the_files(capfd, picture, tmp_path, weights):
    ended = radiograph(capfd, picture, "-o", tmp_path / "out", "--events", "json")
    last = json.loads(ended.out.splitlines()[-1])
    assert last["stage"] == "done"
    assert len(last["files"]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--series", "1.2"], "--series does not go with"),
        (["--threshold", "fracture=0.5"], "--threshold does not go with"),
        (["--exact"], "--exact does not go with"),
        (["--cam-pictures"], "--cam-pictures does not go with"),
        (["--model", "slice-classifier=x"], "no network for the task 'slice-classifier'"),
        (["--device", "quantum"], "--device 'quantum' is not known"),
    ],
)
def test_options_that_do_not_fit_are_refused(capfd, picture, tmp_path, words, told):
    ended = radiograph(capfd, picture, "-o", tmp_path / "out", *words)
    assert ended.code == 2
    assert told in ended.err
    assert not (tmp_path / "out").exists()


def test_without_weights_the_training_command_is_named(capfd, picture, tmp_path, monkeypatch):
    monkeypatch.setenv("CSPINE_MODELS", str(tmp_path / "models"))
    ended = radiograph(capfd, picture, "-o", tmp_path / "out")
    assert ended.code == 2
    assert "cspine train 001-radiograph" in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "told"), [("ct.nii.gz", "--profile default"), ("x.txt", "is of a kind")])
def test_what_is_no_radiograph_is_refused(capfd, tmp_path, weights, name, told):
    (tmp_path / name).write_bytes(b"something")
    ended = radiograph(capfd, tmp_path / name, "-o", tmp_path / "out")
    assert (ended.code, ended.err.count("Traceback")) == (2, 0)
    assert told in ended.err
    assert not (tmp_path / "out").exists()


def test_a_picture_with_a_profile_for_ct_names_the_one_for_radiographs(capfd, picture, tmp_path):
    ended = cspine_here(capfd, "run", picture, "-o", tmp_path / "out", "--device", "cpu")
    assert ended.code == 2
    assert "--profile radiograph" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused_before_any_work(capfd, picture, tmp_path, weights):
    ended = radiograph(capfd, picture, "-o", tmp_path)
    assert ended.code == 2
    assert "holds other files" in ended.err
