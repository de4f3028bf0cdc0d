"""Annotations of a data set become a valid result that shows them where they are."""

from __future__ import annotations

import numpy as np
import pytest
from block_study import SPACING_MM, make_block_study

from CSpineFractureLib.datasets.record import SliceBox, StudyRecord
from CSpineFractureLib.datasets.review import body_middle, joined_boxes, record_to_result
from CSpineFractureLib.findings.result_file import read_result, write_result
from CSpineFractureLib.findings.result_rows import result_rows
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.volume import CTVolume

STUDY = make_block_study(5)
FRACTURED = {f"C{n}": n in (3, 6) for n in range(1, 8)}


def record(**changes):
    boxes = [SliceBox(k, *box, f.level) for f in STUDY.fractures for k, *box in f.slice_boxes]
    given = {
        "id": "a study",
        "load_volume": lambda: CTVolume(STUDY.hu, STUDY.ijk_to_ras),
        "load_levels": lambda: STUDY.labels,
        "fractured": FRACTURED,
        "boxes": boxes,
    }
    return StudyRecord(**{**given, **changes})


def test_the_result_is_valid_and_comes_back_from_its_file(tmp_path):
    result = record_to_result(record())
    write_result(result, tmp_path / "result.json")
    again = read_result(tmp_path / "result.json")
    assert again.to_dict() == result.to_dict()
    assert (again.profile, again.device, again.status) == ("annotation", "none", "complete")
    rows = {row.level: row.assessment for row in result_rows(again) if row.kind == "level"}
    assert [level for level, words in rows.items() if words == "fracture suspected"] == ["C3", "C6"]
    assert rows["C4"] == "no fracture suspected"


def test_vertebrae_lie_where_the_mask_says():
    vertebrae = {one.level: one for one in record_to_result(record()).vertebrae}
    assert list(vertebrae) == [f"C{n}" for n in range(1, 8)]
    for n, one in enumerate(vertebrae.values(), start=1):
        k, j, i = np.nonzero(STUDY.labels == n)
        ras = (STUDY.ijk_to_ras @ np.stack([i, j, k, np.ones_like(i)]))[:3]
        half = np.array(SPACING_MM) / 2
        np.testing.assert_allclose(one.box_ras, [ras.min(axis=1) - half, ras.max(axis=1) + half], atol=1e-9)
        assert one.slice_range == [k.min(), k.max()]
        assert one.volume_mm3 == pytest.approx(len(k) * np.prod(SPACING_MM))
        assert one.visible == "full"
        assert one.fracture_probability == float(n in (3, 6))
        if n > 2:  # blocks have neither arch nor dens
            r, a, s = np.array(one.center_ras) - STUDY.centres_ras[f"C{n}"]
            assert abs(r) <= 2
            assert abs(a) <= 10
            assert abs(s) <= 2


def test_a_vertebra_at_the_border_of_the_scan_is_partial():
    def cropped(*part):
        volume = CTVolume(STUDY.hu[part].copy(), STUDY.ijk_to_ras)
        told = record(load_volume=lambda: volume, load_levels=lambda: STUDY.labels[part].copy(), boxes=None)
        return {one.level: one.visible for one in record_to_result(told).vertebrae}

    above = cropped(slice(0, 28))
    assert above["C1"] == "partial"
    assert {above[f"C{n}"] for n in range(2, 8)} == {"full"}
    beside = cropped(slice(None), slice(None), slice(0, 23))
    assert set(beside.values()) == {"partial"}


def test_slice_boxes_become_one_box_for_each_fracture():
    fractures = record_to_result(record()).fractures
    assert [(one.level, one.status) for one in fractures] == [("C3", "accepted"), ("C6", "accepted")]
    for one, truth in zip(fractures, STUDY.fractures, strict=True):
        boxes = np.array(truth.slice_boxes)
        low = np.array([boxes[0, 1], boxes[0, 2], boxes[:, 0].min()]) - 0.5
        high = np.array([boxes[0, 1] + boxes[0, 3], boxes[0, 2] + boxes[0, 4], boxes[:, 0].max() + 1]) - 0.5
        ends = np.array([STUDY.ijk_to_ras @ [*low, 1], STUDY.ijk_to_ras @ [*high, 1]])[:, :3]
        np.testing.assert_allclose(one.box_ras, [ends.min(axis=0), ends.max(axis=0)], atol=1e-9)
        assert one.comment == f"annotated in 2 slices, k {boxes[:, 0].min()} to {boxes[:, 0].max()}"


def test_boxes_are_joined_by_level_slice_and_touch():
    near, beside, above, gap = (
        SliceBox(4, 10, 10, 5, 5, "C4"),
        SliceBox(5, 14, 10, 5, 5, "C4"),
        SliceBox(6, 30, 10, 5, 5, "C4"),
        SliceBox(8, 10, 10, 5, 5, "C4"),
    )
    other, nameless = SliceBox(5, 10, 10, 5, 5, "C5"), SliceBox(5, 10, 10, 5, 5)
    groups = joined_boxes([nameless, gap, other, above, beside, near])
    assert groups == [[near, beside], [above], [gap], [other], [nameless]]
    assert joined_boxes([]) == []


def test_slices_are_negative_only_where_the_data_set_says_so():
    boxed = {k for fracture in STUDY.fractures for k, *_ in fracture.slice_boxes}
    told = record_to_result(record()).slices
    assert [one.fracture_probability for one in told] == [float(k in boxed) for k in range(30)]
    assert told[7].vertebrae == {"C6": 1.0}
    silent = record_to_result(record(boxes=None)).slices
    assert {one.fracture_probability for one in silent} == {None}
    healthy = record(boxes=None, fractured=dict.fromkeys(FRACTURED, False))
    assert {one.fracture_probability for one in record_to_result(healthy).slices} == {0.0}


def test_what_is_not_annotated_stays_unknown(tmp_path):
    boxes = [SliceBox(7, 10, 10, 5, 5)]
    result = record_to_result(record(load_levels=None, fractured=None, boxes=boxes))
    write_result(result, tmp_path / "result.json")
    assert result.vertebrae == []
    assert result.study.fracture_probability is None
    assert result.fractures[0].level == "unknown"
    untold = record_to_result(record(fractured=None, boxes=None))
    assert {one.fracture_probability for one in untold.vertebrae} == {None}
    assert all(isinstance(one.fracture_assessable, str) for one in untold.vertebrae)


def test_a_volume_stored_mirrored_gives_the_same_places():
    flipped = np.array(STUDY.ijk_to_ras)
    flipped[:3, 3] += flipped[:3, 0] * 39
    flipped[:3, 0] *= -1
    turned = record(
        load_volume=lambda: CTVolume(np.ascontiguousarray(STUDY.hu[:, :, ::-1]), flipped),
        load_levels=lambda: np.ascontiguousarray(STUDY.labels[:, :, ::-1]),
        boxes=None,
    )
    for one, other in zip(record_to_result(turned).vertebrae, record_to_result(record()).vertebrae, strict=True):
        np.testing.assert_allclose(one.center_ras, other.center_ras, atol=1e-6)
        np.testing.assert_allclose(one.box_ras, other.box_ras, atol=1e-6)
        assert np.linalg.det(one.box.axes) == pytest.approx(1.0)


def test_the_bodies_of_a_phantom_are_found():
    plan = StudyPlan(spacing_mm=(3, 3, 3), width_mm=90, depth_mm=90, above_mm=10, below_mm=0, fractures=())
    study = make_study(0, plan)
    volume = CTVolume(study.hu, study.ijk_to_ras)
    phantom = StudyRecord("phantom", load_volume=lambda: volume, load_levels=lambda: study.labels)
    vertebrae = record_to_result(phantom).vertebrae
    assert len(vertebrae) == 7
    for one in vertebrae:
        assert np.linalg.norm(np.array(one.center_ras) - study.centres_ras[one.level]) < 5


def test_a_small_speck_of_mask_has_a_middle():
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 2] = True
    for first in (False, True):
        np.testing.assert_allclose(body_middle(mask, np.diag([0.3, 0.3, 0.3, 1.0]), first), [0.6, 0.3, 0.3])
