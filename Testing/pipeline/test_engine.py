from __future__ import annotations

import threading

import fake_profile
import numpy as np
import pytest

from CSpineFractureLib import __version__
from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.pipeline.profiles import Profile, register_profile
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture
def volume() -> CTVolume:
    hu = np.full((28, 24, 24), -1000, np.int16)
    hu[:, 6:18, 6:18] = 300
    return CTVolume(hu, np.diag([-1.0, -1.0, 3.0, 1.0]), notices=(Notice("thick", "Thick slices."),))


def test_a_study_ends_with_a_valid_and_complete_result(volume):
    analysed, output = Engine(device="cpu").run_study(volume, "fake", thresholds={"steps": 2})

    assert analysed is volume
    result = output.result
    assert first_fault(result.to_dict()) is None
    assert (result.profile, result.device, result.status) == ("fake", "cpu", "complete")
    assert result.software_version == __version__
    assert result.created.endswith("+00:00")
    assert result.thresholds["steps"] == 2
    assert result.timings_s["fake"] >= 0


def test_warnings_of_reader_and_pipeline_come_once_each_in_order(volume):
    _, output = Engine(device="cpu").run_study(volume, "fake")
    assert [notice.code for notice in output.result.warnings] == ["thick", "pretended"]


def test_two_studies_have_two_identities(volume):
    engine = Engine(device="cpu")
    first, second = (engine.run_study(volume, "fake")[1].result for _ in range(2))
    assert first.id != second.id


def test_progress_comes_as_events_with_the_four_keys(volume):
    events = []
    Engine(device="cpu").run_study(volume, "fake", on_event=events.append)
    assert all(set(event) == {"stage", "done", "total", "message"} for event in events)
    fake = [event["done"] for event in events if event["stage"] == "fake"]
    assert fake == sorted(fake)
    assert fake[-1] == 3


def test_cancelling_ends_the_run_between_batches(volume):
    cancel = threading.Event()

    def cancel_at_first_step(event):
        if event["stage"] == "fake" and event["done"] == 1:
            cancel.set()

    with pytest.raises(Cancelled):
        Engine(device="cpu").run_study(
            volume, "fake", thresholds={"steps": 50}, on_event=cancel_at_first_step, is_cancelled=cancel.is_set
        )


class CountingStore:
    """Counts how often weights are read; the networks are empty."""

    def __init__(self):
        self.loads = 0
        self.sha256 = "a" * 64

    def find(self, task, profile):
        return ModelInfo(task, f"net of {profile}", "1", self.sha256, "Apache-2.0", "synthetic")

    def load(self, entry, device):
        self.loads += 1
        return EmptyNetwork(), entry


class EmptyNetwork:
    """One weight, which says where it is."""

    def __init__(self):
        self.device, self.moves = "cpu", 0

    def parameters(self):
        yield self

    def to(self, device):
        self.device = device
        self.moves += 1


def run_with_models(volume, context):
    assert context.load("task-a")[0].device == "cpu"
    return fake_profile.run(volume, context)


def test_models_are_loaded_once_and_named_in_the_result(volume):
    register_profile(Profile("fake-with-models", "", tasks=("task-a", "task-b"), run=run_with_models))
    store = CountingStore()
    engine = Engine(store, device="cpu")
    for _ in range(2):
        _, output = engine.run_study(volume, "fake-with-models")
    assert store.loads == 2
    assert [(model.task, model.name) for model in output.result.models] == [
        ("task-a", "net of fake-with-models"),
        ("task-b", "net of fake-with-models"),
    ]


def test_a_network_is_moved_only_when_a_fallback_has_left_it_elsewhere(volume):
    seen = []

    def look(volume, context):
        seen.append(context.load("task-a")[0])
        return fake_profile.run(volume, context)

    register_profile(Profile("fake-with-models", "", tasks=("task-a",), run=look))
    engine = Engine(CountingStore(), device="cpu")
    engine.run_study(volume, "fake-with-models")
    assert seen[0].moves == 0
    seen[0].device = "cuda:0"
    engine.run_study(volume, "fake-with-models")
    assert seen[1] is seen[0]
    assert (seen[0].device, seen[0].moves) == ("cpu", 1)


def test_newly_installed_weights_are_loaded_in_place_of_the_old(volume):
    register_profile(Profile("fake-with-models", "", tasks=("task-a",), run=run_with_models))
    store = CountingStore()
    engine = Engine(store, device="cpu")
    engine.run_study(volume, "fake-with-models")
    store.sha256 = "b" * 64
    _, output = engine.run_study(volume, "fake-with-models")
    assert store.loads == 2
    assert output.result.models[0].sha256 == "b" * 64


def test_an_unknown_profile_is_refused_with_the_list_of_known_ones(volume):
    with pytest.raises(UserError, match=r"no profile 'three-stage'.*default.*two-stage"):
        Engine(device="cpu").run_study(volume, "three-stage")


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("vertebra-yolo", "cspine train 003-vertebra-detector.*cspine models install FILE"),
        ("gcvit-yolo", "cspine train 004-level-presence.*cspine models install FILE"),
        ("unet-cracknet", "cspine train 002-segmentation.*cspine models install FILE"),
        ("radiograph", "cspine train 001-radiograph.*cspine models install FILE"),
    ],
)
def test_a_profile_without_weights_names_the_commands_that_bring_them(volume, name, commands, tmp_path):
    with pytest.raises(UserError, match=commands):
        Engine(WeightsStore(tmp_path / "user", tmp_path), device="cpu").run_study(volume, name)
