"""The level regressor learns made-up necks by their surroundings, goes on after a break, and is exported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from broken_off import CPU, break_off_and_go_on, one_thread
from made_columns import write_columns

from CSpineFractureLib.datasets.column_volumes import ColumnVolume
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.level_regressor import BLOCK, blocks_at, level_shares, positions
from CSpineFractureLib.training.regressor_run import fit, look, measure
from CSpineFractureLib.training.regressor_samples import CUT_MM, body_blocks, draw_blocks
from CSpineFractureLib.training.regressor_task import expected
from CSpineFractureLib.training.run_folder import Setup, open_run
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.volume.coarse_grid import GRID_MM, LOWEST_HU

MIDDLE_K = (BLOCK[0] - 1) / 2


def a_neck(seed: int, bodies: int = 8) -> ColumnVolume:
    """Equal vertebrae under each other in a neck that grows brighter downwards, by which alone they can be told."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(0, 15, (80, 44, 36)) + np.linspace(250, -150, 80)[:, None, None]
    middles = np.full((8, 3), np.nan, np.float32)
    for n in range(bodies):
        top = 76 - 9 * n
        hu[top - 7 : top, 16:24, 14:22] = 600
        middles[n] = (top - 4, 19.5, 17.5)
    hu = hu.astype(np.int16)
    return ColumnVolume(hu, np.zeros(hu.shape, np.uint8), middles)


def a_run(folder, epochs=2, studies=8, few=()):
    write_columns(folder / "images", [a_neck(n, 1 if n in few else 8) for n in range(studies)])
    system = load_system("level-regressor", True, {"training.epochs": epochs, "training.learning_rate": 0.005})
    small = {"level-regressor": {"architecture": "level-regressor", "arguments": {"widths": [4, 8, 8, 16]}}}
    return open_run(folder / "run", Setup(replace(system, models=small), "level-regressor", 0, "phantom", "studies"))


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def test_made_up_necks_are_learnt_and_measured(tmp_path):
    run = a_run(tmp_path, epochs=60, studies=10)
    fit(run, CPU, lambda event: None)
    look(run, "val", "cpu")
    figures = {name: figure.value for name, figure in measure(run, "val").figures.items()}
    assert figures["error_levels"] < 1.0  # by chance about 2
    assert figures["within"] > 0.3  # 0.125
    assert figures["error_levels_near"] < 1.5


def test_a_training_that_was_broken_off_ends_as_the_undisturbed_one(tmp_path):
    break_off_and_go_on(fit, a_run(tmp_path / "whole", 3), a_run(tmp_path / "broken", 3))


def test_a_study_with_one_body_and_another_size_are_told(tmp_path):
    with pytest.raises(UserError, match="'s2' shows fewer than two"):
        fit(a_run(tmp_path / "few", few=(2,)), CPU, lambda event: None)
    run = a_run(tmp_path / "size")
    large = replace(run.setup.system, input={**run.setup.system.input, "size": [64, 64]})
    with pytest.raises(UserError, match=r"leave out input\.size"):
        fit(replace(run, setup=replace(run.setup, system=large)), CPU, lambda event: None)


def test_a_block_shows_what_lies_at_its_place_and_air_outside_of_the_scan():
    hu = torch.from_numpy(np.random.default_rng(0).integers(-500, 500, (60, 60, 60)).astype(np.int16))
    place = np.array([30.5, 38.0, 30.5])  # its middle: 8 voxels of 2 mm forward, between voxels along all axes
    block = blocks_at(hu, place[None])[0]
    ways = [(np.arange(n) - (n - 1) / 2) * mm / grid for n, mm, grid in zip(BLOCK, (3, 4, 4), GRID_MM, strict=True)]
    for at in ((9, 21, 20), (12, 23, 24)):
        k, j, i = (way[n] + p for way, n, p in zip(ways, at, place - [0, 8, 0], strict=True))
        corner = hu[int(k) : int(k) + 2, int(j) : int(j) + 2, int(i) : int(i) + 2].double().numpy()
        for part in (k % 1, j % 1, i % 1):
            corner = corner[0] * (1 - part) + corner[1] * part
        assert float(block[at]) == pytest.approx(float(corner), abs=0.05)
    assert float(block[0, 0, 0]) == LOWEST_HU


def test_a_mirrored_block_is_that_of_the_mirrored_scan():
    hu = torch.from_numpy(np.random.default_rng(1).integers(-500, 500, (40, 50, 41)).astype(np.int16))
    place = np.array([[20.0, 30.0, 20.0]])
    mirrored = blocks_at(hu, place, np.diag([1.0, 1.0, -1.0])[None])
    assert torch.allclose(mirrored, blocks_at(hu.flip(2), place), atol=0.05)
    assert not torch.allclose(mirrored, blocks_at(hu, place), atol=50)


def test_drawn_blocks_lie_where_they_say():
    made, where = draw_blocks(a_neck(3), 40, np.random.default_rng(3))
    assert made.shape == (40, 2, *BLOCK)
    assert made.min() >= 0
    assert made.max() <= 1
    assert where.min() >= -0.4
    assert where.max() <= 7.4
    assert where.std() > 1.5


def test_near_blocks_are_cut_above_and_below_but_not_in_the_middle():
    whole, levels = body_blocks(a_neck(4))
    near, _ = body_blocks(a_neck(4), 10.0)
    assert levels.tolist() == list(range(8))
    shown = np.abs((np.arange(BLOCK[0]) - MIDDLE_K) * 3.0) <= 10
    assert torch.equal(near[:, :, shown], whole[:, :, shown])
    assert near[:, :, ~shown].max() == 0
    assert CUT_MM[0] < 10 < CUT_MM[1]


def test_shares_and_the_mean_position_follow_the_logits():
    logits = torch.full((1, len(positions(torch.zeros(1)))), -30.0)
    logits[0, positions(logits) == 3.0] = 5.0
    assert level_shares(logits)[0].argmax() == 3
    assert float(level_shares(logits)[0, 3]) == pytest.approx(1, abs=1e-4)
    logits[0, positions(logits) == 4.0] = 5.0
    assert level_shares(logits)[0, 3:5].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert float(expected(logits)) == pytest.approx(3.5, abs=1e-3)
