"""Batches come in the same order with any number of workers, and errors are heard."""

from __future__ import annotations

from itertools import islice

import pytest

from CSpineFractureLib.training.drawing import drawn_batches


def draw(rng, place):
    return place, float(rng.random())


def test_the_same_seed_gives_the_same_batches_with_any_number_of_workers():
    first, other = (list(islice(drawn_batches(draw, list, 4, 7, workers), 6)) for workers in (0, 2))
    assert first == other
    assert first[0] != first[1]
    assert [place for place, _ in first[0]] == [0, 1, 2, 3]
    assert list(islice(drawn_batches(draw, list, 4, 8, 0), 6)) != first


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_draw_reaches_the_training(workers):
    def broken(rng, place):
        message = "no such slice"
        raise KeyError(message)

    with pytest.raises(KeyError, match="no such slice"):
        next(drawn_batches(broken, list, 2, 0, workers))
