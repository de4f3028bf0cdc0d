"""Training the segmentation on made studies: to weights, to maps, to figures; broken off and gone on with."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from broken_off import CPU, assert_same_weights, go_on, kill_after, one_thread, stop_after
from made_masks import MODEL, SLICES, a_mask_run, a_study, make_mask_tree, segmentation_networks
from PIL import Image

from CSpineFractureLib.datasets.slice_image import read_image, write_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.training import segmentation_images
from CSpineFractureLib.training.lightning_keep import Keep
from CSpineFractureLib.training.mask_pictures import MaskPictures, square_labels
from CSpineFractureLib.training.segmentation_run import fit, look, make_images, measure
from CSpineFractureLib.training.segmentation_task import mean_overlaps, segmentation_loss
from CSpineFractureLib.training.slice_export import exported_network
from CSpineFractureLib.training.systems import load_system

SHORT = {"training__epochs": 3}
TRAINING = f"""
from made_masks import a_mask_run, segmentation_networks
from CSpineFractureLib.training.segmentation_run import fit
with segmentation_networks():
    fit(a_mask_run(folder, **{SHORT!r}), CPU, slowly)
"""


@pytest.fixture(autouse=True, scope="module")
def networks():
    with one_thread(), segmentation_networks():
        yield


@pytest.fixture(scope="module")
def fitted(networks, tmp_path_factory):
    """A run that was trained to the end, with its slices seen and measured."""
    folder = tmp_path_factory.mktemp("runs")
    make_mask_tree(folder / "images", train=6)
    run = a_mask_run(folder, training__epochs=12, training__batch=4)
    fit(run, CPU, lambda event: None)
    look(run, "val", "cpu")
    return run, measure(run, "val")


@pytest.fixture(scope="module")
def undisturbed(networks, tmp_path_factory):
    """A short run that was never broken off."""
    run = begin(tmp_path_factory.mktemp("undisturbed"))
    fit(run, CPU, lambda event: None)
    return run


def begin(folder, model=MODEL, **changes):
    make_mask_tree(folder / "images")
    return a_mask_run(folder, model, **{**SHORT, **changes})


def table(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def assert_same(run, other):
    """The same figures of validation, and the same weights to the last bit."""
    for row, expected in zip(table(run.logs / "metrics.csv"), table(other.logs / "metrics.csv"), strict=True):
        assert {name for name in row if row[name] != expected[name]} <= {"train_loss", "seconds"}
    assert_same_weights(run.weights, other.weights)


def test_the_loss_is_what_a_hand_computes():
    logits, labels = torch.full((1, 9, 1, 2), -2.0), torch.tensor([[[0, 3]]])
    logits[0, 0, 0, 0] = logits[0, 3, 0, 1] = 2.0  # both pixels right, p = 0.88
    p = 1 / (1 + np.exp(-2.0))
    entropy = -np.log(p)
    iou = p / (1 + 1 - p)  # of both channels shown: p over 1 + p + (1 - p) - p
    expected = entropy + 2 * (1 - iou) / 9
    assert float(segmentation_loss(logits, labels)) == pytest.approx(expected, rel=1e-5)
    wrong = segmentation_loss(logits.flip(3), labels)
    assert float(wrong) > float(segmentation_loss(logits, labels)) + 0.2


def test_the_figure_that_is_watched_is_the_mean_of_the_levels_seen():
    confusion = torch.zeros(9, 9)
    confusion[0, 0], confusion[1, 1], confusion[1, 0], confusion[0, 2] = 90, 6, 2, 4
    dice, iou = mean_overlaps(confusion)
    assert float(dice) == pytest.approx((12 / 14 + 0) / 2)
    assert float(iou) == pytest.approx((6 / 8 + 0) / 2)
    assert float(mean_overlaps(torch.zeros(9, 9))[0]) == 0


def test_a_map_is_laid_out_as_its_slice():
    labels = np.zeros((40, 48), np.uint8)
    labels[10:30, 12:36] = 5
    square = square_labels(labels, 96)
    assert set(np.unique(square)) == {0, 5}
    assert (square == 5).sum() == 4 * 20 * 24
    j, i = np.nonzero(square)
    assert (j.min(), i.min()) == (2 * (10 + 4), 2 * 12)


def test_the_network_learns_what_it_is_shown(fitted):
    _run, metrics = fitted
    assert metrics.figures["dice"].value > 0.6
    assert metrics.figures["accuracy"].value > 0.95
    rows = table(_run.logs / "metrics.csv")
    assert float(rows[-1]["val_dice"]) > float(rows[0]["val_dice"]) + 0.2


def test_every_slice_of_the_set_has_a_map_in_its_own_pixels(fitted):
    run, _metrics = fitted
    rows = table(run.predictions("val"))
    assert len(rows) == 2 * SLICES
    for row in rows:
        assert read_image(run.path / row["found"]).shape == (40, 48)


def test_figures_are_in_3d_with_intervals_classes_and_strata(fitted):
    run, metrics = fitted
    assert {"dice", "dice_C1", "dice_C7", "iou", "accuracy", "surface_mm", "hd95_mm"} <= set(metrics.figures)
    assert metrics.figures["dice"].low <= metrics.figures["dice"].value <= metrics.figures["dice"].high
    assert (metrics.data.studies, metrics.data.images) == (2, 2 * SLICES)
    assert metrics.per_class["C4"]["studies"] == 2
    assert metrics.strata["displaced"]["studies"].value == 1
    assert np.sum(metrics.confusion["matrix"]) == 2 * SLICES * 40 * 48
    for name in ("outlines-val", "confusion-val", "curves"):
        with Image.open(run.plots / f"{name}.png") as picture:
            assert min(picture.size) > 300
    document = json.loads((run.path / "metrics-val.json").read_text(encoding="utf-8"))
    assert document["figures"]["dice"]["value"] == pytest.approx(metrics.figures["dice"].value, abs=1e-5)


def test_perfect_maps_have_perfect_figures(fitted, tmp_path):
    run, _metrics = fitted
    other = replace(run, path=tmp_path / "images" / "run")
    rows = table(run.predictions("val"))
    (other.path / "segments-val").mkdir(parents=True)
    for row in rows:
        write_image(read_image(run.images / row["mask"]), other.path / row["found"])
    (other.path / "predictions-val.csv").write_text(
        run.predictions("val").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / "images" / "images").symlink_to(run.images)
    figures = measure(other, "val").figures
    assert (figures["dice"].value, figures["accuracy"].value, figures["surface_mm"].value) == (1, 1, 0)


def test_the_weights_can_be_installed_and_give_the_same_logits(fitted, tmp_path):
    run, _metrics = fitted
    store = WeightsStore(user=tmp_path / "models", bundled=tmp_path / "none")
    entry = store.install(run.weights)
    module, info = store.load("segmentation", profile="unet-cracknet")
    assert entry.input["window"] == "three"
    assert entry.input["windows"] == [[600, 2800], [700, 4000], [400, 1800]]
    assert "synthetic" in info.trained_on
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(module(images), exported_network(run)(images))


def test_the_variant_of_neighbours_takes_pictures_of_its_own(tmp_path):
    make_mask_tree(tmp_path / "images", further=("neighbours:500/2000",))
    run = a_mask_run(tmp_path, **{**SHORT, "training__epochs": 1})
    models = run.setup.system.models | {MODEL: {"architecture": MODEL, "window": "neighbours:500/2000"}}
    run = replace(run, setup=replace(run.setup, system=replace(run.setup.system, models=models)))
    fit(run, CPU, lambda event: None)
    entry = WeightsStore(user=tmp_path / "models", bundled=tmp_path / "none").install(run.weights)
    assert (entry.input["window"], entry.input["windows"]) == ("neighbours:500/2000", [[500, 2000]])
    three, other = (MaskPictures(run.images, "val", 32, one)[9] for one in ("three", "neighbours:500/2000"))
    assert torch.equal(three[1], other[1])
    assert not torch.equal(three[0], other[0])


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(undisturbed, tmp_path):
    run = begin(tmp_path)
    batches = int(table(undisturbed.logs / "metrics.csv")[0]["step"]) + 1
    kill_after(tmp_path, TRAINING, batches + 2)
    assert not run.weights.exists()
    assert go_on(fit, run) > batches
    assert_same(run, undisturbed)


def test_a_checkpoint_inside_an_epoch_goes_on_with_the_slices_that_were_not_seen(undisturbed, tmp_path, monkeypatch):
    run = begin(tmp_path)
    monkeypatch.setattr(Keep.__init__, "__defaults__", (0.0,))  # after every batch
    stop_after(fit, run, batches=11)
    monkeypatch.undo()
    assert go_on(fit, run) == 11
    assert_same(run, undisturbed)


def test_a_finished_run_is_left_as_it_is(undisturbed):
    before, events = undisturbed.weights.stat().st_mtime_ns, []
    fit(undisturbed, CPU, events.append)
    assert undisturbed.weights.stat().st_mtime_ns == before
    assert not events


def test_a_checkpoint_of_another_architecture_is_one_sentence(undisturbed, tmp_path):
    run = begin(tmp_path, "unet-mobilenet")
    run.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt").write_bytes((undisturbed.checkpoints / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"last\.ckpt' is a checkpoint of another architecture"):
        fit(run, CPU, lambda event: None)
    assert not run.weights.exists()


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("unet-mobilenet", {"input__size": 48}, "cannot segment images of 48 x 48 pixels"),
        ("unet-three", {}, "it gives 1 x 3 x 32 x 32 values"),
        (MODEL, {"training__monitor": "auc"}, "training.monitor is 'auc': use one of dice, iou, accuracy"),
        (MODEL, {"augmentation__rotation_deg": 500}, "augmentation.rotation_deg is 500"),
        ("unet-efficientnet-b5-25d", {}, "holds no slices in the window neighbours:500/2000"),
    ],
)
def test_a_training_that_cannot_be_is_one_sentence(tmp_path, model, changes, said):
    run = begin(tmp_path, model, **changes)
    with pytest.raises(UserError, match=said) as caught:
        fit(run, CPU, lambda event: None)
    assert "\n" not in str(caught.value)
    assert not run.weights.exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "is missing though 'slices.csv' lists it"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "cannot be read as a picture"),
        (lambda path: write_image(np.zeros((30, 30), np.uint8), path), "is 40 x 48 x 3 pixels, its map 30 x 30"),
        (lambda path: write_image(np.full((40, 48), 9, np.uint8), path), "is no map of the classes 0 to 8"),
    ],
)
def test_a_map_that_cannot_be_used_is_one_sentence(tmp_path, spoil, said):
    run = begin(tmp_path)
    spoil(sorted((run.images / "labels" / "train").iterdir())[3])
    with pytest.raises(UserError, match=said):
        fit(run, CPU, lambda event: None)


def test_predictions_that_do_not_fit_are_one_sentence(fitted, tmp_path):
    run, _metrics = fitted
    with pytest.raises(UserError, match="does not exist"):
        measure(replace(run, path=tmp_path), "val")
    text = run.predictions("val").read_text(encoding="utf-8")
    (tmp_path / "predictions-val.csv").write_text(text.replace("slice_mm", "thick_mm"), encoding="utf-8")
    with pytest.raises(UserError, match="cannot be used"):
        measure(replace(run, path=tmp_path), "val")


def made(tmp_path, monkeypatch, records, **overrides):
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    monkeypatch.setattr(segmentation_images, "read_source", lambda source, root: records)
    system = load_system("002-segmentation", quick=True, overrides=changes)
    make_images(system, "phantom", tmp_path, tmp_path / "images")
    return {row["study"]: row["split"] for row in table(tmp_path / "images" / "slices.csv")}


def test_each_study_is_validated_in_one_of_five_folds(tmp_path, monkeypatch):
    records = [a_study(f"s{n}") for n in range(10)]
    held_out = []
    for fold in range(5):
        folder = tmp_path / str(fold)
        folder.mkdir()
        split = made(folder, monkeypatch, records, data__fold=fold)
        assert set(split.values()) == {"train", "val"}
        held_out += [study for study, name in split.items() if name == "val"]
    assert sorted(held_out) == sorted(record.id for record in records)


def test_images_that_are_there_are_used_again_and_others_refused(tmp_path, monkeypatch):
    records = [a_study(f"s{n}") for n in range(6)]
    made(tmp_path, monkeypatch, records)
    assert made(tmp_path, monkeypatch, [])
    with pytest.raises(UserError, match="holds images of other data or options"):
        made(tmp_path, monkeypatch, records, data__fold=1)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([replace(a_study("s"), load_levels=None)], "has a vertebra mask"),
        ([a_study(f"s{n}", without="C5") for n in range(6)], "No image of the split 'train' shows C5"),
        ([a_study(f"s{n}") for n in range(3)], "3 patients cannot be split 5-fold"),
    ],
)
def test_studies_that_do_not_serve_are_one_sentence_and_leave_nothing(tmp_path, monkeypatch, records, said):
    with pytest.raises(UserError, match=said):
        made(tmp_path, monkeypatch, records)
    assert not (tmp_path / "images").exists()


def test_a_fold_that_does_not_exist_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"data\.fold is 7: use a number from 0 to 4"):
        made(tmp_path, monkeypatch, [a_study(f"s{n}") for n in range(6)], data__fold=7)
