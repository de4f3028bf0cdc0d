"""The training loops themselves: they learn what can be learnt, and the command writes weights that load."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_training_bank import a_training_study
from typer.testing import CliRunner

from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.models.slice_cnn import SliceCNN
from CSpineFractureLib.training.classifier import ClassifierPlan, SliceIndex, _Teachable, train_slice_classifier
from CSpineFractureLib.training.entries import entry_of


def test_folding_keeps_the_logits():
    torch.manual_seed(0)
    model = _Teachable(SliceCNN())
    images = torch.rand(4, 1, 224, 224)
    for _ in range(3):
        model(images)  # moves the running statistics
    model.eval()
    with torch.no_grad():
        expected = model.network.head(model(images)[0])
        torch.testing.assert_close(model.folded()(images), expected, rtol=1e-3, atol=1e-4)


def test_a_wide_gap_is_learnt_in_a_few_steps():
    index = SliceIndex([a_training_study(), a_training_study("b", fractured=False)])
    losses = []
    plan = ClassifierPlan(steps=4, patch_steps=30, batch=4, workers=0)
    model = train_slice_classifier(index, plan, torch.device("cpu"), lambda step, total, loss: losses.append(loss))
    assert isinstance(model, SliceCNN)
    assert not model.training
    assert np.mean(losses[25:30]) < 0.6 * np.mean(losses[:5])


@pytest.fixture(scope="module")
def a_bank(tmp_path_factory):
    from CSpineFractureLib.phantom.files import make_studies
    from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures

    folder = tmp_path_factory.mktemp("bank")
    plan = StudyPlan(
        spacing_mm=(1.2, 1.2, 2.5), fractures=parse_fractures(["C5:burst"]), width_mm=120, depth_mm=120, above_mm=10
    )
    make_studies(folder, [1, 2], lambda seed: plan)
    return folder


def test_the_command_trains_all_four_networks_from_studies_on_disk(a_bank, tmp_path, monkeypatch):
    from CSpineFractureLib.cli.app import app
    from CSpineFractureLib.models.store import WeightsStore

    out = tmp_path / "run"
    args = ["train", "two-stage", "--data", str(a_bank), "-o", str(out), "--effort", "0.001", "--device", "cpu"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    report = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert set(report["tasks"]) == {"vertebra-detector", "slice-classifier", "fracture-detector", "fracture-volume"}
    store = WeightsStore(user=tmp_path / "models", bundled=tmp_path / "none")
    for task in report["tasks"]:
        store.install(out / f"{task}.safetensors")
        module, info = store.load(task)
        assert not module.training
        assert info.name
    assert {entry.task for entry in store.list()} == set(report["tasks"])


def test_weights_tell_what_they_learnt_from():
    own = entry_of("slice-classifier", "corrections", sound=3)
    assert own.trained_on == "reviewed CT of the user's own and 3 CT without fractures"
    assert "synthetic" not in own.notice
    base = ModelInfo("slice-classifier", "slice-cnn", "0.2.0", "", "", "phantoms")
    further = entry_of("slice-classifier", "corrections", base=base)
    assert further.trained_on == "phantoms, then reviewed CT of the user's own"
    assert further.version == "0.2.0+own"
    assert "synthetic" in further.notice
    assert entry_of("vertebra-detector", sound=3).trained_on == entry_of("vertebra-detector").trained_on


def test_fine_tuning_without_weights_to_go_on_from_is_refused(a_bank, tmp_path, monkeypatch):
    from CSpineFractureLib.cli.app import app

    monkeypatch.setattr("CSpineFractureLib.cli.train_command._known", lambda tasks: {})
    args = ["train", "two-stage", "--data", str(a_bank), "-o", str(tmp_path / "run"), "--fine-tune", "--device", "cpu"]
    done = CliRunner().invoke(app, args)
    assert "leave --fine-tune out" in str(done.exception) + done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (["--task", "nothing"], "nothing"),
        (["--task", "nothing", "--fine-tune"], "nothing"),
        (["--data", "/no/such/folder"], "does not exist"),
    ],
)
def test_bad_orders_are_one_sentence(a_bank, tmp_path, changed, word):
    from CSpineFractureLib.cli.app import app
    from CSpineFractureLib.errors import UserError

    args = ["train", "two-stage", "--data", str(a_bank), "-o", str(tmp_path / "run"), *changed]
    done = CliRunner().invoke(app, args)
    assert done.exit_code != 0
    assert isinstance(done.exception, UserError) or word in done.output
    assert word in (str(done.exception) + done.output)
    assert not (tmp_path / "run" / "training.json").exists()
