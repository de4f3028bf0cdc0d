"""Reviewed studies are kept for training: verdicts become labels, boxes land in the right pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_studies import MATRIX, SHAPE, make_hu, make_levels

from CSpineFractureLib.datasets.box_slices import slice_boxes
from CSpineFractureLib.datasets.corrections import read_corrections, write_corrections
from CSpineFractureLib.datasets.record import SliceBox
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import Box, FractureFinding, StudyFinding, StudyResult, VolumeInfo
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume import CTVolume


def make_ct(matrix: np.ndarray = MATRIX) -> CTVolume:
    return CTVolume(make_hu(), matrix)


def box_over(ct: CTVolume, i: tuple[int, int], j: tuple[int, int], k: tuple[int, int]) -> Box:
    """The box in RAS mm around whole voxels, first and last included."""
    axes = ct.ijk_to_ras[:3, :3] / np.array(ct.spacing_mm)
    centre = ct.ras_of(np.array([np.mean(i), np.mean(j), np.mean(k)]))
    size = [(last - first + 1) * mm for (first, last), mm in zip((i, j, k), ct.spacing_mm, strict=True)]
    return Box(centre.tolist(), size, axes.T.tolist())


def make_result(ct: CTVolume, *fractures: FractureFinding) -> StudyResult:
    info = VolumeInfo(
        list(ct.shape_kji), list(ct.spacing_mm), ct.ijk_to_ras.tolist(), series_uid="1.2.3", sop_instance_uids=["1.4"]
    )
    return StudyResult(
        id="11111111-2222-3333-4444-555555555555",
        created="2026-11-21T10:00:00+00:00",
        software_version="0.1.0",
        status="complete",
        volume=info,
        profile="default",
        device="cpu",
        study=StudyFinding(None, "noisy-or"),
        warnings=[Notice("series-chosen", "Series 'Miller^Anna neck' was chosen.")],
        fractures=list(fractures),
    )


def finding(box: Box, level: str, status: str) -> FractureFinding:
    return FractureFinding(f"{level}-{status}", level, 0.8, box, status, "Mrs Miller fell down")


def exported(tmp_path, *verdicts: tuple[str, str], matrix: np.ndarray = MATRIX):
    """The record of a study with a fracture over columns 10-14, rows 20-27, slices 3-5 for each verdict."""
    ct = make_ct(matrix)
    box = box_over(ct, (10, 14), (20, 27), (3, 5))
    result = make_result(ct, *(finding(box, level, status) for level, status in verdicts))
    write_corrections(tmp_path / "review" / "study7", ct, make_levels(), result)
    return read_corrections(tmp_path / "review")[0]


def test_accepted_and_added_fractures_become_boxes(tmp_path):
    for status in ("accepted", "added"):
        record = exported(tmp_path, ("C3", status))
        assert record.boxes == [SliceBox(k, 10, 20, 5, 8, "C3") for k in (3, 4, 5)]
        assert record.fractured == {level: level == "C3" for level in record.fractured}


def test_a_level_of_which_all_fractures_are_rejected_is_negative(tmp_path):
    record = exported(tmp_path, ("C3", "rejected"), ("C5", "accepted"), ("C5", "rejected"))
    assert record.fractured["C3"] is False
    assert record.fractured["C5"] is True
    assert {box.level for box in record.boxes} == {"C5"}


def test_a_study_of_rejected_findings_is_free_of_fractures(tmp_path):
    record = exported(tmp_path, ("C3", "rejected"))
    assert record.negative
    assert record.boxes == []


def test_a_study_with_a_finding_nobody_looked_at_is_not_labelled(tmp_path):
    record = exported(tmp_path, ("C3", "accepted"), ("C6", "suggested"))
    assert record.boxes is None
    assert not record.negative
    assert not record.slices_are_labelled


def test_a_fracture_of_unknown_level_keeps_its_boxes(tmp_path):
    record = exported(tmp_path, ("unknown", "added"))
    assert not record.negative
    assert [box.level for box in record.boxes] == [None] * 3


def test_voxels_and_vertebrae_are_kept(tmp_path):
    record = exported(tmp_path, ("C3", "accepted"))
    volume = record.load_volume()
    assert np.array_equal(volume.hu, make_hu())
    assert volume.ijk_to_ras == pytest.approx(MATRIX, abs=1e-4)
    assert np.array_equal(record.load_levels(), make_levels())


@pytest.mark.parametrize("flip", [(1, 1, -1), (-1, 1, 1), (1, -1, -1)])
def test_boxes_follow_the_matrix_of_a_flipped_volume(flip, tmp_path):
    matrix = np.diag([*np.array(flip) * [0.8, 0.9, 2.5], 1.0])
    matrix[:3, 3] = 12, -7, 30
    record = exported(tmp_path, ("C3", "accepted"), matrix=matrix)
    assert record.boxes == [SliceBox(k, 10, 20, 5, 8, "C3") for k in (3, 4, 5)]
    assert np.array_equal(record.load_levels(), make_levels())


def test_no_file_tells_who_the_patient_is(tmp_path):
    exported(tmp_path, ("C3", "accepted"))
    text = "".join(path.read_text() for path in (tmp_path / "review").rglob("*.json"))
    for word in ("Miller", "1.2.3", "1.4"):
        assert word not in text


def test_the_same_ct_reviewed_twice_is_one_patient(tmp_path):
    ct = make_ct()
    for name in ("first", "second"):
        write_corrections(tmp_path / name, ct, None, make_result(ct))
    write_corrections(tmp_path / "third", CTVolume(make_hu(1), MATRIX), None, make_result(ct))
    groups = {record.id: record.group for record in read_corrections(tmp_path)}
    assert groups["first"] == groups["second"] != groups["third"]
    write_corrections(tmp_path / "third", ct, None, make_result(ct), group="person-12")
    assert read_corrections(tmp_path / "third")[0].group == "person-12"


def test_a_study_without_vertebrae_has_no_mask(tmp_path):
    ct = make_ct()
    write_corrections(tmp_path / "one", ct, None, make_result(ct))
    assert read_corrections(tmp_path)[0].load_levels is None


def test_findings_of_another_grid_are_refused_and_nothing_is_written(tmp_path):
    ct = make_ct()
    other = replace(make_result(ct), volume=VolumeInfo([3, 4, 5], [1, 1, 1], np.eye(4).tolist()))
    with pytest.raises(UserError, match="not on one grid"):
        write_corrections(tmp_path / "one", ct, None, other)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_reviewed_studies_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no reviewed studies"):
        read_corrections(tmp_path)


def test_a_box_turned_in_the_slice_covers_its_hull():
    ct = make_ct()
    turned = Box(ct.ras_of(np.array([20, 20, 4])).tolist(), [10, 10, 2], axes_turned_about_s(45))
    (box,) = slice_boxes(turned, ct.ijk_to_ras, SHAPE)
    half = 10 / np.sqrt(2)
    assert (box.k, box.x, box.width) == (4, pytest.approx(20.5 - half, abs=1e-3), pytest.approx(2 * half, abs=1e-3))


def axes_turned_about_s(degrees: float) -> list[list[float]]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return [[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]


def test_a_box_tilted_against_the_slices_moves_from_slice_to_slice():
    ct = make_ct()
    angle = np.radians(30)
    axes = [[1.0, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]]
    plate = Box(ct.ras_of(np.array([24, 20, 6])).tolist(), [6, 12, 3], axes)
    boxes = slice_boxes(plate, ct.ijk_to_ras, SHAPE)
    hull = np.ptp(ct.ijk_of(plate.corners_ras())[:, 1])
    middles = [box.y + box.height / 2 for box in boxes]
    assert len(boxes) > 2
    assert all(box.height < hull - 0.5 for box in boxes)
    assert middles == sorted(middles, reverse=True)


def test_a_box_thinner_than_the_slices_lies_in_the_nearest():
    ct = make_ct()
    thin = Box(ct.ras_of(np.array([20, 20, 4.4])).tolist(), [4, 4, 0.2])
    assert [box.k for box in slice_boxes(thin, ct.ijk_to_ras, SHAPE)] == [4]


def test_a_box_outside_the_volume_is_in_no_slice():
    ct = make_ct()
    for place in ([20, 20, 40], [90, 20, 4], [20, -30, 4]):
        assert slice_boxes(Box(ct.ras_of(np.array(place)).tolist(), [4, 4, 4]), ct.ijk_to_ras, SHAPE) == []
