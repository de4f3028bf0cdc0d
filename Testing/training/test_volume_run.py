"""The 3D ResNet learns made-up necks by counting, goes on after a break, is measured in 3D, exported and tabled."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from broken_off import CPU, break_off_and_go_on, one_thread
from made_columns import write_columns

from CSpineFractureLib.datasets.column_volumes import UNKNOWN, ColumnVolume
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import from_metadata
from CSpineFractureLib.models.neck_block import NeckBlock, sampled
from CSpineFractureLib.models.weights_file import read_metadata
from CSpineFractureLib.training.paper_tables import paper_table
from CSpineFractureLib.training.run_folder import RunFolder, Setup, open_run
from CSpineFractureLib.training.systems import load_system
from CSpineFractureLib.training.volume_run import VolumeTask, check, fit, look, measure
from CSpineFractureLib.training.volume_samples import drawn_sample, plain_sample
from CSpineFractureLib.volume.coarse_grid import LOWEST_HU

SYSTEM, MODEL = "002-segmentation-3d", "resnet3d-small"
SHAPE = (36, 32, 32)


def a_neck(seed: int) -> ColumnVolume:
    """Seven discs of bone under each other and a thoracic one, each brighter than the one above it."""
    rng = np.random.default_rng(seed)
    hu, labels = rng.normal(40, 15, (40, 34, 30)), np.zeros((40, 34, 30), np.uint8)
    bodies, (j, i) = np.full((8, 3), np.nan, np.float32), rng.uniform((14, 12), (20, 18))
    rows, columns = np.indices(hu.shape[1:])
    disc = (rows - j) ** 2 + (columns - i) ** 2 < 36
    for n in range(8):
        top = 39 - 5 * n
        labels[top - 4 : top, disc], hu[top - 4 : top, disc] = n + 1, 250 + 130 * n
        bodies[n] = (top - 2.5, j, i)
    return ColumnVolume(hu.astype(np.int16), labels, bodies)


def a_run(folder, model: str = MODEL, studies: int = 6, **training: object) -> RunFolder:
    write_columns(folder / "images", [a_neck(n) for n in range(studies)])
    changes = {"input.size": SHAPE[1], "input.slices": SHAPE[0], "augmentation.move": 0}
    changes |= {f"training.{key}": value for key, value in training.items()}
    return open_run(folder / model, Setup(load_system(SYSTEM, True, changes), model, 0, "phantom", "studies"))


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def learnt(run: RunFolder):
    fit(run, CPU, lambda event: None)
    look(run, "val", "cpu")
    return measure(run, "val")


def test_made_up_necks_are_learnt_measured_and_tabled(tmp_path):
    run = a_run(tmp_path, epochs=8, batch=1, learning_rate=0.003)
    metrics = learnt(run)
    assert metrics.figures["dice"].value > 0.4  # by chance a tenth
    assert metrics.figures["accuracy"].value > 0.8
    assert {"C1", "C7", "thoracic"} <= set(metrics.per_class)
    assert np.sum(metrics.confusion["matrix"]) == 2 * 40 * 34 * 30
    entry = from_metadata(read_metadata(run.weights), run.weights)
    assert (entry.task, entry.image, entry.input["slices"]) == ("segmentation", "block", SHAPE[0])
    table = paper_table("002", "I", tmp_path)
    ours = [row for row in table.measured.rows if row.get("dice") is not None]
    assert [row["dice"].value for row in ours] == pytest.approx([metrics.figures["dice"].value], abs=1e-5)
    assert json.loads((run.path / "metrics-val.json").read_text(encoding="utf-8"))["system"] == SYSTEM


def test_the_table_names_the_command_that_trains_the_3d_resnet():
    missing = paper_table("002", "I", None).missing
    assert missing["3D ResNet-101"].startswith(f"cspine train {SYSTEM} --model resnet3d-101")
    assert missing["EfficientNet-V2"].startswith("cspine train 002-segmentation --model")


def test_a_training_that_was_broken_off_ends_as_the_undisturbed_one(tmp_path):
    runs = [a_run(tmp_path / name, studies=4, epochs=2, batch=1) for name in ("whole", "broken")]
    break_off_and_go_on(fit, *runs)


@pytest.mark.parametrize("slices", [0, 8, "many", True])
def test_a_block_of_no_height_is_one_sentence(slices):
    setup = Setup(load_system(SYSTEM, True, {"input.slices": slices}), MODEL)
    with pytest.raises(UserError, match=r"^input\.slices is [^\n]+$"):
        check(setup)


def test_a_block_goes_back_to_where_it_was_cut_out():
    volume = a_neck(0)
    for middle in ((20, 17, 15), (3, 2, 28)):
        block = NeckBlock(SHAPE, middle)
        there, _ = block.part(volume.hu.shape)
        back = block.paste(block.cut(volume.hu).numpy(), volume.hu.shape)
        assert np.array_equal(back[there], volume.hu[there])
        assert back[there].size < volume.hu.size
        back[there] = 0
        assert not back.any()
    assert float(NeckBlock(SHAPE, (300, 300, 300)).cut(volume.hu).max()) == LOWEST_HU


def test_values_between_voxels_are_linear_and_those_outside_nothing():
    values = torch.arange(4.0 * 5 * 6).view(1, 4, 5, 6)
    points = np.array([[1, 2, 3], [1.5, 2.25, 3], [-3, 0, 0]], float).reshape(3, 1, 1, 3)
    assert sampled(values, points).flatten().tolist() == pytest.approx([45, 45 + 15 + 1.5, 0], abs=1e-3)


def test_a_drawn_block_shows_the_labels_where_its_bone_is():
    volume = a_neck(1)
    image, labels = plain_sample(volume, SHAPE)
    drawn, named = drawn_sample(volume, SHAPE, np.random.default_rng(5))
    for one, truth in ((image, labels), (drawn, named)):
        assert one.shape == (2, *SHAPE)
        assert set(truth.unique().tolist()) > {0, 3, 4, 5}
        assert one[1][truth >= 5].mean() > one[1][truth == 0].mean() + 0.3
    assert not torch.equal(labels, named)


def test_what_is_unknown_teaches_nothing():
    task = VolumeTask(torch.nn.Identity(), load_system(SYSTEM, True))
    logits, labels = torch.randn(1, 9, 4, 4, 4), torch.randint(0, 9, (1, 4, 4, 4))
    labels[0, 0] = UNKNOWN
    other = logits.clone()
    other[0, :, 0] += 5
    assert torch.equal(task.loss(logits, labels), task.loss(other, labels))
    other[0, :, 1] += 5
    assert not torch.equal(task.loss(logits, labels), task.loss(other, labels))
