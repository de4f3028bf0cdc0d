import numpy as np
import pytest

from CSpineFractureLib.pipeline.name_bodies import HEIGHTS_MM, name_bodies


def a_column(first: int, last: int, size: float = 1.0):
    """Places (mm, from above) and clear heat of the levels ``first`` to ``last``."""
    steps = [0.0, *(size * (HEIGHTS_MM[n] + HEIGHTS_MM[n + 1]) / 2 for n in range(first, last))]
    heights = 300 - np.cumsum(steps)
    places = np.stack([heights, np.zeros_like(heights), np.zeros_like(heights)], axis=1)
    heat = np.full((8, len(places)), 0.005)
    heat[np.arange(first, last + 1), np.arange(len(places))] = 0.7
    return places, heat


def named(places, heat):
    return [(body.level, body.place) for body in name_bodies(places, heat)]


@pytest.mark.parametrize(("first", "last", "size"), [(0, 7, 1.0), (0, 3, 0.85), (2, 5, 1.2), (6, 7, 1.0), (4, 4, 1.0)])
def test_any_part_of_a_column_of_any_size_is_named(first, last, size):
    places, heat = a_column(first, last, size)
    assert named(places, heat) == [(level, level - first) for level in range(first, last + 1)]


def test_the_order_in_which_places_come_does_not_matter():
    places, heat = a_column(0, 7)
    order = np.random.default_rng(3).permutation(8)
    assert [(level, order[place]) for level, place in named(places[order], heat[:, order])] == [
        (n, n) for n in range(8)
    ]


def test_a_level_that_hardly_shows_is_named_by_its_neighbours():
    places, heat = a_column(0, 7)
    heat[:, 3] = 0.02
    heat[3, 3] = 0.04
    assert named(places, heat) == [(n, n) for n in range(8)]


def test_names_that_slipped_by_one_in_the_middle_are_set_right():
    places, heat = a_column(0, 7)
    heat[[3, 4], [3, 3]] = 0.2, 0.3  # C4 looks a little more like C5
    heat[[4, 5], [4, 4]] = 0.2, 0.25
    assert named(places, heat) == [(n, n) for n in range(8)]


def test_bone_elsewhere_does_not_join_the_column():
    places, heat = a_column(0, 7)
    places = np.vstack([places, [[260.0, 70.0, 30.0], [150.0, -80.0, 0.0]]])
    heat = np.hstack([heat, np.full((8, 2), 0.15)])
    assert named(places, heat) == [(n, n) for n in range(8)]


def test_names_that_might_as_well_be_others_are_not_confident():
    places, heat = a_column(0, 3)
    clear = name_bodies(places, heat)
    heat[np.arange(1, 5), np.arange(4)] = 0.68
    doubtful = name_bodies(places, heat)
    assert min(body.confidence for body in clear) > 0.9
    assert max(body.confidence for body in doubtful) < 0.7


def test_the_dens_does_not_stand_in_for_a_level():
    # As in a planning CT cut off below C5.
    places = np.array([[82, 148, 33], [68, 146, 27], [58, 150, 33], [38, 152, 33], [18, 154, 33], [0, 154, 33]], float)
    heat = [
        [0.63, 0.12, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00],
        [0.20, 0.36, 0.03, 0.01, 0.00, 0.01, 0.00, 0.00],  # the dens
        [0.09, 0.55, 0.14, 0.02, 0.01, 0.00, 0.00, 0.00],
        [0.00, 0.02, 0.60, 0.19, 0.01, 0.00, 0.00, 0.00],
        [0.00, 0.00, 0.05, 0.55, 0.26, 0.02, 0.01, 0.01],
        [0.13, 0.03, 0.03, 0.09, 0.43, 0.45, 0.24, 0.10],
    ]
    assert named(places, np.array(heat).T) == [(0, 0), (1, 2), (2, 3), (3, 4), (4, 5)]


@pytest.mark.parametrize("first", [1, 2, 4])
def test_names_without_c1_are_never_sure(first):
    places, heat = a_column(first, 7)
    assert max(body.confidence for body in name_bodies(places, heat)) < 0.5


def test_without_places_nothing_is_named():
    assert name_bodies(np.zeros((0, 3)), np.zeros((8, 0))) == []


@pytest.mark.parametrize("unseen", [1, 3, 5])
def test_a_body_without_a_place_does_not_break_the_column(unseen):
    places, heat = a_column(0, 7)
    rest = [n for n in range(8) if n != unseen]
    found = name_bodies(places[rest], heat[:, rest])
    assert [body.level for body in found] == list(range(8))
    assert [body.place for body in found if body.place is not None] == list(range(7))
    assert found[unseen].place is None
    assert found[unseen].confidence < 0.5 < min(body.confidence for body in found if body.place is not None)


def test_no_link_leads_sideways():
    places, heat = a_column(2, 4)
    aside = places[2] + [-8.0, 15.0, 0.0]  # as far from C5 as C6 would be
    heat = np.hstack([heat, np.full((8, 1), 0.005)])
    heat[5, 3] = 0.3
    assert named(np.vstack([places, aside]), heat) == [(2, 0), (3, 1), (4, 2)]
    below = places[2] + [-16.0, 6.0, 0.0]
    assert named(np.vstack([places, below]), heat) == [(2, 0), (3, 1), (4, 2), (5, 3)]
