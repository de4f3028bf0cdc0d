"""From ideal boxes of a phantom to named levels and segments, without any network."""

from __future__ import annotations

import numpy as np
import pytest
from coded_phantom import dice
from scipy import ndimage

from CSpineFractureLib.errors import Cancelled
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.pipeline.axial import AxialImages, detector_images
from CSpineFractureLib.pipeline.boxes2d import SliceBox, follow_column
from CSpineFractureLib.pipeline.column_search import ColumnMap
from CSpineFractureLib.pipeline.decode import decode_levels
from CSpineFractureLib.pipeline.find_levels import slice_box
from CSpineFractureLib.pipeline.fuse import fuse
from CSpineFractureLib.pipeline.segment import BACKGROUND, Spots, _end_c7, _work_volume, segment_levels
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.coarse_grid import coarse_hu
from CSpineFractureLib.volume.ct_volume import CTVolume

PLAN = StudyPlan(spacing_mm=(1.0, 1.0, 1.5), fractures=(), width_mm=160, depth_mm=160, above_mm=20, below_mm=10)


@pytest.fixture(scope="module")
def a_phantom():
    study = make_study(3, PLAN)
    return study, CanonicalView.of(CTVolume(study.hu, study.ijk_to_ras))


def boxes_with_unsure_names(study, view, doubt=0.9, seed=0):
    """Boxes as a detector would draw them: right place, but the level above or below scores nearly as high."""
    rng = np.random.default_rng(seed)
    images = detector_images(view)
    rows, heights = [], []
    for k in images.slices[::-1]:
        row = []
        for label in range(1, 11):
            j, i = np.nonzero(study.labels[k] == label)
            if len(i) < 20:
                continue
            own = min(label, 8) - 1
            scores = np.full(8, 0.01)
            scores[own] = 0.8
            for other in (own - 1, own + 1):
                if 0 <= other < 8:
                    scores[other] = 0.8 * rng.uniform(0, doubt)
            ends = [view.ras_of(np.array([x, y, k])) for x, y in ((i.min(), j.min()), (i.max(), j.max()))]
            low, high = np.minimum(*ends), np.maximum(*ends)
            row.append(SliceBox(int(k), float(low[2]), tuple(low[:2]), tuple(high[:2]), scores))
        rows.append(row)
        heights.append(view.ras_of(np.array([0, 0, k]))[2])
    return rows, np.array(heights), abs(heights[1] - heights[0])


def map_of(names, view):
    """The map of a network that is sure of the ``names`` (0-8) of a view's voxels."""
    shape = coarse_hu(view.hu, view.spacing_mm).shape
    near = np.ix_(*(np.linspace(0, n - 1, m).round().astype(int) for n, m in zip(view.hu.shape, shape, strict=True)))
    classes = np.where(names[near] == np.arange(9)[:, None, None, None], 255, 0).astype(np.uint8)
    return ColumnMap(classes, np.zeros((8, *shape), np.float32), (0, 0, 0))


def test_levels_are_named_in_order_although_single_boxes_are_unsure(a_phantom):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    levels = fuse(follow_column(rows, step), heights, step)
    assert [level.index for level in levels] == list(range(7))
    for level in levels:
        error = level.center_ras - study.centres_ras[f"C{level.index + 1}"]
        assert np.abs(error).max() < 8


def test_segments_overlap_the_truth(a_phantom):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    kept = follow_column(rows, step)
    labels = segment_levels(view, fuse(kept, heights, step), kept)
    for level in range(1, 8):
        ours, truth = labels == level, study.labels == level
        assert 2 * (ours & truth).sum() / (ours.sum() + truth.sum()) > 0.7
    assert not (labels[study.labels == 0].astype(bool)).mean() > 0.01


def test_bodies_are_filled_though_their_marrow_is_dark(a_phantom):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    kept = follow_column(rows, step)
    levels = fuse(kept, heights, step)
    hu = view.hu.copy()
    k, j, i = np.indices(hu.shape)
    for level in levels[1:]:
        at = view.ijk_of(level.center_ras)
        away = [(n - m) * mm for n, m, mm in zip((i, j, k), at, view.spacing_mm, strict=True)]
        hu[np.linalg.norm(away, axis=0) < 3.5] = 60
    labels = segment_levels(CanonicalView.of(CTVolume(hu, view.ijk_to_ras)), levels, kept)
    for level in levels[1:]:
        x, y, z = np.rint(view.ijk_of(level.center_ras)).astype(int)
        assert labels[z, y, x] == level.index + 1


def test_bone_of_an_old_person_is_not_hollow(a_phantom):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    kept = follow_column(rows, step)
    levels = fuse(kept, heights, step)
    depth = ndimage.distance_transform_edt(study.labels > 0, sampling=view.spacing_mm[::-1])
    hu = np.where(depth > 1.3, 80, view.hu).astype(np.int16)  # as dark as muscle with contrast in it
    labels = segment_levels(CanonicalView.of(CTVolume(hu, view.ijk_to_ras)), levels, kept, map_of(study.labels, view))
    inner = (depth > 2.5) & (study.labels > 0) & (study.labels < 8)
    assert (labels[inner] == study.labels[inner]).mean() > 0.9


@pytest.mark.parametrize("sure", [0, 90])
def test_where_the_map_is_sure_of_no_name_segments_follow_from_the_heights(a_phantom, sure):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    kept = follow_column(rows, step)
    levels = fuse(kept, heights, step)
    classes = np.zeros((9, *coarse_hu(view.hu, view.spacing_mm).shape), np.uint8)
    classes[0], classes[3] = 255 - sure, sure
    column = ColumnMap(classes, np.zeros((8, *classes.shape[1:]), np.float32), (0, 0, 0))
    np.testing.assert_array_equal(segment_levels(view, levels, kept, column), segment_levels(view, levels, kept))


def test_a_level_that_the_map_is_not_sure_of_gets_its_segment_from_the_heights(a_phantom):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    kept = follow_column(rows, step)
    levels = fuse(kept, heights, step)
    last = levels[-1].index + 1
    column = map_of(np.where(study.labels < last, study.labels, 0), view)
    labels, by_height = segment_levels(view, levels, kept, column), segment_levels(view, levels, kept)
    assert dice(labels, study.labels, last) > 0.9 * dice(by_height, study.labels, last) > 0.5
    assert dice(labels, study.labels, last - 1) > 0.8


def test_what_the_map_names_far_from_its_level_is_not_drawn(a_phantom):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    kept = follow_column(rows, step)
    levels = fuse(kept, heights, step)
    astray = np.where(study.labels == 8, 3, study.labels)  # the first thoracic vertebra is said to be C3
    labels, right = (segment_levels(view, levels, kept, map_of(names, view)) for names in (astray, study.labels))
    assert (labels[study.labels == 8] == 3).sum() == 0
    assert dice(labels, right, 3) > 0.99


@pytest.mark.parametrize(("index", "lost"), [(6, [False, False, True, True]), (5, [False] * 4)])
def test_the_arch_of_c7_ends_where_it_hangs_too_low(a_phantom, index, lost):
    rows, heights, step = boxes_with_unsure_names(*a_phantom)
    levels = fuse(follow_column(rows, step), heights, step)[: index + 1]
    below = np.array([5.0, 12.0, 15.0, 12.0])  # mm under the slab; the last one lies at the side, where nothing hangs
    beside, behind = np.array([0.0, 0.0, 0.0, 20.0]), np.full(4, 20.0)
    s = levels[-1].slab_s[0] - below
    spots = Spots(*(one[:, None, None].astype(np.float32) for one in (beside, -behind - 8, behind, s, s)), 1.0)
    markers = np.full((4, 1, 1), index + 1, np.uint8)
    _end_c7(markers, levels, spots)
    assert (markers.ravel() == BACKGROUND).tolist() == lost
    assert np.isin(markers, (BACKGROUND, index + 1)).all()


@pytest.mark.parametrize("asked_before", [0, 1, 2, 3])
def test_segmenting_ends_at_any_of_its_steps_when_it_is_cancelled(a_phantom, asked_before):
    study, view = a_phantom
    rows, heights, step = boxes_with_unsure_names(study, view)
    kept, asked = follow_column(rows, step), []

    def check_cancelled():
        asked.append(1)
        if len(asked) > asked_before:
            raise Cancelled

    with pytest.raises(Cancelled):
        segment_levels(view, fuse(kept, heights, step), kept, check_cancelled=check_cancelled)
    assert len(asked) == asked_before + 1


@pytest.mark.parametrize("step", [(1, 1, 1), (1, 3, 3), (2, 4, 3)])
def test_the_volume_to_segment_is_the_mean_of_blocks_and_edges_are_repeated(step):
    hu = np.random.default_rng(0).integers(-1024, 3000, (11, 21, 23)).astype(np.int16)
    view = CanonicalView.of(CTVolume(hu, np.diag([-1.0, -1.0, 1.0, 1.0])))
    place = (slice(1, 10), slice(2, 21), slice(0, 22))
    part = np.clip(hu[place], -300, 2000).astype(np.float32)
    part = np.pad(part, [(0, -n % s) for n, s in zip(part.shape, step, strict=True)], mode="edge")
    k, j, i = (n // s for n, s in zip(part.shape, step, strict=True))
    wanted = part.reshape(k, step[0], j, step[1], i, step[2]).mean(axis=(1, 3, 5))
    found = _work_volume(view, place, step)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


def test_a_strong_box_beside_the_column_is_dropped(a_phantom):
    study, view = a_phantom
    rows, _, step = boxes_with_unsure_names(study, view)
    middle = len(rows) // 2
    at = rows[middle][0]
    jaw = SliceBox(at.k, at.s, (at.low[0], at.low[1] + 70), (at.high[0], at.high[1] + 70), np.full(8, 0.95))
    rows[middle] = [*rows[middle], jaw]
    assert all(box is not jaw for boxes in follow_column(rows, step) for box in boxes)


def test_a_scan_that_begins_inside_the_neck_is_not_renumbered():
    scores = np.full((40, 8), 0.02)
    for n, level in enumerate((3, 4, 5, 6)):
        scores[n * 9 : n * 9 + 9, level] = 0.8
    scores[36:, 7] = 0.8
    slabs = decode_levels(scores, 2.0)
    assert [slab.level for slab in slabs] == [3, 4, 5, 6]
    assert slabs[0].cut_above


def test_nothing_is_decoded_from_noise():
    assert decode_levels(np.full((50, 8), 0.05), 2.0) == []
    assert decode_levels(np.zeros((0, 8)), 2.0) == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_the_canonical_view_undoes_any_storage_order(order, flips):
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    matrix = np.diag([-0.5, -0.6, 2.0, 1.0])
    matrix[:3, 3] = [10, 20, 30]
    stored = np.transpose(hu, order)
    stored_matrix = np.eye(4)
    axes = [2 - order[2 - axis] for axis in range(3)]
    stored_matrix[:3, :3] = matrix[:3, axes]
    stored_matrix[:3, 3] = matrix[:3, 3]
    for axis, flip in enumerate(flips):
        if flip:
            stored = np.flip(stored, axis)
            column = 2 - axis
            stored_matrix[:3, 3] += stored_matrix[:3, column] * (stored.shape[axis] - 1)
            stored_matrix[:3, column] *= -1
    view = CanonicalView.of(CTVolume(np.ascontiguousarray(stored), stored_matrix))
    np.testing.assert_array_equal(view.hu, hu)
    np.testing.assert_allclose(view.ijk_to_ras, matrix)
    np.testing.assert_array_equal(view.to_stored(view.hu), stored)
    labels = view.zeros(np.uint8)
    labels[view.hu > 500] = 3
    kept = view.to_stored(labels)
    np.testing.assert_array_equal(kept, np.where(stored > 500, 3, 0))
    assert kept.flags.c_contiguous
    assert np.shares_memory(kept, labels)


@pytest.mark.parametrize("degrees", [0, 20, 44])
def test_a_box_of_a_slice_that_lies_turned_holds_all_of_its_corners(degrees):
    turn = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = -np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    view = CanonicalView.of(CTVolume(np.zeros((3, 100, 100), np.int16), matrix))
    images = AxialImages(view, np.arange(3), (100, 100), (1.0, 1.0), (0.0, 0.0))
    box = slice_box(images, 1, np.array([30.0, 40.0, 70.0, 60.0]), np.array([0.9]))
    breadth = 40 * np.cos(turn) + 20 * np.sin(turn)
    depth = 20 * np.cos(turn) + 40 * np.sin(turn)
    assert np.subtract(box.high, box.low) == pytest.approx([breadth, depth])
    assert box.middle == pytest.approx(images.ras_of(50, 50, 1)[:2])
