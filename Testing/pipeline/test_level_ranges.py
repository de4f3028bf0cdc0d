"""Levels per slice to ranges in anatomical order."""

from __future__ import annotations

import numpy as np

from CSpineFractureLib.pipeline.level_ranges import level_ranges


def presence(ranges: dict[int, tuple[int, int]], n: int = 120) -> np.ndarray:
    table = np.full((n, 7), 0.03)
    for level, (first, last) in ranges.items():
        table[first : last + 1, level] = 0.95
    return table


WHOLE = {0: (10, 24), 1: (20, 45), 2: (42, 60), 3: (57, 74), 4: (71, 88), 5: (85, 101), 6: (98, 116)}


def found(table, step_mm=1.0):
    return {one.level: (one.first, one.last) for one in level_ranges(table, step_mm)}


def test_overlapping_levels_are_found_where_they_are():
    assert found(presence(WHOLE)) == WHOLE


def test_slips_of_single_slices_change_nothing():
    table = presence(WHOLE)
    table[50] = 0.05
    table[5, 6] = table[110, 0] = table[112, 1] = 0.98
    table[[30, 33], 1] = 0.2
    assert found(table) == WHOLE


def test_noise_moves_no_end_by_more_than_a_slice_or_two():
    rng = np.random.default_rng(4)
    table = np.clip(presence(WHOLE) + rng.normal(0, 0.15, (120, 7)), 0, 1)
    for level, ends in found(table).items():
        assert np.abs(np.subtract(ends, WHOLE[level])).max() <= 2
    assert set(found(table)) == set(WHOLE)


def test_a_part_of_the_column_gives_the_levels_it_shows():
    part = {level: ends for level, ends in WHOLE.items() if level >= 3}
    assert found(presence(part)) == part
    cut = presence(WHOLE)[50:95]
    assert found(cut) == {2: (0, 10), 3: (7, 24), 4: (21, 38), 5: (35, 44)}


def test_levels_out_of_order_are_not_believed():
    table = presence({2: (60, 80), 5: (20, 40)})
    assert len(found(table)) == 1


def test_a_level_that_its_neighbours_miss_is_left_out():
    table = presence({level: ends for level, ends in WHOLE.items() if level != 3})
    assert set(found(table)) == set(WHOLE) - {3}


def test_nothing_and_too_little_give_no_level():
    assert level_ranges(np.zeros((0, 7)), 1.0) == []
    assert found(presence({})) == {}
    assert found(presence({3: (50, 52)})) == {}
