"""The sagittal network's map gives the levels, their slabs and boxes where the bones are, however they are stored."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from made_neck import BLOCK_HU, a_context, a_neck

from CSpineFractureLib.pipeline.column_search import ColumnMap, candidates, map_column, names_on
from CSpineFractureLib.pipeline.locate import beyond_the_scan, locate, map_boxes, slabs_of
from CSpineFractureLib.pipeline.name_bodies import NamedBody
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture
def context():
    return a_context()


def located(volume, context, seen=0.5):
    """The levels of a volume in which YOLO sees vertebrae of any name, with that score."""
    view = CanonicalView.of(volume)
    column = map_column(view, context)
    heights = view.ras_of(np.stack([np.zeros(len(view.hu)), np.zeros(len(view.hu)), np.arange(len(view.hu))], 1))[
        ::-1, 2
    ]
    levels, column = locate(column, view, np.full((len(heights), 8), seen), heights)
    return view, column, levels, heights


def test_levels_are_found_where_they_are(context):
    volume, middles = a_neck()
    _view, _column, levels, _heights = located(volume, context)
    assert [level.level for level in levels] == [0, 1, 2, 3, 4, 5, 6]
    for level, middle in zip(levels, middles, strict=False):
        assert np.linalg.norm((level.center_ras - middle)[1:]) < 3.0
        assert abs(level.center_ras[0] - middle[0]) <= 8.0  # the made network is as warm at the sides
        assert level.slab_s[0] < middle[2] < level.slab_s[1]


def test_a_body_that_the_map_does_not_show_lies_between_its_neighbours(context):
    volume, middles = a_neck()
    volume.hu[volume.hu == BLOCK_HU + 50 * 3] = 40
    _view, _column, levels, _heights = located(volume, context)
    assert [level.level for level in levels] == [0, 1, 2, 3, 4, 5, 6]
    assert np.linalg.norm((levels[3].center_ras - middles[3])[1:]) < 4.0
    assert levels[3].confidence < 0.5


@pytest.mark.parametrize(
    ("lowest", "moved"),
    [
        (-200.0, [0.0, -18.0, -36.0, -44.0]),
        (-52.0, [0.0, -18.0, -36.0, -44.0]),  # half of C6 is there
        (-46.0, [0.0, -18.0, -36.0, -54.0]),
    ],
)
def test_the_middle_of_a_body_that_the_scan_cuts_lies_as_far_away_as_is_usual(lowest, moved):
    bodies = [NamedBody(level, n, 1.0, 1.0) for n, level in enumerate((2, 3, 4, 5))]
    middles = np.array([[0.0, 0.0, s] for s in (0.0, -18.0, -36.0, -44.0)])
    found = beyond_the_scan(bodies, middles, (lowest, 200.0))
    np.testing.assert_allclose(found[:, 2], moved, atol=2.0)


def test_the_map_knows_its_own_slices_alone():
    view = CanonicalView.of(CTVolume(np.zeros((40, 8, 8), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0])))
    column = ColumnMap(np.zeros((9, 5, 2, 2), np.uint8), np.zeros((8, 5, 2, 2), np.float32), (10, 0, 0))
    rows = [column.row_of(k, view) for k in range(40)]  # two slices of the CT to one of the map
    assert rows == [None] * 20 + [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] + [None] * 10


def test_bodies_that_yolo_does_not_see_are_no_neck(context):
    volume, _middles = a_neck()
    _view, _column, levels, _heights = located(volume, context, seen=0.3)
    assert levels == []


def test_another_order_of_storage_gives_the_same_levels(context):
    volume, _middles = a_neck()
    _view, _column, levels, _heights = located(volume, context)
    columns = volume.ijk_to_ras[:, [2, 0, 1, 3]]  # stored i is k, stored j is i, stored k is j
    stored = CTVolume(np.ascontiguousarray(volume.hu.transpose(1, 2, 0)), columns)
    _view, _column, again, _heights = located(stored, context)
    assert [level.level for level in again] == [level.level for level in levels]
    assert all(np.allclose(a.center_ras, b.center_ras) for a, b in zip(again, levels, strict=True))


def test_slabs_follow_each_other_and_know_where_the_scan_ends(context):
    volume, _middles = a_neck()
    _view, _column, levels, heights = located(volume, context)
    slabs = slabs_of(levels, heights)
    assert [slab.level for slab in slabs] == list(range(7))
    assert all(one.last < other.first for one, other in pairwise(slabs))
    assert all(other.first - one.last <= 3 for one, other in pairwise(slabs))
    assert not any(slab.cut_above or slab.cut_below for slab in slabs[1:6])
    cut = slabs_of(levels, heights[heights > levels[-1].center_ras[2]])
    assert cut[-1].cut_below


def test_names_lie_on_their_bone_and_boxes_around_it(context):
    volume, middles = a_neck()
    view, column, _levels, _heights = located(volume, context)
    place, step = tuple(slice(0, n) for n in view.hu.shape), (1, 1, 1)
    names, certainty = names_on(column, view, place, step)
    for n, middle in enumerate(middles):
        i, j, k = np.rint(view.ijk_of(middle)).astype(int)
        assert names[k, j, i] == n + 1
        assert certainty[k, j, i] > 200
        boxes = [box for box in map_boxes(column, view, k) if box.scores.argmax() == n]
        assert len(boxes) == 1
        assert np.allclose(np.add(boxes[0].low, boxes[0].high) / 2, middle[:2], atol=2.0)
        assert np.allclose(np.subtract(boxes[0].high, boxes[0].low), 16, atol=5.0)
    bone = view.hu > 200
    assert ((names > 0) == bone).mean() > 0.98


def test_air_has_no_column_and_an_empty_map_no_candidates(context):
    volume = CTVolume(np.full((20, 20, 20), -1000, np.int16), np.eye(4))
    assert map_column(CanonicalView.of(volume), context) is None
    assert len(candidates(np.zeros((8, 5, 5, 5)))) == 0
    empty = ColumnMap(np.zeros((9, 4, 4, 4), np.uint8), np.zeros((8, 4, 4, 4)), (0, 0, 0))
    levels, column = locate(empty, CanonicalView.of(volume), np.zeros((20, 8)), np.arange(20.0))
    assert levels == []
    assert column is empty
