"""From slices to levels: smoothing, sharing a slice between two levels, the level and study rules."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from CSpineFractureLib.findings.study_result import BY_CAM
from CSpineFractureLib.pipeline.axial import AxialImages
from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.suspicion import (
    SliceSuspicion,
    attribute,
    fracture_findings,
    level_probability,
    smoothed,
    study_probability,
)
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture
def view():
    return CanonicalView.of(CTVolume(np.zeros((20, 40, 40), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0])))


@pytest.fixture
def labels():
    """C4 in the front half, C5 in the back half of every slice."""
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[:, :20, 10:30] = 4
    labels[:, 20:, 10:30] = 5
    return labels


def box_at(view, k, i, j):
    a, b = view.ras_of(np.array([[i - 3, j - 3, k], [i + 3, j + 3, k]], float))
    low, high = np.minimum(a, b), np.maximum(a, b)
    return SliceBox(k, float(a[2]), tuple(low[:2]), tuple(high[:2]), np.ones(8))


def level(index, ks):
    return SimpleNamespace(index=index, boxes={k: SimpleNamespace(k=k) for k in ks})


def test_a_single_slip_counts_less_than_a_gap_in_several_slices():
    slip, gap = np.zeros(21), np.zeros(21)
    slip[10], gap[8:13] = 1, 1
    assert max(smoothed(slip, 1.0)) < 0.3
    assert max(smoothed(gap, 1.0)) > 0.85
    assert max(smoothed(slip, 3.0)) > max(smoothed(slip, 1.0))


def test_a_slice_counts_for_the_level_in_which_its_boxes_lie(view, labels):
    suspicions = [SliceSuspicion(k, 0.9, (20, 20), boxes=[(box_at(view, k, 20, 8), 0.7)]) for k in range(5, 9)]
    attribute(suspicions, labels, view)
    assert level_probability(level(3, range(4, 10)), suspicions) == pytest.approx(0.9)
    assert level_probability(level(4, range(4, 10)), suspicions) == 0


def test_without_boxes_on_bone_both_levels_are_suspected(view, labels):
    suspicions = [SliceSuspicion(k, 0.8, (20, 20), boxes=[(box_at(view, k, 4, 8), 0.7)]) for k in range(5, 9)]
    attribute(suspicions, labels, view)
    for index in (3, 4):
        assert level_probability(level(index, range(4, 10)), suspicions) == pytest.approx(0.8)


def test_without_boxes_the_level_under_the_grad_cam_is_suspected_and_marked(view, labels):
    cam = np.zeros((40, 40))
    cam[24:28, 14:20] = 0.9
    place = AxialImages(view, np.arange(20), (40, 40), (1.0, 1.0), (0.0, 0.0))
    suspicions = [SliceSuspicion(k, 0.9, (20, 20), cam=cam, place=place) for k in range(5, 9)]
    attribute(suspicions, labels, view)
    assert level_probability(level(4, range(4, 10)), suspicions) == pytest.approx(0.9)
    assert level_probability(level(3, range(4, 10)), suspicions) < 0.1
    judged = [SimpleNamespace(level="C5", fracture_assessable=True, fracture_probability=0.9)]
    (found,) = fracture_findings(suspicions, judged, labels, view, 0.7)
    assert (found.level, found.confidence, found.comment) == ("C5", 0.9, BY_CAM)
    corners = view.ras_of(np.array([[14, 24, 5], [19, 27, 8]], float))
    np.testing.assert_allclose(found.box.center_ras, corners.mean(axis=0), atol=0.51)
    size = np.abs(corners[1] - corners[0]) + view.spacing_mm
    np.testing.assert_allclose(found.box.size_mm, size, atol=1.01 * max(view.spacing_mm))


def test_a_box_by_grad_cam_holds_what_it_marks_in_an_oblique_scan(labels):
    turn = np.radians(40)
    matrix = np.eye(4)
    matrix[:2, :2] = [[-np.cos(turn), np.sin(turn)], [-np.sin(turn), -np.cos(turn)]]
    view = CanonicalView.of(CTVolume(np.zeros((20, 40, 40), np.int16), matrix))
    cam = np.zeros((40, 40))
    cam[24:34, 14:24] = 0.9
    place = AxialImages(view, np.arange(20), (40, 40), (1.0, 1.0), (0.0, 0.0))
    suspicions = [SliceSuspicion(k, 0.9, (20, 20), cam=cam, place=place) for k in range(5, 9)]
    judged = [SimpleNamespace(level="C5", fracture_assessable=True, fracture_probability=0.9)]
    (found,) = fracture_findings(suspicions, judged, labels, view, 0.7)
    side = 10 * (np.cos(turn) + np.sin(turn))
    np.testing.assert_allclose(found.box.size_mm, [side, side, 4], atol=0.01)


def test_findings_with_boxes_come_before_those_that_grad_cam_placed(view, labels):
    cam = np.zeros((40, 40))
    cam[24:28, 14:20] = 0.9
    place = AxialImages(view, np.arange(20), (40, 40), (1.0, 1.0), (0.0, 0.0))
    suspicions = [
        SliceSuspicion(k, 0.9, (20, 20), cam=cam, place=place, boxes=[(box_at(view, k, 20, 8), 0.2)])
        for k in range(5, 9)
    ]
    judged = [SimpleNamespace(level=f"C{n}", fracture_assessable=True, fracture_probability=0.9) for n in (4, 5)]
    found = fracture_findings(suspicions, judged, labels, view, 0.7)
    assert [(one.id, one.level, one.comment) for one in found] == [
        ("fracture-1", "C4", ""),
        ("fracture-2", "C5", BY_CAM),
    ]


def test_a_level_that_a_slice_does_not_cut_is_not_suspected_by_it(view, labels):
    labels[labels == 5] = 0
    suspicions = [SliceSuspicion(k, 0.8, (20, 20)) for k in range(5, 9)]
    attribute(suspicions, labels, view)
    assert level_probability(level(4, range(4, 10)), suspicions) == 0


def test_a_level_without_slices_has_no_probability():
    assert level_probability(level(0, ()), []) is None
    assert level_probability(level(0, (3, 4)), [SliceSuspicion(9, 0.9, (0, 0))]) is None


def test_the_study_is_as_suspicious_as_its_worst_level():
    of = lambda *values: study_probability([SimpleNamespace(fracture_probability=v) for v in values])  # noqa: E731
    assert of(0.1, 0.95, None) == 0.95
    assert of(None, None) is None


def test_boxes_are_a_finding_only_where_their_level_is_suspected_itself(view, labels):
    suspicions = [SliceSuspicion(k, 0.9, (20, 20), boxes=[(box_at(view, k, 20, 8), 0.7)]) for k in range(5, 9)]

    def found(probability: float | None, assessable: bool | str = True) -> list[str]:
        vertebra = SimpleNamespace(level="C4", fracture_assessable=assessable, fracture_probability=probability)
        return [one.level for one in fracture_findings(suspicions, [vertebra], labels, view, 0.6)]

    assert found(0.6) == ["C4"]
    assert found(0.55) == []
    assert found(None) == []
    assert found(0.9, "too coarse") == []
