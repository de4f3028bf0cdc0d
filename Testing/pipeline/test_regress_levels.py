"""The level regressor's word counts among the names of the column locator, and only where its weights are there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_neck import ReadsHU, a_context, a_neck

from CSpineFractureLib.errors import Cancelled
from CSpineFractureLib.models.level_regressor import FIRST, PER_LEVEL, POSITIONS
from CSpineFractureLib.pipeline import locate
from CSpineFractureLib.pipeline.column_search import LOCATOR, map_column
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.locate import bodies_of
from CSpineFractureLib.pipeline.name_bodies import UNANCHORED
from CSpineFractureLib.pipeline.regress_levels import REGRESSOR, regressed_names
from CSpineFractureLib.volume.canonical import CanonicalView

NOTHING = np.zeros((0, 8)), np.zeros(0)


class Says(torch.nn.Module):
    """Calls every block the same level."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(blocks), POSITIONS)
        logits[:, (self.level - FIRST) * PER_LEVEL] = 12.0
        return logits


class Counts(torch.nn.Module):
    """Calls the blocks it is shown, one after another, the levels of a list."""

    def __init__(self, levels: list[int]) -> None:
        super().__init__()
        self.levels = iter(levels)

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        return torch.cat([Says(next(self.levels))(block[None]) for block in blocks])


def with_both(regressor: torch.nn.Module, **more) -> RunContext:
    made, networks = RunContext(profile="two-stage", **more), {LOCATOR: ReadsHU(), REGRESSOR: regressor}
    made.use_models(lambda task: (networks[task], None), lambda task: None)
    return made


def test_the_evidence_is_highest_for_the_level_it_says():
    hu = np.zeros((40, 40, 40), np.int16)
    names = regressed_names(hu, np.full((20, 3), 20), with_both(Says(4)))
    assert names.shape == (8, 20)
    assert (names.argmax(axis=0) == 4).all()
    assert (names[4] == 0).all()
    assert (np.delete(names, 4, axis=0) < -2).all()
    assert regressed_names(hu, np.zeros((0, 3)), with_both(Says(4))).shape == (8, 0)


def test_without_its_weights_the_map_is_the_locators_alone():
    view = CanonicalView.of(a_neck(4)[0])
    assert map_column(view, a_context()).names is None
    column = map_column(view, with_both(Says(0)))
    assert column.names.shape == (8, len(column.places))


def test_what_lies_around_the_column_renames_its_bodies(monkeypatch):
    view = CanonicalView.of(a_neck(4)[0])
    bodies, middles = bodies_of(map_column(view, a_context()), view, *NOTHING)
    assert [body.level for body in bodies] == [0, 1, 2, 3]
    places = map_column(view, a_context()).places
    order = np.argsort(np.argsort(-places[:, 0]))
    monkeypatch.setattr(locate, "REGRESSED_WEIGHT", 20.0)
    lowered = map_column(view, with_both(Counts([int(n) + 2 for n in order])))
    bodies, lower_middles = bodies_of(lowered, view, *NOTHING)
    assert [body.level for body in bodies] == [2, 3, 4, 5]
    assert np.array_equal(middles, lower_middles)


def test_a_name_that_what_lies_around_speaks_against_is_not_sure():
    view = CanonicalView.of(a_neck(4)[0])
    column = map_column(view, a_context())
    sure, _ = bodies_of(column, view, *NOTHING)
    assert min(body.confidence for body in sure) > UNANCHORED
    names = np.full((8, len(column.places)), np.log(0.9))
    third = sure[2]
    names[third.level, third.place] = np.log(0.45)  # a little below a half of the likeliest
    doubted, _ = bodies_of(replace(column, names=names), view, *NOTHING)
    assert [(body.level, body.place) for body in doubted] == [(body.level, body.place) for body in sure]
    assert doubted[2].confidence == UNANCHORED
    assert min(doubted[n].confidence for n in (0, 1, 3)) > UNANCHORED


def test_a_run_stops_between_batches():
    answers = iter([False, True, True, True])
    with pytest.raises(Cancelled):
        regressed_names(
            np.zeros((40, 40, 40), np.int16),
            np.full((40, 3), 20),
            with_both(Says(4), is_cancelled=lambda: next(answers)),
        )
