"""Names in order along the column, and clean segments, from stacks of labels with known faults."""

from __future__ import annotations

import coded_phantom
import numpy as np
import pytest

from CSpineFractureLib.pipeline.segment_tidy import column_part, tidy
from CSpineFractureLib.pipeline.unet_levels import segment_levels
from CSpineFractureLib.pipeline.unet_segment import NamedSlices
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture(scope="module")
def study():
    return coded_phantom.coded_study()


def clean(names, study, sure=230, keep=slice(None)):
    """Labels and levels of a stack of names on the study's grid, or on some of its slices."""
    matrix = study.volume.ijk_to_ras.copy()
    matrix[:3, 3] = study.volume.ras_of(np.array([0, 0, keep.start or 0]))
    view = CanonicalView.of(CTVolume(study.volume.hu[keep], matrix))
    names = names[keep]
    return segment_levels(NamedSlices(names, np.full(names.shape, sure, np.uint8)), view, least_confidence=0.15)


def extent(study, number):
    shown = np.flatnonzero((study.labels == number).any(axis=(1, 2)))
    return int(shown[0]), int(shown[-1])


def assert_like_truth(labels, truth, numbers=range(1, 8), least=0.97):
    assert set(np.unique(labels)) - {0} == set(numbers)
    for number in numbers:
        assert coded_phantom.dice(labels, truth, number) > least, number


def assert_no_swaps(labels, truth, most=0.0):
    wrong = (labels > 0) & (truth > 0) & (labels != truth)
    assert wrong.sum() <= most * (labels > 0).sum()


def test_right_names_stay_as_they_are_and_the_thorax_is_left_out(study):
    labels, levels = clean(study.labels, study)
    assert_like_truth(labels, study.labels, least=0.985)
    assert_no_swaps(labels, study.labels)
    assert [level.number for level in levels] == list(range(1, 8))
    assert not any(level.cut for level in levels)
    assert min(level.confidence for level in levels) > 0.86
    for level in levels:
        assert np.linalg.norm(level.centre_ras - study.centres_ras[level.name]) < 6, level.name


def test_posterior_elements_are_part_of_their_level(study):
    labels, _ = clean(study.labels, study)
    for number in range(2, 8):
        spinous = study.labels == number
        back = np.percentile(np.flatnonzero(spinous.any(axis=(0, 2))), 70)
        spinous[:, : int(back)] = False
        assert (labels[spinous] == number).mean() > 0.93, number


def test_islands_near_and_far_are_removed(study):
    names = study.labels.copy()
    far = [(60, 5, 5), (40, 110, 10), (90, 8, 100), (70, 115, 115)]
    for number, (k, j, i) in enumerate(far, start=2):
        names[k : k + 4, j : j + 8, i : i + 8] = number
    body = np.argwhere(study.labels == 4).min(axis=0)
    names[body[0] : body[0] + 2, body[1] - 9 : body[1] - 5, 60:64] = 4  # before the column
    labels, _ = clean(names, study)
    assert_like_truth(labels, study.labels)
    assert not labels[study.labels == 0][names[study.labels == 0] > 0].any()


def test_swapped_voxels_come_back_to_the_level_around_them(study):
    rng = np.random.default_rng(0)
    names = study.labels.copy()
    swapped = (names > 0) & (rng.random(names.shape) < 0.08)
    names[swapped] = np.clip(names[swapped].astype(int) + rng.choice([-1, 1], swapped.sum()), 1, 8)
    middle = [int(x) for x in np.argwhere(study.labels == 5).mean(axis=0)]
    patch = np.zeros(names.shape, bool)
    patch[middle[0] - 1 : middle[0] + 2, :, middle[2] : middle[2] + 7] = True
    names[patch & (study.labels == 5)] = 6
    labels, levels = clean(names, study)
    assert_like_truth(labels, study.labels)
    assert_no_swaps(labels, study.labels, 0.008)
    assert all(0.7 < level.confidence < 0.88 for level in levels[1:6])


def test_slices_misread_by_a_level_are_renamed(study):
    names = study.labels.copy()
    for number, shift, length in ((3, 1, 3), (4, 1, 4), (6, -1, 4)):
        low, high = extent(study, number)
        middle = (low + high) // 2 + 2
        part = names[middle : middle + length]
        part[part > 0] = np.clip(part[part > 0].astype(int) + shift, 1, 8)
    labels, levels = clean(names, study)
    assert_like_truth(labels, study.labels, least=0.95)
    confidence = {level.number: level.confidence for level in levels}
    assert confidence[4] < confidence[2] - 0.05


def test_two_levels_named_one_too_low_are_put_right_by_their_neighbours(study):
    names = study.labels.copy()
    for number in (5, 4):
        names[study.labels == number] = number + 1
    labels, levels = clean(names, study)
    assert_like_truth(labels, study.labels, least=0.7)
    confidence = {level.number: level.confidence for level in levels}
    assert max(confidence[4], confidence[5]) < 0.5 < min(confidence[3], confidence[6])


def test_a_level_that_was_overlooked_does_not_rename_the_others(study):
    names = np.where(study.labels == 4, 0, study.labels).astype(np.uint8)
    labels, levels = clean(names, study)
    assert [level.name for level in levels] == ["C1", "C2", "C3", "C5", "C6", "C7"]
    assert_like_truth(labels, names, (1, 2, 3, 5, 6, 7), least=0.9)
    assert_no_swaps(labels, names)


def test_a_scan_that_begins_in_c3_keeps_its_names_and_says_that_c3_is_cut(study):
    keep = slice(0, extent(study, 3)[1] - 8)
    labels, levels = clean(study.labels, study, keep=keep)
    assert {level.name: level.cut for level in levels} == {
        "C3": True,
        "C4": False,
        "C5": False,
        "C6": False,
        "C7": False,
    }
    assert_like_truth(labels, study.labels[keep], range(3, 8))
    assert_no_swaps(labels, study.labels[keep], 0.005)


def test_a_scan_of_c3_to_c5_alone_gives_just_these(study):
    keep = slice(extent(study, 5)[0] + 6, extent(study, 3)[1] - 3)
    labels, levels = clean(study.labels, study, keep=keep)
    assert [(level.name, level.cut) for level in levels] == [("C3", True), ("C4", False), ("C5", True)]
    assert_like_truth(labels, study.labels[keep], (3, 4, 5), least=0.95)
    assert_no_swaps(labels, study.labels[keep], 0.01)


def test_thoracic_vertebrae_alone_give_no_level(study):
    names = np.where(study.labels > 0, 8, 0).astype(np.uint8)
    labels, levels = clean(names, study)
    assert levels == []
    assert not labels.any()


def test_nothing_gives_nothing(study):
    labels, levels = clean(np.zeros_like(study.labels), study)
    assert levels == []
    assert not labels.any()
    assert column_part(labels, (1, 1, 1)) is None


def test_a_level_the_network_was_hardly_sure_of_is_not_shown(study):
    labels, levels = clean(study.labels, study, sure=30)
    assert levels == []
    assert not labels.any()


def test_noise_of_all_classes_is_survived(study):
    names = np.random.default_rng(1).integers(0, 9, study.labels.shape).astype(np.uint8)
    labels, levels = clean(names, study, keep=slice(0, 24))
    assert set(np.unique(labels)) <= {0, *(level.number for level in levels)}


def test_a_fragment_near_its_level_stays_and_one_inside_a_neighbour_does_not():
    named = np.zeros((40, 30, 30), np.uint8)
    named[2:18, 5:20, 5:25] = 2
    named[20:36, 5:20, 5:25] = 1
    named[2:8, 22:27, 8:20] = 2  # a fragment 2 mm behind
    named[26:31, 10:15, 10:15] = 2  # a patch in the other body
    labels = tidy(named, (1.0, 1.0, 1.0))
    assert (labels[2:8, 22:27, 8:20] == 2).mean() > 0.8
    assert (labels[21:35, 6:19, 6:24] == 1).all()


def test_borders_are_smooth_and_thin_bone_is_kept():
    named = np.zeros((30, 40, 40), np.uint8)
    named[5:25, 5:35, 5:35] = 3
    named[::2, 35, 5:35][named[::2, 34, 5:35] > 0] = 3  # a comb of one voxel on its surface
    named[12:16, 35:39, 20:23] = 3  # a lamina 3 mm thick
    labels = tidy(named, (0.5, 0.5, 0.5))
    assert not labels[7:11:2, 35, 8:18].any()
    assert (labels[12:16, 35:38, 20:23] == 3).mean() > 0.6
    assert (labels[7:23, 7:33, 7:33] == 3).all()
