"""Changes of a CT under stress: the patient stays as he is, only what is seen of him, and how, changes."""

from __future__ import annotations

import numpy as np
import pytest
from made_neck import SPACING_MM, a_neck

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.training.stress_changes import CHANGES, THICKNESS_MM, chosen_kinds, inside
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

SEEDS = range(6)
CHANCE = ("crop-top", "crop-bottom", "crop-sides", "flip", "permute")
"""Kinds in which chance decides what is seen."""


@pytest.fixture(scope="module")
def neck() -> tuple[CTVolume, dict[str, np.ndarray]]:
    volume, middles = a_neck(levels=7)
    return volume, dict(zip(LEVELS, middles, strict=True))


def change(kind: str, neck, seed: int = 0):
    return CHANGES[kind](*neck, np.random.default_rng(seed))


def hu_at(volume: CTVolume, ras: np.ndarray) -> int:
    i, j, k = np.rint(volume.ijk_of(ras)).astype(int)
    return int(volume.hu[k, j, i])


@pytest.mark.parametrize("kind", [kind for kind in CHANGES if not kind.startswith("noise")])
def test_marks_stay_on_their_bones(neck, kind):
    for seed in SEEDS if kind in CHANCE else (0,):
        volume, marks = change(kind, neck, seed)
        assert marks
        for level, mark in marks.items():
            off = abs(hu_at(volume, mark) - hu_at(neck[0], neck[1][level]))
            assert off <= 20, (seed, level)  # the next level differs by 50 HU, soft tissue by 260 and more


@pytest.mark.parametrize("kind", list(CHANGES))
def test_the_volume_that_was_given_stays_as_it_is(neck, kind):
    volume, marks = neck
    before, matrix, places = volume.hu.copy(), volume.ijk_to_ras.copy(), {k: v.copy() for k, v in marks.items()}
    change(kind, neck)
    np.testing.assert_array_equal(volume.hu, before)
    np.testing.assert_array_equal(volume.ijk_to_ras, matrix)
    assert all((marks[level] == places[level]).all() for level in places)


@pytest.mark.parametrize(("kind", "end"), [("crop-top", "C7"), ("crop-bottom", "C1")])
def test_a_crop_of_one_end_leaves_three_levels_or_more_at_the_other(neck, kind, end):
    kept = [change(kind, neck, seed)[1] for seed in SEEDS]
    assert all(end in marks and 3 <= len(marks) < 7 for marks in kept)
    assert len({len(marks) for marks in kept}) > 1, "crops are random"
    part, marks = change(kind, neck)
    assert part.hu.shape[1:] == neck[0].hu.shape[1:]
    names = list(LEVELS) if end == "C1" else list(LEVELS)[::-1]
    assert set(marks) == set(names[: len(marks)])


def test_too_few_marks_leave_nothing_to_crop(neck):
    volume, marks = neck
    one = {"C3": marks["C3"]}
    two = {level: marks[level] for level in ("C3", "C4")}
    for kind in ("crop-top", "crop-bottom"):
        assert CHANGES[kind](volume, one, np.random.default_rng(0)) is None
        assert len(CHANGES[kind](volume, two, np.random.default_rng(0))[1]) == 1
    assert CHANGES["crop-c3-c5"](volume, two, np.random.default_rng(0)) is None


def test_the_middle_crop_ends_half_way_to_the_next_levels(neck):
    part, marks = change("crop-c3-c5", neck)
    assert list(marks) == ["C3", "C4", "C5"]
    ends = part.ras_of([[0, 0, 0], [0, 0, len(part.hu) - 1]])[:, 2]
    wanted = [(neck[1][a][2] + neck[1][b][2]) / 2 for a, b in (("C5", "C6"), ("C2", "C3"))]
    np.testing.assert_allclose(ends, wanted, atol=SPACING_MM[2])


def test_side_crops_take_columns_away_and_keep_the_height(neck):
    wide = CTVolume(np.pad(neck[0].hu, ((0, 0), (0, 0), (60, 60)), constant_values=40), neck[0].ijk_to_ras)
    marks = {level: wide.ras_of(neck[0].ijk_of(mark) + np.array([60, 0, 0])) for level, mark in neck[1].items()}
    part, kept = change("crop-sides", (wide, marks))
    assert part.hu.shape[:2] == wide.hu.shape[:2]
    assert 60 <= part.hu.shape[2] <= 120
    assert kept.keys() == marks.keys()


@pytest.mark.parametrize("kind", ["flip", "permute"])
def test_storage_in_another_order_shows_the_same_patient(neck, kind):
    first = CanonicalView.of(neck[0])
    stored = set()
    for seed in SEEDS:
        copy, marks = change(kind, neck, seed)
        view = CanonicalView.of(copy)
        np.testing.assert_array_equal(view.hu, first.hu)
        np.testing.assert_allclose(view.ijk_to_ras, first.ijk_to_ras, atol=1e-9)
        assert marks is neck[1]
        assert not np.allclose(copy.ijk_to_ras, neck[0].ijk_to_ras)
        stored.add((copy.shape_kji, tuple(np.sign(copy.ijk_to_ras[:3, :3]).ravel())))
    assert len(stored) > 2


@pytest.mark.parametrize("thickness", THICKNESS_MM)
def test_slices_get_the_thickness_asked_for(neck, thickness):
    copy, marks = change(f"slices-{thickness}mm", neck)
    assert copy.spacing_mm == pytest.approx((1.0, 1.0, thickness))
    assert marks.keys() == neck[1].keys()
    height = copy.hu.shape[0] * thickness
    assert abs(height - neck[0].hu.shape[0] * SPACING_MM[2]) <= thickness


def test_thick_slices_are_averages_and_equal_ones_are_no_change():
    hu = np.zeros((120, 20, 20), np.int16)
    hu[::2] = 100
    striped = CTVolume(hu, np.eye(4))
    copy, _ = CHANGES["slices-5mm"](striped, {}, np.random.default_rng(0))
    assert abs(copy.hu[2:-2].astype(int) - 50).max() < 5
    assert CHANGES["slices-1mm"](striped, {}, np.random.default_rng(0)) is None


def test_slices_are_made_along_the_patient_however_he_is_stored(neck):
    turned = CHANGES["permute"](*neck, np.random.default_rng(1))
    assert turned[0].spacing_mm != pytest.approx(SPACING_MM)
    copy, marks = change("slices-4mm", turned)
    assert CanonicalView.of(copy).spacing_mm == pytest.approx((1, 1, 4))
    assert marks.keys() == neck[1].keys()


@pytest.mark.parametrize("sd", [25, 50])
def test_noise_has_its_standard_deviation_and_leaves_the_air(neck, sd):
    copy, _ = change(f"noise-{sd}hu", neck)
    tissue = neck[0].hu > -1000
    added = copy.hu[tissue].astype(float) - neck[0].hu[tissue]
    assert added.std() == pytest.approx(sd, rel=0.02)
    assert abs(added.mean()) < 1
    np.testing.assert_array_equal(copy.hu[~tissue], neck[0].hu[~tissue])


@pytest.mark.parametrize(("kind", "forward"), [("tilt-forward", 1), ("tilt-back", -1)])
def test_a_tilt_moves_the_top_of_the_neck_by_fifteen_degrees(neck, kind, forward):
    copy, marks = change(kind, neck)
    assert copy.shape_kji == neck[0].shape_kji
    top, bottom = ([level for level in LEVELS if level in marks][n] for n in (0, -1))
    was, now = (side[top] - side[bottom] for side in (neck[1], marks))
    assert now[0] == pytest.approx(was[0])
    assert np.linalg.norm(now) == pytest.approx(np.linalg.norm(was))
    angle = np.degrees(np.arctan2(now[1], now[2]) - np.arctan2(was[1], was[2]))
    assert angle == pytest.approx(15 * forward)


@pytest.mark.parametrize(("kind", "forward"), [("gantry-forward", 1), ("gantry-back", -1)])
def test_a_tilted_gantry_turns_the_slices_and_leaves_the_patient(neck, kind, forward):
    copy, marks = change(kind, neck)
    assert marks.keys() <= neck[1].keys()
    for level, mark in marks.items():
        np.testing.assert_array_equal(mark, neck[1][level])
        k, j, i = np.rint(copy.ijk_of(mark)).astype(int)[::-1]
        was = np.rint(neck[0].ijk_of(mark)).astype(int)[::-1]
        around, before = (
            v.hu[tuple(slice(n - 3, n + 4) for n in place)] for v, place in ((copy, (k, j, i)), (neck[0], was))
        )
        assert around.mean() == pytest.approx(before.mean(), abs=60), level
    up = CanonicalView.of(copy).ijk_to_ras[:3, 2]
    assert np.degrees(np.arctan2(up[1], up[2])) == pytest.approx(15 * forward)


def test_marks_outside_the_volume_do_not_count(neck):
    volume, _ = neck
    corner = volume.ras_of([-0.4, 0, 0])
    assert list(inside(volume, {"C1": corner, "C2": volume.ras_of([0, 0, -0.6])})) == ["C1"]


def test_kinds_are_named_whole_or_by_how_they_begin():
    assert chosen_kinds(None) == list(CHANGES)
    assert chosen_kinds(["tilt", "flip"]) == ["flip", "tilt-forward", "tilt-back"]
    with pytest.raises(UserError, match="--kinds shear"):
        chosen_kinds(["shear"])
