"""The whole ``two-stage`` profile with the shipped weights, on a phantom with a burst fracture, stored in odd ways."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from CSpineFractureLib.errors import Cancelled
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.read import read_volume

sys.path.append(str(Path(__file__).resolve().parents[1] / "volume"))
from dicom_maker import make_dicom_series, tilted_acquisition

PLAN = StudyPlan(
    spacing_mm=(0.8, 0.8, 1.0),
    fractures=parse_fractures(["C5:burst"]),
    width_mm=160,
    depth_mm=160,
    below_mm=60,
    noise_hu=(15, 15),
)


@pytest.fixture(scope="module")
def phantom():
    return make_study(3, PLAN)


@pytest.fixture(scope="module")
def engine():
    return Engine(device="cpu")


@pytest.fixture(scope="module")
def usual(engine, phantom):
    return engine.run_study(CTVolume(phantom.hu, phantom.ijk_to_ras), "two-stage")[1]


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def centres(output) -> dict[str, np.ndarray]:
    return {v.level: np.array(v.center_ras) for v in output.result.vertebrae if v.assessed}


def test_all_levels_are_found_where_they_are(phantom, usual):
    found = centres(usual)
    assert list(found) == list(LEVELS)
    for level, centre in found.items():
        d = centre - phantom.centres_ras[level]
        assert np.hypot(d[1], d[2]) <= 10
        assert abs(d[0]) <= 6


def test_segments_cover_the_bone_and_nothing_far_from_it(phantom, usual):
    for number in range(1, 8):
        ours, truth = usual.labels == number, phantom.labels == number
        assert 2 * (ours & truth).sum() / (ours.sum() + truth.sum()) > 0.65, LEVELS[number - 1]
    astray = (usual.labels > 0) & (phantom.labels == 0)
    assert astray.sum() < 0.25 * (usual.labels > 0).sum()


def test_the_burst_fracture_is_found_at_its_level_and_place(phantom, usual):
    (truth,) = phantom.fractures
    fractures = usual.result.fractures
    assert truth.level in {f.level for f in fractures}
    best = max((f for f in fractures if f.level == truth.level), key=lambda f: f.confidence)
    low, high = (np.array(edge) for edge in truth.box_ras)
    middle = np.array(best.box.center_ras)
    assert (middle > low - 6).all()
    assert (middle < high + 6).all()
    assert usual.result.study.fracture_probability >= 0.5


def test_grad_cam_is_brightest_near_the_gap(phantom, usual):
    cam = usual.cam.astype(float)
    top = np.argwhere(cam >= 0.9 * cam.max())[:, ::-1]
    places = top @ usual.cam_ijk_to_ras[:3, :3].T + usual.cam_ijk_to_ras[:3, 3]
    gap = np.argwhere(phantom.fracture_mask)[:, ::-1] @ phantom.ijk_to_ras[:3, :3].T + phantom.ijk_to_ras[:3, 3]
    assert np.linalg.norm(np.median(places, axis=0) - np.median(gap, axis=0)) < 25


def test_the_order_of_storage_does_not_change_the_findings(engine, phantom, usual):
    flips, order = (1, 2), (2, 0, 1)
    stored = np.ascontiguousarray(np.transpose(np.flip(phantom.hu, flips), order))
    matrix = phantom.ijk_to_ras.copy()
    for axis in (0, 1):  # i and j run the other way
        matrix[:3, 3] += matrix[:3, axis] * (phantom.hu.shape[2 - axis] - 1)
        matrix[:3, axis] *= -1
    matrix[:3, :3] = matrix[:3, [2 - order[2], 2 - order[1], 2 - order[0]]]
    output = engine.run_study(CTVolume(stored, matrix), "two-stage")[1]
    for one, other in zip(output.result.vertebrae, usual.result.vertebrae, strict=True):
        assert one.level == other.level
        np.testing.assert_allclose(one.center_ras, other.center_ras, atol=1e-6)
        np.testing.assert_allclose(one.box.size_mm, other.box.size_mm, atol=1e-6)
        assert one.fracture_probability == pytest.approx(other.fracture_probability, abs=1e-9)
    assert [f.level for f in output.result.fractures] == [f.level for f in usual.result.fractures]
    assert np.array_equal(np.flip(np.transpose(output.labels, np.argsort(order)), flips), usual.labels)


@pytest.mark.parametrize(("pitch_deg", "yaw_deg"), [(20, 0), (-15, 10), (35, -20)])
def test_a_scan_that_lies_obliquely_has_the_same_findings_turned(engine, phantom, usual, pitch_deg, yaw_deg):
    turn = np.eye(4)
    for first, second, degrees in ((1, 2, pitch_deg), (0, 1, yaw_deg)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one = np.eye(4)
        one[[first, first, second, second], [first, second, first, second]] = [c, -s, s, c]
        turn = one @ turn
    turn[:3, 3] = (20, -300, 75)
    matrix = turn @ phantom.ijk_to_ras
    output = engine.run_study(CTVolume(phantom.hu, matrix), "two-stage")[1]
    assert np.array_equal(output.labels, usual.labels)
    assert np.array_equal(output.cam, usual.cam)
    np.testing.assert_allclose(output.cam_ijk_to_ras, turn @ usual.cam_ijk_to_ras, atol=1e-6)
    np.testing.assert_allclose(output.result.volume.ijk_to_ras, matrix)
    for level, centre in centres(usual).items():
        assert np.linalg.norm(centres(output)[level] - moved(centre, turn)) < 1e-6, level
    assert usual.result.fractures
    for one, other in zip(output.result.fractures, usual.result.fractures, strict=True):
        assert one.level == other.level
        assert np.abs(one.box.corners_ras() - moved(other.box.corners_ras(), turn)).max() < 1e-6
    for one in output.result.vertebrae:
        ras = moved(np.argwhere(output.labels == LEVELS.index(one.level) + 1)[:, ::-1], matrix)
        rim = np.abs(np.concatenate([ras.min(axis=0) - one.box_ras[0], one.box_ras[1] - ras.max(axis=0)]))
        assert (rim < max(PLAN.spacing_mm)).all()


def moved(points, matrix) -> np.ndarray:
    return np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]


def test_yolo_does_not_look_far_below_the_neck_and_the_findings_stay(engine, phantom, usual):
    flesh = np.where(phantom.hu[0] > 120, 40, phantom.hu[0]).astype(np.int16)
    chest = np.repeat(flesh[None], 200, axis=0)
    matrix = phantom.ijk_to_ras.copy()
    matrix[:3, 3] -= 200 * matrix[:3, 2]
    looked = []
    longer = CTVolume(np.concatenate([chest, phantom.hu]), matrix)
    output = engine.run_study(longer, "two-stage", on_event=looked.append)[1]
    totals = {event["total"] for event in looked if event["stage"] == "detect"}
    assert max(totals) < (len(phantom.hu) + 60) / 1.5  # of slices every 1.5 mm
    assert list(centres(output)) == list(LEVELS)
    for level, centre in centres(output).items():
        assert np.linalg.norm(centre - centres(usual)[level]) <= 3, level


def test_one_thread_and_two_find_the_same(engine, phantom, torch_threads):
    found = []
    for count in (1, 2):
        torch_threads(count)
        output = engine.run_study(CTVolume(phantom.hu, phantom.ijk_to_ras), "two-stage")[1]
        result = output.result.to_dict()
        for name in ("id", "created", "timings_s"):
            result.pop(name)
        found.append((result, output))
    (first, one), (second, two) = found
    assert first == second
    assert one.labels.any()
    assert np.array_equal(one.labels, two.labels)
    assert np.array_equal(one.cam, two.cam)


@pytest.mark.parametrize("stage", ["detect", "classify", "explain"])
def test_a_run_with_two_threads_can_be_cancelled_and_leaves_none(engine, phantom, torch_threads, stage):
    torch_threads(2)
    cancelled, beside = threading.Event(), []

    def look(event):
        if event["stage"] == stage and event["done"] > 0:
            beside.extend(one.name for one in threading.enumerate() if one.name.startswith("crew"))
            cancelled.set()

    with pytest.raises(Cancelled):
        engine.run_study(
            CTVolume(phantom.hu, phantom.ijk_to_ras), "two-stage", on_event=look, is_cancelled=cancelled.is_set
        )
    assert len(set(beside)) == 2
    assert not [one for one in threading.enumerate() if one.name.startswith("crew")]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("copy", ["tilted", "gapped"])
def test_a_tilted_and_a_gapped_series_give_the_same_levels(engine, phantom, usual, copy, tmp_path):
    hu, matrix, missing = phantom.hu, phantom.ijk_to_ras, ()
    if copy == "tilted":
        hu, matrix = tilted_acquisition(hu, matrix, 12.0)
    else:
        missing = (60, 61, 85)
    make_dicom_series(tmp_path, hu, matrix, missing=missing)
    volume = read_volume(tmp_path)
    assert volume.notices
    found, wanted = centres(engine.run_study(volume, "two-stage")[1]), centres(usual)
    assert list(found) == list(wanted)
    for level, centre in found.items():
        assert np.linalg.norm(centre - wanted[level]) <= 3, level


def test_a_head_without_a_neck_has_no_levels(engine, real_ct):
    result = engine.run_study(read_volume(real_ct / "head-only-dicom.zip"), "two-stage")[1].result  # ends inside C1
    assert not any(vertebra.assessed for vertebra in result.vertebrae)
    assert result.fractures == []
    assert result.study.fracture_probability is None
    assert "no-cervical-spine" in {notice.code for notice in result.warnings}


@pytest.mark.parametrize("number", [101, 193])
def test_a_chest_without_a_neck_has_no_levels(engine, real_ct, number):
    volume = read_volume(real_ct / "openkbp" / f"pt_{number}_ct.nii.gz")
    marks = json.loads((real_ct / "levels" / f"pt_{number}.json").read_text())
    below = (
        volume.ijk_of([marks["R"], *marks["C7"]["inf"]])[2] - 40 / volume.spacing_mm[2]
    )  # within the second thoracic
    chest = CTVolume(volume.hu[: int(below)], volume.ijk_to_ras)
    result = engine.run_study(chest, "two-stage")[1].result
    assert not any(vertebra.assessed for vertebra in result.vertebrae)
