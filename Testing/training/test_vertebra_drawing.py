"""Vertebra classifiers that learn where the fracture lies, too."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_off import CPU, one_thread
from made_vertebrae import SIZE, SLICES, STILL, a_run, make_crops

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import vertebra_run
from CSpineFractureLib.training.slice_export import exported_network
from CSpineFractureLib.training.vertebra_augment import VertebraAugmentation
from CSpineFractureLib.training.vertebra_pictures import UNKNOWN, Shown, VertebraPictures
from CSpineFractureLib.training.vertebra_task import drawing_loss

MODEL = "cracknet-resnet18-mask"


@pytest.fixture(autouse=True, scope="module")
def alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run that learnt to draw the gap of made vertebrae."""
    folder = tmp_path_factory.mktemp("runs")
    make_crops(folder / "images", train=12, val=6, cracks=True)
    run = a_run(folder, MODEL, training__epochs=8, training__learning_rate=0.003, **STILL)
    vertebra_run.fit(run, CPU, lambda event: None)
    return run


def test_the_network_draws_the_gap(fitted) -> None:
    pictures = VertebraPictures(fitted.images, "val", Shown.of(fitted.setup))
    broken = [n for n, row in enumerate(pictures.rows) if row.label and row.level != "C5"]
    crops, _, cracks = (torch.stack(part) for part in zip(*(pictures[n] for n in broken), strict=True))
    with torch.inference_mode():
        maps = exported_network(fitted).draw(crops)[1]
    gap = torch.nn.functional.adaptive_max_pool2d(cracks, maps.shape[-2:]) > 0.5
    beside = torch.nn.functional.max_pool2d(gap.float(), 5, 1, 2) == 0
    assert maps[gap].mean() > maps[beside].mean() + 2


def test_the_log_tells_how_it_draws(fitted) -> None:
    with open(fitted.logs / "metrics.csv", encoding="utf-8", newline="") as stream:
        drawing = [float(row["train_drawing"]) for row in csv.DictReader(stream)]
    assert len(drawing) == 8
    assert drawing[-1] < 0.7 * drawing[0]


def test_a_sample_tells_where_the_fracture_lies_or_that_nobody_knows(tmp_path: Path) -> None:
    make_crops(tmp_path / "images", train=2, val=1, cracks=True)
    shown = Shown("crop", SLICES, SLICES, SIZE, mask=True, cracks=True)
    pictures = VertebraPictures(tmp_path / "images", "train", shown)
    pictures.read_all()
    for index, row in enumerate(pictures.rows):
        crop, target, cracks = pictures[index]
        assert crop.shape == (SLICES, 4, SIZE, SIZE)
        assert cracks.shape == (SLICES, SIZE, SIZE)
        if row.level == "C5":
            assert (cracks == UNKNOWN).all()
        else:
            assert cracks.max() == target
            assert cracks.min() == 0
    without = VertebraPictures(tmp_path / "images", "train", replace(shown, cracks=False))
    assert without[0][2].numel() == 0


def test_the_place_of_the_fracture_moves_with_the_pictures(tmp_path: Path) -> None:
    make_crops(tmp_path / "images", train=1, val=1, cracks=True)
    shown = Shown("crop", SLICES, SLICES, SIZE, mask=True, cracks=True)
    mirrored = VertebraAugmentation(flip_horizontal=1.0)
    pictures = VertebraPictures(tmp_path / "images", "train", shown, mirrored)
    index = next(n for n, row in enumerate(pictures.rows) if row.label and row.level != "C5")
    still, moved = pictures[index], pictures[0, index]
    assert torch.equal(moved[0], still[0].flip(3))
    assert torch.equal(moved[2], still[2].flip(2))


def test_what_is_unknown_teaches_no_drawing() -> None:
    maps = torch.zeros(2, 3, 8, 8, requires_grad=True)
    cracks = torch.zeros(2, 3, 16, 16)
    cracks[0, 1, 4:6, 4:6] = 1
    cracks[1] = UNKNOWN
    drawing_loss(maps, cracks).backward()
    assert not maps.grad[1].any()
    assert maps.grad[0, 1, 2, 2] < 0
    assert (maps.grad[0, 0] > 0).all()
    assert drawing_loss(maps, torch.full_like(cracks, UNKNOWN)) == 0


def test_a_better_drawing_has_a_lower_loss() -> None:
    cracks = torch.zeros(1, 3, 16, 16)
    cracks[0, 1, 4:6, 4:12] = 1
    right = torch.full((1, 3, 16, 16), -7.0)
    right[0, 1, 3:7, 3:13] = 7.0
    losses = [float(drawing_loss(maps, cracks)) for maps in (right, torch.full_like(right, -7.0), -right)]
    assert losses == sorted(losses)
    assert losses[0] < 0.1 < losses[1]


@pytest.mark.parametrize("value", [True, "much", -1])
def test_a_weight_of_the_drawing_that_does_not_serve_is_one_sentence(tmp_path: Path, value) -> None:
    make_crops(tmp_path / "images", train=1, val=1, cracks=True)
    run = a_run(tmp_path, MODEL, training__draw=value)
    with pytest.raises(UserError, match=r"training.draw is .* give a number"):
        vertebra_run.fit(run, CPU, lambda event: None)


def test_networks_that_draw_nothing_learn_as_before(tmp_path: Path) -> None:
    make_crops(tmp_path / "images", train=2, val=2, cracks=True)
    run = a_run(tmp_path, "vertebra-cnn-lstm", training__epochs=1)
    vertebra_run.fit(run, CPU, lambda event: None)
    with open(run.logs / "metrics.csv", encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert not row.get("train_drawing")
    assert np.isfinite(float(row["val_auc"]))
