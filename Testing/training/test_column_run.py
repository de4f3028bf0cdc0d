"""The network that finds the column learns made-up necks, goes on after a break, and is exported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from broken_off import CPU, assert_same_weights, break_off_and_go_on, go_on, one_thread, stop_after
from made_columns import write_columns

from CSpineFractureLib.datasets.column_volumes import TABLE, ColumnVolume, add_column_volumes, read_column_table
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import column_run, column_samples
from CSpineFractureLib.training.column_run import ColumnSlices, fit, look, make_images, measure
from CSpineFractureLib.training.column_samples import draw_slices
from CSpineFractureLib.training.column_task import ColumnTask
from CSpineFractureLib.training.lightning_keep import Keep
from CSpineFractureLib.training.run_folder import Setup, open_run
from CSpineFractureLib.training.systems import load_system

SIZE = 64


def a_neck(seed: int) -> ColumnVolume:
    """Eight blocks under each other in soft tissue; each has a brightness of its own, by which it can be told."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(40, 15, (80, 44, 24)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    bodies = np.zeros((8, 3), np.float32)
    for n in range(8):
        top = 74 - 9 * n
        place = (slice(top - 7, top), slice(16, 24), slice(8, 16))
        hu[place], labels[place], bodies[n] = 200 + 120 * n, n + 1, (top - 4, 19.5, 11.5)
    return ColumnVolume(hu, labels, bodies)


def a_run(folder, epochs=2, studies=8, batch=12):
    write_columns(folder / "images", [a_neck(n) for n in range(studies)])
    overrides = {"training.epochs": epochs, "training.batch": batch, "input.size": SIZE}
    overrides["training.learning_rate"] = 0.01
    system = load_system("column-locator", True, overrides)
    small = {"sagittal-unet": {"architecture": "sagittal-unet", "arguments": {"widths": [8, 12, 16, 20]}}}
    return open_run(folder / "run", Setup(replace(system, models=small), "sagittal-unet", 0, "phantom", "studies"))


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def test_made_up_necks_are_learnt_and_measured(tmp_path, monkeypatch):
    gentle = {"TURN_DEG": (4, 2, 2), "SCALE": (0.95, 1.05), "OFF_MM": (6, 6, 2), "FAR_SHARE": 0.0}
    for name, value in {**gentle, "COARSER": 0, "PLANNING": 0, "CUT": 0, "PIECE": 0}.items():
        monkeypatch.setattr(column_samples, name, value)
    run = a_run(tmp_path, epochs=50, studies=12, batch=6)
    fit(run, CPU, lambda event: None)
    look(run, "val", "cpu")
    figures = {name: figure.value for name, figure in measure(run, "val").figures.items()}
    assert figures["dice"] > 0.4  # by chance about 0.1
    assert figures["bodies_found"] > 0.3


def test_a_training_that_was_broken_off_ends_as_the_undisturbed_one(tmp_path):
    break_off_and_go_on(fit, a_run(tmp_path / "whole", 3), a_run(tmp_path / "broken", 3))


def test_a_checkpoint_inside_an_epoch_goes_on_with_the_studies_that_were_not_seen(tmp_path, monkeypatch):
    whole, broken = (a_run(tmp_path / name, 2, studies=11) for name in ("whole", "broken"))
    fit(whole, CPU, lambda event: None)
    monkeypatch.setattr(Keep.__init__, "__defaults__", (0.0,))  # after every batch
    stop_after(fit, broken, batches=5)  # of 6; three to an epoch, the last of a single study
    monkeypatch.undo()
    assert go_on(fit, broken) == 5
    assert_same_weights(whole.weights, broken.weights)


def test_the_heat_is_highest_at_the_middle_of_each_body():
    made = draw_slices(a_neck(0), 1, SIZE, np.random.default_rng(0), plain=True)
    for n in range(8):
        heat = made.heat[0, n]
        if heat.max() > 0.5:
            row, column = np.unravel_index(int(heat.argmax()), heat.shape)
            assert made.labels[0, row, column] == n + 1


@pytest.mark.parametrize("seed", range(12))
def test_labels_stay_on_their_bone_whatever_is_done_to_a_study(seed):
    volume = a_neck(seed)
    made = draw_slices(volume, 2, SIZE, np.random.default_rng(seed))
    bone = made.images[:, 5 + 2]  # the slice itself in the window of bone
    inside, outside = made.labels > 0, made.labels == 0
    if inside.sum() > 30:
        assert bone[inside].mean() > bone[outside].mean() + 0.05
    assert made.images.min() >= 0
    assert made.images.max() <= 1


def test_a_slice_of_which_the_bodies_are_not_known_teaches_no_heat(tmp_path):
    run = a_run(tmp_path)
    task = ColumnTask(torch.nn.Identity(), run.setup.system)
    made = draw_slices(a_neck(1), 1, SIZE, np.random.default_rng(1), plain=True)
    logits = torch.zeros(1, 17, SIZE, SIZE)
    hot = logits.clone()
    hot[:, 9:] = 5
    unknown, known = torch.zeros(1), torch.ones(1)
    assert task.loss(logits, made.labels, made.heat, unknown) == task.loss(hot, made.labels, made.heat, unknown)
    assert task.loss(logits, made.labels, made.heat, known) != task.loss(hot, made.labels, made.heat, known)


def test_studies_without_a_mask_and_a_damaged_volume_are_named(tmp_path):
    run = a_run(tmp_path)
    (run.images / "s0.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"s0\.npz.*make the volumes again"):
        fit(run, CPU, lambda event: None)
    (run.images / TABLE).write_text("file,study\n", encoding="utf-8")
    with pytest.raises(UserError, match="lists no study"):
        ColumnSlices(run.images, "train", SIZE)


def test_volumes_are_made_from_phantoms_once(tmp_path):
    from CSpineFractureLib.phantom.files import make_studies
    from CSpineFractureLib.phantom.plan import StudyPlan

    plan = StudyPlan(spacing_mm=(2.0, 2.0, 3.0), width_mm=90, depth_mm=90, above_mm=-30, below_mm=-60, fractures=())
    make_studies(tmp_path / "studies", [1, 2, 3], lambda seed: plan)
    system = load_system("column-locator")
    make_images(system, "phantom", tmp_path / "studies", tmp_path / "images")
    with np.load(next((tmp_path / "images").glob("*.npz"))) as made:
        shown = [n for n in range(8) if 0 <= made["bodies"][n, 0] < made["hu"].shape[0]]
        assert shown
        for n in shown[1:]:  # the middle of C1's arch may lie between its coarse voxels
            k, j, i = np.rint(made["bodies"][n]).astype(int)
            assert made["labels"][k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2].max() == n + 1
    assert yaml.safe_load((tmp_path / "images" / "made.yaml").read_text())["source"] == "phantom"
    make_images(system, "phantom", tmp_path / "studies", tmp_path / "images")
    with pytest.raises(UserError, match="other data"):
        make_images(system, "phantom", tmp_path / "studies", tmp_path / "images", seed=1)


def test_further_volumes_are_all_trained_on_and_stay_as_they_are(tmp_path):
    run = a_run(tmp_path / "run", studies=4)
    further = a_run(tmp_path / "further", studies=3).images
    with pytest.raises(UserError, match="'s0' too"):
        add_column_volumes(run.images, further)
    for n in range(3):
        (further / f"s{n}.npz").rename(further / f"real{n}.npz")
    rows = [f"real{n}.npz,real{n},real{n},val" for n in range(3)]
    (further / TABLE).write_text("\n".join(["file,study,group,split", *rows]) + "\n", encoding="utf-8")
    add_column_volumes(run.images, further)
    splits = {row["study"]: row["split"] for row in read_column_table(run.images)}
    assert splits == {"s0": "train", "s1": "train", "s2": "val", "s3": "val"} | {f"real{n}": "train" for n in range(3)}
    assert len(ColumnSlices(run.images, "train", SIZE)) == 5
    assert np.array_equal(ColumnSlices(run.images, "train", SIZE).volume(4).hu, a_neck(2).hu)
    with pytest.raises(UserError, match="missing or damaged"):
        add_column_volumes(run.images, tmp_path)


def test_a_folder_of_further_volumes_that_is_none_is_told_before_the_long_work(tmp_path, monkeypatch):
    monkeypatch.setattr(column_run, "write_column_volumes", lambda *_what: pytest.fail("the long work began"))
    record = StudyRecord(id="a", load_volume=None, load_levels=lambda: None, fractured=None, boxes=None)
    monkeypatch.setattr(column_run, "read_source", lambda *_what: [replace(record, id=n, group=n) for n in "abcdef"])
    system = load_system("column-locator", True, {"data.more": str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match="nowhere"):
        column_run.make_images(system, "phantom", tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
