"""Fractures of every type: where they lie, how wide they are, what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bones import column_of

from CSpineFractureLib.phantom.anatomy import content_of
from CSpineFractureLib.phantom.fracture_types import RSNA_LEVEL_RATES, types_of
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.phantom.truth import LABELS

SMALL = StudyPlan(
    spacing_mm=(0.8, 0.8, 0.8), fractures=(), mimics=(), width_mm=96, depth_mm=100, above_mm=12, below_mm=-4
)
EVERY = [(level, kind) for level in ("C1", "C2", "C5", "C7") for kind in types_of(level)]
SEED = 12


@pytest.fixture(scope="module")
def sound():
    return column_of(SEED, SMALL)


@pytest.mark.parametrize(("level", "kind"), EVERY)
def test_every_type_tears_its_level_and_no_other(sound, level, kind):
    broken = column_of(SEED, replace(SMALL, fractures=((level, kind),), hairline_rate=0.0))
    own = LABELS[level]
    assert set(np.unique(broken.gaps)) == {0, own}
    others = (sound.labels != 0) & (sound.labels != own)
    same = (broken.labels == sound.labels)[others].mean()
    assert same > 0.998, "a displaced piece may touch a neighbour, but leaves it as it is"
    changed = np.abs(broken.canvas.hu - sound.canvas.hu) > 1
    near = np.argwhere(sound.labels == own)
    low, high = near.min(axis=0) - 9, near.max(axis=0) + 10
    outside = changed.copy()
    outside[tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))] = False
    assert not outside.any(), "nothing else of the person changes"
    torn = (broken.gaps == own) & (sound.labels == own)
    assert sound.canvas.hu[torn].mean() - broken.canvas.hu[torn].mean() > 80


@pytest.mark.parametrize(
    ("level", "kind"), [("C2", "dens-2"), ("C5", "burst"), ("C6", "transverse"), ("C1", "jefferson")]
)
def test_a_hairline_gap_is_below_one_voxel_and_displaces_nothing(sound, level, kind):
    plan = replace(SMALL, fractures=((level, kind),), hairline_rate=1.0)
    _, (fracture,), _ = content_of(SEED, plan)
    assert fracture.hairline
    assert fracture.gap_mm < min(SMALL.spacing_mm)
    assert fracture.shift_mm == fracture.height_loss_mm == 0
    broken = column_of(SEED, plan)
    np.testing.assert_array_equal(broken.labels, sound.labels)
    drop = (sound.canvas.hu - broken.canvas.hu)[broken.gaps > 0]
    assert 20 < drop.max() < 900, "it darkens the bone by partial volume, and does not open it"


def test_torn_faces_have_no_cortex():
    """The rim of an acute gap is trabecular; that of an old cleft would be as dense as the outer wall."""
    plan = replace(
        SMALL, spacing_mm=(0.5, 0.5, 0.5), width_mm=60, depth_mm=70, fractures=(("C4", "burst"),), hairline_rate=0.0
    )
    broken = column_of(SEED, plan)
    v = broken.spine["C4"]
    k, j, i = np.nonzero(broken.labels == LABELS["C4"])
    ras = (np.stack([i, j, k, np.ones_like(i)], axis=1) @ broken.canvas.ijk_to_ras.T)[:, :3]
    local = (ras - v.centre) @ v.axes.T
    core = (np.abs(local[:, 0]) < 0.3 * v.width) & (np.abs(local[:, 1]) < 0.3 * v.depth)
    core &= np.abs(local[:, 2]) < 0.25 * v.height
    hu = broken.canvas.hu[k[core], j[core], i[core]]
    wall = broken.canvas.hu[broken.labels == LABELS["C4"]]
    assert np.percentile(hu, 95) < 0.75 * np.percentile(wall, 98)


def test_scanner_and_people_are_alike_with_and_without_fractures():
    plans = [replace(SMALL, fractures=f, mimics=None, mimic_rate=1.0) for f in ((), (("C1", "jefferson"),))]
    sound, broken = (make_study(77, plan) for plan in plans)
    assert sound.scanner == broken.scanner
    assert sound.age == broken.age
    assert sound.centres_ras == broken.centres_ras
    assert sound.mimics == broken.mimics


def test_slice_boxes_hold_the_gap_and_nothing_is_missed():
    study = make_study(SEED, replace(SMALL, fractures=(("C6", "burst"), ("C2", "dens-2"))))
    for truth in study.fractures:
        gap = study.fracture_mask == LABELS[truth.level]
        assert [box[0] for box in truth.slice_boxes] == np.flatnonzero(gap.any(axis=(1, 2))).tolist()
        for k, x, y, width, height in truth.slice_boxes:
            j, i = np.nonzero(gap[k])
            assert x <= i.min() <= i.max() < x + width
            assert y <= j.min() <= j.max() < y + height
            assert min(x, y) >= 0
            assert x + width <= gap.shape[2]
            assert y + height <= gap.shape[1]


def test_levels_are_drawn_by_the_rates_of_rsna():
    drawn = []
    for seed in range(1500):
        _, fractures, _ = content_of(seed, replace(SMALL, fractures=None, fracture_rate=1.0))
        drawn += [f.level for f in fractures]
    total = sum(RSNA_LEVEL_RATES.values())
    for level, rate in RSNA_LEVEL_RATES.items():
        assert drawn.count(level) / len(drawn) == pytest.approx(rate / total, abs=0.035)
