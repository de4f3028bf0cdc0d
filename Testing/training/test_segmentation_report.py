"""Figures of segmentations, against maps made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.training.segmentation_report import (
    StudyScores,
    class_rows,
    confusion_of,
    level_distances,
    overlaps,
    segmentation_figures,
)


def maps():
    """C1: 8 voxels, 6 found and 2 called C2; C2: 4 voxels, all found; thoracic: 2 missed; 20 voxels in all."""
    truth, found = np.zeros(20, int), np.zeros(20, int)
    truth[:8], truth[8:12], truth[12:14] = 1, 2, 8
    found[:6], found[6:12] = 1, 2
    return truth.reshape(1, 4, 5), found.reshape(1, 4, 5)


def scores(*pairs, spacing=(1.0, 1.0, 1.0)):
    distances = [level_distances(*pair, spacing) for pair in pairs]
    return StudyScores(
        np.stack([confusion_of(*pair) for pair in pairs]),
        np.stack([one[0] for one in distances]),
        np.stack([one[1] for one in distances]),
    )


def test_voxels_are_counted_by_true_and_found_class():
    matrix = confusion_of(*maps())
    assert matrix.sum() == 20
    assert (matrix[1, 1], matrix[1, 2], matrix[2, 2], matrix[8, 0], matrix[0, 0]) == (6, 2, 4, 2, 6)


def test_dice_and_iou_are_those_of_the_formulas():
    dice, iou = overlaps(confusion_of(*maps()))
    assert dice[1] == pytest.approx(2 * 6 / (8 + 6))
    assert iou[1] == pytest.approx(6 / 8)
    assert dice[2] == pytest.approx(2 * 4 / (4 + 6))
    assert iou[2] == pytest.approx(4 / 6)
    assert dice[8] == 0
    assert np.isnan(dice[3:8]).all()


def test_the_figures_of_one_study_are_means_of_its_levels():
    figures = segmentation_figures(scores(maps()))
    assert figures["dice_C1"] == pytest.approx(6 / 7)
    assert figures["dice_C3"] is None
    assert figures["dice"] == pytest.approx((6 / 7 + 4 / 5) / 2)
    assert figures["iou"] == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert figures["accuracy"] == pytest.approx(16 / 20)
    assert figures["missed"] == 0
    assert figures["surface_mm"] > 0


def test_studies_count_alike_whatever_their_size():
    truth, found = maps()
    perfect = np.tile(truth, (50, 1, 1))
    figures = segmentation_figures(scores((truth, found), (perfect, perfect)))
    assert figures["dice_C1"] == pytest.approx((6 / 7 + 1) / 2)
    assert figures["dice_set"] > 0.99


def test_a_level_found_where_there_is_none_lowers_the_figure_of_the_set():
    truth, _found = maps()
    stray = np.zeros_like(truth)
    stray[0, 0, 0] = 2
    figures = segmentation_figures(scores((truth, truth), (np.zeros_like(truth), stray)))
    assert figures["dice_C2"] == 1
    assert figures["dice_set"] == pytest.approx((1 + 8 / 9) / 2)


def test_a_missed_level_is_a_dice_of_zero_and_told():
    truth, _found = maps()
    figures = segmentation_figures(scores((truth, np.where(truth == 2, 0, truth))))
    assert figures["dice_C2"] == 0
    assert figures["missed"] == 0.5
    assert figures["surface_mm"] == 0  # of the level that was found


def test_distances_are_in_mm_of_the_slices():
    truth = np.zeros((9, 8, 8), int)
    found = truth.copy()
    truth[2, 2:6, 2:6], found[4, 2:6, 2:6] = 3, 3
    surface, hd95 = level_distances(truth, found, (1.25, 0.5, 0.5))
    assert surface[2] == pytest.approx(2.5)
    assert hd95[2] == pytest.approx(2.5)
    assert np.isnan(surface[[0, 1, 3, 4, 5, 6]]).all()


def test_each_class_has_a_row():
    rows = class_rows(scores(maps()))
    assert list(rows) == ["background", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "thoracic"]
    assert rows["C1"]["accuracy"] == pytest.approx(1 - 2 / 20)
    assert rows["C2"]["studies"] == 1
    assert rows["C3"]["studies"] == 0
    assert np.isnan(rows["C3"]["dice"])
    assert rows["thoracic"]["dice"] == 0


def test_nothing_measured_is_nothing_said():
    empty = np.zeros((1, 4, 5), int)
    figures = segmentation_figures(scores((empty, empty)))
    assert figures["dice"] is None
    assert figures["surface_mm"] is None
    assert figures["accuracy"] == 1
