"""The 3D fracture network learns where bone is torn: its blocks, its training, and what it becomes for a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_training_bank import a_training_study

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.fracture_fcn import CELL, FractureFCN, fcn_input
from CSpineFractureLib.models.registry import prepare_for_inference
from CSpineFractureLib.training.fcn_training import FCNPlan, fcn_measures, train_fracture_fcn
from CSpineFractureLib.training.torn_cells import BLOCK, TornCells, block_of


@pytest.mark.parametrize("plainly", [True, False])
def test_the_cubes_of_a_block_are_torn_where_its_gap_is(plainly):
    study, rng = a_training_study(), np.random.default_rng(3)
    study.hu[study.fracture > 0] = -400  # nothing else in this study is so dark
    right = []
    for _ in range(12):
        hu, torn = block_of(study, True, rng, plainly)
        assert hu.shape == (BLOCK,) * 3
        assert torn.shape == (BLOCK // CELL,) * 3
        dark = hu.reshape(*(n for _ in range(3) for n in (BLOCK // CELL, CELL))).min(axis=(1, 3, 5)) < -150
        if dark.any():
            right.append(torn[dark].mean())
    assert len(right) > 6
    assert np.mean(right) > 0.8


def test_a_block_of_whole_bone_has_no_torn_cube():
    study = a_training_study("b", fractured=False)
    hu, torn = block_of(study, False, np.random.default_rng(0))
    assert not torn.any()
    assert (hu > 300).mean() > 0.02


def test_studies_are_told_apart_and_broken_ones_show_whole_bone_where_none_is_sound():
    broken, sound = a_training_study(), a_training_study("b", fractured=False)
    cells = TornCells.of([broken, sound])
    assert ([s.name for s in cells.broken], [s.name for s in cells.sound]) == (["a"], ["b"])
    assert [s.name for s in TornCells.of([broken]).sound] == ["a"]


def test_a_wide_gap_is_learnt_in_a_few_steps():
    cells, losses = TornCells.of([a_training_study(), a_training_study("b", fractured=False)]), []
    plan = FCNPlan(steps=40, batch=4, workers=0)
    model = train_fracture_fcn(cells, plan, torch.device("cpu"), lambda step, total, loss: losses.append(loss))
    assert not model.training
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    measures = fcn_measures(model, cells, torch.device("cpu"))
    assert measures["auc"] > 0.6


def test_without_a_broken_study_there_is_one_plain_sentence():
    cells = TornCells.of([a_training_study("b", fractured=False)])
    with pytest.raises(UserError, match=r"no broken study.*cspine dataset broken"):
        train_fracture_fcn(cells, FCNPlan(steps=1), torch.device("cpu"), lambda *told: None)
    assert fcn_measures(FractureFCN(), cells, torch.device("cpu")) == {}


def test_normalisation_goes_into_the_convolutions_for_a_run():
    torch.manual_seed(0)
    network = FractureFCN((4, 6, 8))
    hu = torch.randint(-1000, 2000, (2, 16, 24, 32))
    for _ in range(3):
        network(fcn_input(hu))  # moves the running statistics
    network.eval()
    with torch.inference_mode():
        expected = network(fcn_input(hu))
        assert expected.shape == (2, 4, 6, 8)
        ready = prepare_for_inference(network)
        assert not any(isinstance(part, torch.nn.BatchNorm3d) for part in ready.modules())
        torch.testing.assert_close(ready(fcn_input(hu)), expected, rtol=1e-3, atol=1e-4)
