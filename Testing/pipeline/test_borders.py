"""Borders between levels lie at the gaps between bodies, though the middles they are expected from err."""

from __future__ import annotations

import numpy as np
import pytest
from made_neck import a_neck, gaps_s

from CSpineFractureLib.pipeline import body_line as line_module
from CSpineFractureLib.pipeline import borders
from CSpineFractureLib.pipeline.body_line import BodyLine, body_line
from CSpineFractureLib.pipeline.borders import place_borders
from CSpineFractureLib.pipeline.column_search import ColumnMap
from CSpineFractureLib.pipeline.move_map import end_c7, move_map, rename_map
from CSpineFractureLib.pipeline.name_bodies import HEIGHTS_MM
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import coarse_labels, to_coarse
from CSpineFractureLib.volume.ct_volume import CTVolume

LEVELS = np.arange(2, 7)
"""C3 to C7."""


@pytest.fixture(params=["end plates", "sharpness"])
def _both_ways(request, monkeypatch):
    """Discs as fine slices show them, and as coarse ones do."""
    for module in (borders, line_module):
        monkeypatch.setattr(module, "FINE_MM", 1.5 if request.param == "end plates" else 0.0)


def expected_s(middles: np.ndarray, first: int = 2) -> np.ndarray:
    return np.array([middles[0, 2] + 9.0, *gaps_s(middles, first), middles[-1, 2] - 9.0])


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("error_mm", [-5.0, 0.0, 5.0])
def test_borders_lie_in_the_gaps_though_the_middles_err(error_mm):
    volume, middles = a_neck()
    view, own = CanonicalView.of(volume), middles[2:7]
    seen = own + np.array([0.0, 1.0, error_mm])
    line = body_line(view, seen, LEVELS)
    found = line.point_at(place_borders(line, LEVELS, expected_s(seen)))
    assert np.abs(found[1:-1, 2] - gaps_s(own, 2)).max() < 2.0
    assert (np.diff(found[:, 2]) < 0).all()


@pytest.mark.usefixtures("_both_ways")
def test_without_gaps_borders_stay_where_they_are_expected():
    volume, middles = a_neck()
    even = CTVolume(np.where(volume.hu > -500, 200, -1000).astype(np.int16), volume.ijk_to_ras)
    line = body_line(CanonicalView.of(even), middles[2:7], LEVELS)
    found = line.point_at(place_borders(line, LEVELS, expected_s(middles[2:7])))
    assert np.abs(found[1:-1, 2] - gaps_s(middles[2:7], 2)).max() < 2.5


def test_one_middle_far_aside_does_not_draw_the_line_with_it():
    volume, middles = a_neck()
    seen = middles[2:7].copy()
    seen[2, 0] += 12.0
    line = body_line(CanonicalView.of(volume), seen, LEVELS)
    assert np.abs(line.points[:, 0] - middles[0, 0]).max() < 0.5


@pytest.mark.usefixtures("_both_ways")
def test_outside_tissue_nothing_is_a_gap():
    volume, middles = a_neck()
    air = CTVolume(np.full_like(volume.hu, -1000), volume.ijk_to_ras)
    line = body_line(CanonicalView.of(air), middles[2:7], LEVELS)
    assert np.isnan(line.hu).all()
    found = line.point_at(place_borders(line, LEVELS, expected_s(middles[2:7])))
    assert np.abs(found[1:-1, 2] - gaps_s(middles[2:7], 2)).max() < 2.5


@pytest.mark.parametrize("rows", [-3, 0, 4])
def test_a_map_that_lies_too_high_or_low_comes_to_the_borders_and_c1_stays(rows):
    volume, middles = a_neck()
    view, levels = CanonicalView.of(volume), np.arange(7)
    labels = np.zeros(view.hu.shape, np.uint8)
    for n, (_, _, k) in enumerate(np.rint(view.ijk_of(middles)).astype(int)):
        labels[k - 4 : k + 5, 30:46, 27:43] = n + 1
    truth = coarse_labels(labels, view.spacing_mm)
    shifted = np.where(truth == 1, truth, 0)
    below = np.roll(np.where(truth > 1, truth, 0), rows, axis=0)
    shifted[below > 0] = below[below > 0]
    column = ColumnMap(
        np.stack([(shifted == n) * 255 for n in range(9)]).astype(np.uint8),
        np.zeros((8, *truth.shape), np.float32),
        (0, 0, 0),
    )
    line = body_line(view, middles[:7], levels)
    along = line.along_at(expected_s(middles[:7], 0))
    moved = move_map(column, view, line, levels, line.point_at(along))
    names = moved.classes.argmax(axis=0)
    for n, middle in enumerate(middles[:7]):
        k, j, i = np.rint(to_coarse(view.ijk_of(middle)[::-1], view.spacing_mm)).astype(int)
        assert names[k, j, i] == n + 1
    inner = (truth > 2) & (truth < 7)
    assert (names[inner] == truth[inner]).mean() > 0.9  # a row is 2 mm
    assert moved.corner == column.corner


def test_arches_stay_where_they_are_when_bodies_move():
    volume, middles = a_neck()
    view, levels = CanonicalView.of(volume), np.arange(7)
    labels = np.zeros(view.hu.shape, np.uint8)
    for n, (_, _, k) in enumerate(np.rint(view.ijk_of(middles)).astype(int)):
        labels[k - 4 : k + 5, 30:46, 27:43] = n + 1
    arches = np.zeros_like(labels)
    arches[:, :16] = labels[:, 30:46]
    seen = coarse_labels(arches, view.spacing_mm)
    bodies = np.roll(coarse_labels(labels, view.spacing_mm), 3, axis=0)
    seen[bodies > 0] = bodies[bodies > 0]
    classes = np.stack([(seen == n) * 255 for n in range(9)]).astype(np.uint8)
    column = ColumnMap(classes, np.zeros((8, *seen.shape), np.float32), (0, 0, 0))
    line = body_line(view, middles[:7], levels)
    moved = move_map(column, view, line, levels, line.point_at(line.along_at(expected_s(middles[:7], 0))))
    away = seen.shape[1] // 4
    np.testing.assert_array_equal(moved.classes[0, :, :away] >= 128, column.classes[0, :, :away] >= 128)


def named_map(view: CanonicalView, middles: np.ndarray, names: list[int]) -> ColumnMap:
    """Blocks of sure names (1-8) around middles, background elsewhere."""
    labels = np.zeros(view.hu.shape, np.uint8)
    for (_, _, k), name in zip(np.rint(view.ijk_of(middles)).astype(int), names, strict=True):
        labels[k - 4 : k + 5, 30:46, 27:43] = name
    coarse = coarse_labels(labels, view.spacing_mm)
    classes = np.stack([(coarse == n) * 255 for n in range(9)]).astype(np.uint8)
    return ColumnMap(classes, np.zeros((8, *coarse.shape), np.float32), (0, 0, 0))


def names_at(column: ColumnMap, view: CanonicalView, middles: np.ndarray) -> list[int]:
    index = [np.rint(to_coarse(view.ijk_of(middle)[::-1], view.spacing_mm)).astype(int) for middle in middles]
    return [int(column.classes[:, k, j, i].argmax()) for k, j, i in index]


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ([2, 3, 4, 5, 6], [5, 6, 7, 8, 8]),  # the network takes the lower end of a neck for its upper one
        ([6, 7, 8, 8, 8], [5, 6, 7, 7, 7]),
        ([5, 6, 7, 8, 8], [5, 6, 7, 8, 8]),
        ([5, 2, 7, 8, 8], [5, 2, 7, 8, 8]),  # one body otherwise: the others agree
    ],
)
def test_a_map_that_names_most_bodies_otherwise_is_renamed_by_whole_levels(said, right):
    volume, middles = a_neck()
    view = CanonicalView.of(volume)
    column = named_map(view, middles[3:8], said)
    renamed = rename_map(column, view, np.array([4, 5, 6]), middles[3:6])
    assert names_at(renamed, view, middles[3:8]) == right
    assert (renamed is column) == (said == right)


def test_names_far_from_a_border_do_not_draw_the_map_there():
    volume, middles = a_neck()
    view = CanonicalView.of(volume)
    column = named_map(view, middles[[2, 3, 4, 7]], [3, 4, 5, 3])  # shoulders that look like C3
    line = body_line(view, middles[2:5], np.arange(2, 5))
    moved = move_map(column, view, line, np.arange(2, 5), line.point_at(line.along_at(expected_s(middles[2:5]))))
    assert names_at(moved, view, middles[2:5]) == [3, 4, 5]


def test_a_single_level_leaves_the_map_as_it_is():
    volume, middles = a_neck()
    view = CanonicalView.of(volume)
    column = ColumnMap(np.zeros((9, 4, 4, 4), np.uint8), np.zeros((8, 4, 4, 4), np.float32), (0, 0, 0))
    line = body_line(view, middles[3:4], np.array([3]))
    found = line.point_at(place_borders(line, np.array([3]), middles[3, 2] + np.array([9.0, -9.0])))
    assert move_map(column, view, line, np.array([3]), found) is column


@pytest.mark.usefixtures("_both_ways")
def test_a_disc_is_told_from_marrow_that_is_as_dark_but_wider():
    volume, middles = a_neck()
    hu = np.where(volume.hu > -500, 150, -1000).astype(np.int16)  # marrow, 9 mm or more of it
    for s in gaps_s(middles[1:8], 1):
        k = round((s - volume.ijk_to_ras[2, 3]) / volume.ijk_to_ras[2, 2])
        hu[k - 4 : k + 4, 30:46, 27:43] = 400  # end plates
        hu[k - 2 : k + 2, 30:46, 27:43] = 150  # a disc of 6 mm between them
    old = CTVolume(hu, volume.ijk_to_ras)
    seen = middles[2:7] + np.array([0.0, 0.0, 4.0])
    line = body_line(CanonicalView.of(old), seen, LEVELS)
    found = line.point_at(place_borders(line, LEVELS, expected_s(seen)))
    assert np.abs(found[1:-1, 2] - gaps_s(middles[2:7], 2)).max() < 2.0


def test_c7_ends_at_its_disc_but_its_arch_may_hang_lower():
    volume, middles = a_neck()
    view, line = CanonicalView.of(volume), body_line(CanonicalView.of(volume), middles, np.arange(8))
    disc = np.array([*middles[6, :2], gaps_s(middles)[6]])
    classes = np.zeros((9, 90, 35, 23), np.uint8)
    classes[7] = 200  # C7 everywhere
    ended = end_c7(ColumnMap(classes, np.zeros((8, 90, 35, 23)), (0, 0, 0)), view, line, disc).classes
    body, arch = middles[7] + [0, 0, 3], middles[7] + [0, -20, 3]
    for place, name in ((body, 8), (arch, 7), (middles[6], 7)):
        k, j, i = np.rint(to_coarse(view.ijk_of(place)[::-1], view.spacing_mm)).astype(int)
        assert ended[:, k, j, i].argmax() == name


def test_a_worn_disc_is_told_from_the_darker_marrow_beside_it_where_slices_are_fine():
    along = np.arange(0.0, 130.0, 0.5)
    hu = np.full(len(along), 380.0)  # marrow
    discs = 20.0 + 16.0 * np.arange(6)
    for disc in discs:
        hu[np.abs(along - disc) <= 2.25] = 620.0  # end plates
        hu[np.abs(along - disc) <= 1.0] = 480.0  # what is left of the disc
    points = np.stack([np.zeros(len(along)), np.zeros(len(along)), -along], axis=1)
    line = BodyLine(points, along, hu, np.zeros((2, len(along))), slice_mm=0.8)
    found = place_borders(line, LEVELS, -(discs + 4.0))
    assert np.abs(found - discs).max() < 1.0


@pytest.mark.parametrize("height_mm", [12.0, 16.0, 20.0])
@pytest.mark.parametrize("error", [-0.44, 0.44])
def test_pedicles_tell_discs_from_marrow_that_looks_the_same_where_slices_are_coarse(error, height_mm):
    along, size = np.arange(0.0, 250.0, 0.5), height_mm / HEIGHTS_MM[3]
    top = 20.0 + np.array([0.0, HEIGHTS_MM[0] * size])  # of C1 and of C2
    discs = top[1] + HEIGHTS_MM[1] * size + height_mm * np.arange(6)
    turn = (along - discs[0]) * 2 * np.pi / height_mm
    hu = 250.0 - 50.0 * np.cos(2 * turn) + 40.0 * np.cos(turn)  # dark in discs, and darker in marrow
    beside = 300.0 + 200.0 * np.sin(turn)  # pedicles below discs, foramina above
    points = np.stack([np.zeros(len(along)), np.zeros(len(along)), -along], axis=1)
    line = BodyLine(points, along, hu, np.stack([beside, beside]), slice_mm=2.5)
    alike = BodyLine(points, along, hu, np.zeros((2, len(along))), slice_mm=2.5)
    expected, half = -np.concatenate([top, discs + error * height_mm]), 0.25 * height_mm

    def off(line: BodyLine, first: int) -> np.ndarray:
        return np.abs(place_borders(line, np.arange(first, 7), expected[first:])[2 - first :] - discs)

    assert off(line, first=0).max() < 1.5
    assert off(line, first=1).max() < 1.5
    assert off(alike, first=0)[1:].min() > half
    assert off(line, first=2).min() > half  # it may as well be another level


def test_pedicles_are_read_beside_the_bodies():
    volume, middles = a_neck()
    hu = volume.hu.copy()
    k, j, i = np.rint(volume.ijk_of(middles[4] + [15.0, -4.0, 4.0])[::-1]).astype(int)
    hu[k - 2 : k + 3, j - 4 : j + 5, i - 3 : i + 4] = 700
    line = body_line(CanonicalView.of(CTVolume(hu, volume.ijk_to_ras)), middles[2:7], LEVELS)
    brightest = line.points[line.beside.argmax(axis=1), 2]
    assert np.abs(brightest - (middles[4, 2] + 4.0)).max() <= 4
    rising = line.points[line_module.pedicle_signal(line).argmax(), 2]
    assert 3 < rising - middles[4, 2] < 12
