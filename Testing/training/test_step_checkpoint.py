"""A loop that was broken off goes on and ends where an undisturbed one ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_training_bank import a_training_study

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.classifier import ClassifierPlan, SliceIndex, train_slice_classifier
from CSpineFractureLib.training.detector import DetectorPlan, train_vertebra_detector
from CSpineFractureLib.training.step_checkpoint import StepCheckpoint
from CSpineFractureLib.training.two_stage import TwoStagePlan, train_two_stage

CPU = torch.device("cpu")


class Killed(Exception):
    pass


def killer(at: int):
    """An ``on_step`` that breaks the loop off in its step ``at``."""

    def on_step(step: int, total: int, loss: float) -> None:
        if step == at:
            raise Killed

    return on_step


def quiet(step: int, total: int, loss: float) -> None:
    pass


@pytest.fixture
def two_studies():
    return [a_training_study(), a_training_study("b", fractured=False)]


@pytest.mark.parametrize("at", [2, 4, 6])
def test_a_classifier_ends_the_same_whether_or_not_it_was_killed(tmp_path, two_studies, at):
    index, plan = SliceIndex(two_studies), ClassifierPlan(steps=3, patch_steps=4, batch=2, workers=0)
    whole = train_slice_classifier(index, plan, CPU, quiet)
    keep = StepCheckpoint(tmp_path / "x.checkpoint", every_s=0)
    with pytest.raises(Killed):
        train_slice_classifier(index, plan, CPU, killer(at), keep)
    resumed = train_slice_classifier(index, plan, CPU, quiet, keep)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, msg=name)


def test_a_detector_goes_on_from_its_last_checkpoint(tmp_path, two_studies):
    plan, keep, steps = DetectorPlan(steps=4, batch=2, workers=0), StepCheckpoint(tmp_path / "x", every_s=0), []
    with pytest.raises(Killed):
        train_vertebra_detector(two_studies, plan, CPU, killer(3), keep)
    train_vertebra_detector(two_studies, plan, CPU, lambda step, total, loss: steps.append(step), keep)
    assert steps == [3, 4]


def test_a_damaged_checkpoint_or_one_of_another_network_is_one_sentence(tmp_path):
    keep = StepCheckpoint(tmp_path / "x.checkpoint", every_s=0)
    keep.save(5, model=torch.nn.Linear(3, 2))
    assert keep.restore(model=torch.nn.Linear(3, 2)) == 5
    with pytest.raises(UserError, match="another network"):
        keep.restore(model=torch.nn.Linear(4, 2))
    (tmp_path / "x.checkpoint").write_bytes(b"PK" + bytes(40))
    with pytest.raises(UserError, match="damaged"):
        keep.restore(model=torch.nn.Linear(3, 2))


def test_nothing_is_unpickled_from_a_checkpoint(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"model": Evil(), "done": 1}, tmp_path / "x")
    with pytest.raises(UserError):
        StepCheckpoint(tmp_path / "x").restore(model=torch.nn.Linear(3, 2))
    assert not (tmp_path / "written").exists()


def test_finished_networks_are_not_trained_again_and_another_order_is_refused(tmp_path, two_studies):
    studies = [*two_studies, a_training_study("c"), a_training_study("d", fractured=False)]
    plan, seen = TwoStagePlan(tasks=("slice-classifier",), effort=0.001), []
    first = train_two_stage(studies, tmp_path, plan, CPU)
    before = {path: path.read_bytes() for path in first.values()}
    train_two_stage(studies, tmp_path, plan, CPU, lambda *event: seen.append(event))
    assert seen == []
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob("*.checkpoint"))
    with pytest.raises(UserError, match="another training run"):
        train_two_stage(studies, tmp_path, TwoStagePlan(tasks=plan.tasks, effort=0.002), CPU)
    assert np.all([path.is_file() for path in before])
