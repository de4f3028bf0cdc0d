"""The slices that the column locator learns from show what is there: no body in the air, no label that is unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CSpineFractureLib.datasets.column_volumes import UNKNOWN, ColumnVolume
from CSpineFractureLib.models.sagittal_net import SagittalNet
from CSpineFractureLib.training import column_samples
from CSpineFractureLib.training.column_samples import draw_slices
from CSpineFractureLib.training.column_task import ColumnTask
from CSpineFractureLib.training.systems import load_system


def a_volume() -> ColumnVolume:
    hu = np.full((90, 60, 40), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    bodies = np.full((8, 3), np.nan, np.float32)
    for n in range(8):
        k = 82 - 10 * n
        hu[k - 3 : k + 4, 25:33, 17:24] = 400
        labels[k - 3 : k + 4, 25:33, 17:24] = n + 1
        bodies[n] = (k, 28.5, 20)
    return ColumnVolume(hu, labels, bodies)


def test_a_plain_slice_is_warm_in_the_middle_of_each_body():
    made = draw_slices(a_volume(), 1, 96, np.random.default_rng(0), plain=True)
    assert made.heat[0].amax(dim=(1, 2)).min() > 0.8
    assert set(made.labels.unique().tolist()) == set(range(9))


def test_a_body_outside_the_stored_tissue_gives_no_heat(monkeypatch):
    monkeypatch.setattr(column_samples, "PLANNING", 0.0)
    monkeypatch.setattr(column_samples, "CORD", 1.0)
    monkeypatch.setattr(column_samples, "CUT", 0.0)
    monkeypatch.setattr(column_samples, "PIECE", 0.0)
    cold = 0
    for seed in range(12):
        made = draw_slices(a_volume(), 2, 96, np.random.default_rng(seed))
        dark = (made.images[:, 2] == 0).float()  # the middle one of five slices, below the lower end of its window
        air = -torch.nn.functional.max_pool2d(-dark, 5, 1, 2) == 1  # without its edge, where it is mixed with tissue
        for picture in range(2):
            for heat in made.heat[picture]:
                if heat.max() > 0.5:
                    k, j = np.unravel_index(int(heat.argmax()), heat.shape)
                    assert not air[picture, k, j]
                else:
                    cold += 1
        assert (made.labels[air] == 0).all()
    assert cold > 12


def test_a_piece_of_a_neck_is_as_high_as_said_and_shows_nothing_beyond(monkeypatch):
    for name, value in {"PIECE": 1.0, "PLANNING": 0.0, "CORD": 0.0, "FAR_SHARE": 0.0}.items():
        monkeypatch.setattr(column_samples, name, value)
    least, most = column_samples.PIECE_MM
    for seed in range(4):
        made = draw_slices(a_volume(), 1, 96, np.random.default_rng(seed))
        shown = np.flatnonzero((made.images[0].amax(dim=0) > 0).any(dim=1).numpy())
        assert least - 4 <= 2 * len(shown) <= most + 2  # rows of 2 mm
        assert not made.labels[0, : shown[0]].any()
        assert not made.heat[0, :, shown[-1] + 1 :].any()


def test_unknown_voxels_change_neither_loss_nor_figures():
    system = load_system("column-locator", quick=True)
    task = ColumnTask(SagittalNet(), system)
    labels = torch.randint(0, 9, (2, 32, 32), generator=torch.Generator().manual_seed(0))
    labels[:, :16] = UNKNOWN
    logits = torch.randn(2, 17, 32, 32, generator=torch.Generator().manual_seed(1))
    other = logits.clone()
    other[:, :9, :16] += torch.randn(2, 9, 16, 32, generator=torch.Generator().manual_seed(2)) * 5
    heat, known = torch.zeros(2, 8, 32, 32), torch.ones(2)
    assert task.loss(logits, labels, heat, known) == pytest.approx(float(task.loss(other, labels, heat, known)))
    counted = torch.where(labels == UNKNOWN, 3, labels)
    assert float(task.loss(logits, counted, heat, known)) != pytest.approx(
        float(task.loss(other, counted, heat, known)), rel=1e-3
    )
