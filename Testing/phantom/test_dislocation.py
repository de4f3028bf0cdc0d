"""Displaced vertebrae: how far, which way, what stays, and that bones do not pass through each other."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.bone import to_local
from CSpineFractureLib.phantom.dislocation import (
    DISLOCATABLE,
    KINDS,
    dislocate,
    dislocation_corners,
    sample_dislocation,
)
from CSpineFractureLib.phantom.morphometry import LEVELS, sample_spine
from CSpineFractureLib.phantom.vertebrae import vertebra_distance
from CSpineFractureLib.phantom.vertebral_arch import pillar_centre

CASES = list(product(("C3", "C5", "C6"), range(3)))


def made(kind, level, seed):
    spine = sample_spine(np.random.default_rng(seed))
    moved, done = dislocate(spine, level, kind, np.random.default_rng(seed + 500))
    return spine, moved, done, moved[LEVELS[LEVELS.index(level) + 1]]


def forward_share(spine, moved, level, below):
    """Step of the lower posterior corner of the body, in depths of the body below."""
    corner = lambda v: v.centre + np.array([0, -v.depth / 2, -v.height / 2]) @ v.axes  # noqa: E731
    return (corner(moved[level]) - corner(spine[level])) @ below.axes[1] / below.depth


def turned(spine, moved, level, below):
    """Kyphosis and axial rotation (degrees) that the pair gained, in the frame of the one below."""
    gained = below.axes @ moved[level].axes.T @ spine[level].axes @ below.axes.T
    return np.degrees(np.arctan2(gained[2, 1], gained[2, 2])), np.degrees(np.arctan2(gained[0, 1], gained[1, 1]))


def ahead_of_facet_below(moved, level, below, side):
    """How far the middle of the upper pillar's lower end stands in front of the middle of the pillar below."""
    upper = moved[level]
    x, y = pillar_centre(upper)
    low = upper.centre + np.array([side * x, y, -upper.pitch / 2]) @ upper.axes
    return float(to_local(below, low[:, None])[1][0]) - pillar_centre(below)[1]


@pytest.mark.parametrize(("level", "seed"), CASES)
def test_a_bilateral_dislocation_moves_the_body_by_half_its_depth_and_locks_both_facets(level, seed):
    spine, moved, done, below = made("bilateral-facet", level, seed)
    share = forward_share(spine, moved, level, below)
    assert 0.49 <= share <= 1.0
    assert done.shift_mm == pytest.approx(share * below.depth, abs=0.01)
    kyphosis, rotation = turned(spine, moved, level, below)
    assert abs(kyphosis) == pytest.approx(done.angle_deg, abs=0.1)
    assert 5 < done.angle_deg < 19
    assert abs(rotation) < 2
    assert min(ahead_of_facet_below(moved, level, below, side) for side in (-1, 1)) > 5


@pytest.mark.parametrize(("level", "seed"), CASES)
def test_a_unilateral_dislocation_moves_the_body_by_a_quarter_and_turns_it_about_the_intact_facet(level, seed):
    spine, moved, done, below = made("unilateral-facet", level, seed)
    assert 0.15 <= forward_share(spine, moved, level, below) <= 0.35
    assert 10 <= done.angle_deg <= 20
    assert abs(turned(spine, moved, level, below)[1]) == pytest.approx(done.angle_deg, abs=2)
    side = {"right": 1, "left": -1}[done.side]
    locked, intact = (ahead_of_facet_below(moved, level, below, s) for s in (side, -side))
    assert locked > intact + 5


@pytest.mark.parametrize(("level", "seed"), CASES)
def test_listhesis_slips_two_to_four_millimetres_and_leaves_the_facets_in_place(level, seed):
    spine, moved, done, below = made("listhesis", level, seed)
    slipped = forward_share(spine, moved, level, below) * below.depth
    assert slipped == pytest.approx(done.shift_mm, abs=0.01)
    assert 2 <= abs(slipped) <= 4
    assert abs(done.angle_deg) < 11
    assert np.sign(done.angle_deg) == np.sign(slipped)


def test_listhesis_goes_both_ways():
    shifts = [made("listhesis", "C4", seed)[2].shift_mm for seed in range(8)]
    assert min(shifts) < 0 < max(shifts)


@pytest.mark.parametrize("kind", KINDS)
def test_kyphosis_leans_the_upper_column_forward(kind):
    spine, moved, done, below = made(kind, "C5", 3)
    lean = lambda s: float(s["C5"].axes[2] @ below.axes[1])  # noqa: E731
    way = np.sign(done.shift_mm)
    assert way * lean(moved) > way * lean(spine)


@pytest.mark.parametrize("kind", KINDS)
def test_levels_below_stay_and_all_above_move_as_one_with_the_head(kind):
    spine, moved, _, _ = made(kind, "C5", 2)
    before, after = (np.array([v.centre for v in s.vertebrae]) for s in (spine, moved))
    np.testing.assert_array_equal(after[5:], before[5:])
    apart = lambda rows: np.linalg.norm(rows[:5, None] - rows[None, :5], axis=-1)  # noqa: E731
    np.testing.assert_allclose(apart(after), apart(before), atol=1e-9)
    assert (np.linalg.norm(after[:5] - before[:5], axis=1) > 1).all()
    for v in moved.vertebrae:
        np.testing.assert_allclose(v.axes @ v.axes.T, np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(before, [v.centre for v in sample_spine(np.random.default_rng(2)).vertebrae])


@pytest.mark.parametrize(("kind", "level", "seed"), list(product(KINDS, DISLOCATABLE, (1, 6))))
def test_bodies_and_arches_do_not_pass_through_each_other(kind, level, seed):
    spine, moved, _, below = made(kind, level, seed)
    upper = moved[level]
    foot = upper.centre - upper.axes[2] * upper.height / 2
    assert (foot - below.centre) @ below.axes[2] > below.height / 2 - 1.5
    rng = np.random.default_rng(0)
    local = rng.uniform([-30, -50, -35], [30, 15, 12], (60000, 3)).astype(np.float32)
    inside = local[vertebra_distance(upper, tuple(local.T)) < -0.5]

    def share_shared(v):
        world = v.centre + inside @ v.axes
        return float((vertebra_distance(below, to_local(below, tuple(world.T.astype(np.float32)))) < -0.5).mean())

    assert share_shared(upper) < max(0.02, share_shared(spine[level]) + 0.005)


def test_the_corners_hold_both_bodies():
    _, moved, done, below = made("bilateral-facet", "C5", 1)
    corners = dislocation_corners(moved, done)
    low, high = corners.min(axis=0), corners.max(axis=0)
    for v in (moved["C5"], below):
        assert ((v.centre > low) & (v.centre < high)).all()


def test_the_same_seed_gives_the_same_dislocation():
    first, second = (made("unilateral-facet", "C4", 9) for _ in range(2))
    assert first[2] == second[2]
    np.testing.assert_array_equal(first[1]["C1"].centre, second[1]["C1"].centre)


def test_sampled_dislocations_can_be_made_and_cover_all_kinds():
    rng = np.random.default_rng(0)
    pairs = [sample_dislocation(rng) for _ in range(200)]
    assert {kind for _, kind in pairs} == set(KINDS)
    assert {level for level, _ in pairs} == set(DISLOCATABLE)


@pytest.mark.parametrize(("level", "kind"), [("C1", "listhesis"), ("T1", "listhesis"), ("C5", "subluxation")])
def test_an_unknown_level_or_kind_is_refused_with_a_sentence(level, kind):
    with pytest.raises(UserError, match=r"C1|T1|subluxation"):
        dislocate(sample_spine(np.random.default_rng(0)), level, kind, np.random.default_rng(0))
