"""Squares around the column, where the locator finds it: middles, ends, and what the network then sees."""

from __future__ import annotations

import coded_phantom
import numpy as np
import pytest
import torch
from made_neck import ReadsHU, a_neck

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.models.column_square import SquareOnSlice
from CSpineFractureLib.pipeline import unet_segment
from CSpineFractureLib.pipeline.column_search import LOCATOR, ColumnMap
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.locate import LocatedLevel
from CSpineFractureLib.pipeline.unet_column import ABOVE_MM, BELOW_MM, LocatedColumn, find_column
from CSpineFractureLib.pipeline.unet_levels import presence_by_slice, segment_levels
from CSpineFractureLib.pipeline.unet_segment import NamedSlices, SegmentationInput, name_slices, winners_around
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import coarse_labels
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture
def context():
    locator = ReadsHU(), coded_phantom.entry_of(LOCATOR, 64)
    store = coded_phantom.PlainStore(a=locator)
    return RunContext(loader=lambda task: store.load(store.find(task)), finder=store.find)


def of_truth(study, view) -> LocatedColumn:
    """What a perfect locator would find of the coded phantom."""
    middles = np.array([study.centres_ras[level] for level in LEVELS])
    s = middles[:, 2]
    borders = [s[0] + 6, *(s[1:] + s[:-1]) / 2, s[-1] - 8]
    levels = [LocatedLevel(n, middle, (borders[n + 1], borders[n]), 1.0) for n, middle in enumerate(middles)]
    j, i = (float(axis.mean()) for axis in np.nonzero((study.labels > 0).any(axis=0)))
    coarse = coarse_labels(study.labels, view.spacing_mm)
    classes = np.stack([np.where(coarse == n, 255, 0) for n in range(9)]).astype(np.uint8)
    named = ColumnMap(classes, np.zeros((8, *coarse.shape), np.float32), (0, 0, 0))
    return LocatedColumn(levels, named, np.tile([j, i], (len(view.hu), 1)), (10, len(view.hu) - 5))


def test_the_middle_follows_the_bone_and_the_ends_lie_beyond_the_levels(context):
    volume, middles = a_neck()
    view = CanonicalView.of(volume)
    column = find_column(view, context)
    assert [level.level for level in column.levels] == list(range(7))
    assert column.middles.shape == (len(view.hu), 2)
    for middle in middles[:7]:
        i, j, k = view.ijk_of(middle)
        assert np.hypot(*(column.middles[round(k)] - [j, i])) * max(view.spacing_mm) < 12.0
    s = view.ras_of(np.array([[0, 0, k] for k in column.slices], float))[:, 2]
    assert s[0] == pytest.approx(max(column.levels[-1].slab_s[0] - BELOW_MM, view.ras_of(np.zeros(3))[2]), abs=2)
    assert s[1] <= column.levels[0].slab_s[1] + ABOVE_MM + 2
    square = column.square(view, 5, 64, 1.5)
    assert square.shape == view.hu.shape[1:]
    assert square.centre == tuple(column.middles[5])


def test_air_has_no_column_and_a_computer_without_locator_says_so(context):
    air = CanonicalView.of(CTVolume(np.full((20, 20, 20), -1000, np.int16), np.eye(4)))
    assert find_column(air, context) is None
    empty = coded_phantom.PlainStore()
    with pytest.raises(UserError, match="column-locator"):
        find_column(air, RunContext(finder=empty.find, loader=empty.load))


@pytest.mark.parametrize("spacing", [[1.0, 1.0], [0.8, 0.8]])
def test_bone_is_the_networks_and_names_are_the_locators_and_nothing_lies_beyond_the_ends(monkeypatch, spacing):
    study = coded_phantom.coded_study()
    view = CanonicalView.of(study.volume)
    column = of_truth(study, view)
    monkeypatch.setattr(unet_segment, "find_column", lambda view, context: column)
    entry = coded_phantom.entry_of("segmentation", 128, spacing_mm=spacing)
    store = coded_phantom.PlainStore(a=(coded_phantom.CodeReader(slips=0.9, swaps=0.5), entry))
    context = RunContext(loader=lambda task: store.load(store.find(task)), finder=store.find, exact=True)
    found = name_slices(view, context)
    assert found.column is column
    assert not found.names[:10].any()
    assert not found.names[-4:].any()
    labels, levels = segment_levels(found, view, 0.15)
    assert [level.name for level in levels] == list(LEVELS)
    for number, level in enumerate(levels, start=1):
        assert coded_phantom.dice(labels, study.labels, number) > 0.8
        assert level.confidence > 0.9
        assert np.linalg.norm(level.centre_ras - study.centres_ras[level.name]) < 7
    assert min(max(row.values()) for row in presence_by_slice(labels, found).values()) > 0.7


def test_bone_far_from_the_locators_vertebrae_is_left_out():
    study = coded_phantom.coded_study()
    view = CanonicalView.of(study.volume)
    column = of_truth(study, view)
    names = np.minimum(study.labels, 8).astype(np.uint8)
    names[30:60, 4:14, 4:30] = 3
    found = NamedSlices(names, np.full(names.shape, 230, np.uint8), column)
    labels, levels = segment_levels(found, view, 0.15)
    assert not labels[30:60, 4:14, 4:30].any()
    assert len(levels) == 7
    nothing = NamedSlices(np.zeros_like(names), np.zeros_like(names), column)
    assert segment_levels(nothing, view, 0.15)[1] == []


def test_what_is_rather_bone_is_named_though_each_name_is_less_likely():
    logits = torch.full((9, 32, 32), -6.0)
    logits[0], logits[4], logits[5] = 3.0, -1.0, -1.2
    logits[0, 8:24, 8:24] = -0.5
    names, sure = winners_around(logits, SquareOnSlice((32, 32), (1.0, 1.0), (15.5, 15.5), 32, 1.0))
    assert set(np.unique(names)) == {0, 4}
    assert (names[9:23, 9:23] == 4).all()
    assert sure[16, 16] == round(255 / (1 + np.exp(-0.5)))
    assert sure[0, 0] == round(255 / (1 + np.exp(-3.0)))


def test_without_a_level_found_there_is_nothing_to_segment(monkeypatch):
    monkeypatch.setattr(unet_segment, "find_column", lambda view, context: None)
    entry = coded_phantom.entry_of("segmentation", 64, spacing_mm=[1.0, 1.0])
    store = coded_phantom.PlainStore(a=(coded_phantom.CodeReader(), entry))
    view = CanonicalView.of(CTVolume(np.zeros((6, 30, 40), np.int16), np.eye(4)))
    found = name_slices(view, RunContext(finder=store.find))
    assert found.names.shape == view.hu.shape
    assert not found.names.any()
    assert segment_levels(found, view, 0.15)[1] == []


def test_squares_whose_pixels_are_not_square_are_refused():
    with pytest.raises(UserError, match="cannot make"):
        SegmentationInput.of(coded_phantom.entry_of("segmentation", 64, spacing_mm=[1.0, 0.5]))
