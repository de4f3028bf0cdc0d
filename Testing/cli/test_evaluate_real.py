"""Measuring on real CT from the command line, with the profile "fake"; the resolution gate with small networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cspine_runner import cspine_here, make_ct

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.training.level_hits import NO_GATE, check_no_gate, gate_of
from CSpineFractureLib.volume import read_volume
from CSpineFractureLib.volume.ct_volume import CTVolume

sys.path.append(str(Path(__file__).resolve().parents[1] / "pipeline"))
import picture_networks

FAKE = ("--profile", "fake", "--device", "cpu")


@pytest.fixture
def marked(tmp_path) -> Path:
    """Two scans, the levels of which are marked where the profile "fake" puts them."""
    (tmp_path / "levels").mkdir()
    for name in ("one", "two"):
        volume = read_volume(make_ct(tmp_path / f"{name}.nii.gz"))
        _, study = Engine(device="cpu").run_study(volume, "fake")
        marks = {"file": f"{name}.nii.gz", "R": study.result.vertebrae[0].center_ras[0]}
        for vertebra in study.result.vertebrae:
            marks[vertebra.level] = {"sup": vertebra.center_ras[1:], "inf": vertebra.center_ras[1:]}
        (tmp_path / "levels" / f"{name}.json").write_text(json.dumps(marks), encoding="utf-8")
    return tmp_path


def test_kept_out_volumes_are_summed_up_apart_and_all_are_drawn(capfd, marked):
    verdicts = marked / "verdicts.csv"
    verdicts.write_text("file,use,shift\none.nii.gz,no,0\ntwo.nii.gz,yes,0\nunmarked.nii.gz,no,0\n", encoding="utf-8")
    report, sheet = marked / "report.json", marked / "sheet.png"
    words = ("--data", marked, "--held-out", verdicts, "--no-gate", "--sheet", sheet, "-o", report)
    ended = cspine_here(capfd, "evaluate", "levels", *words, *FAKE)
    assert ended.code == 0, ended.err
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["marked"] == 14
    assert found["hit_rate"] == 1
    assert found["assessable_share"] == 0
    assert found["resolution_gate"] is False
    assert [row["file"] for row in found["parts"]["Kept out"]["per_volume"]] == ["one.nii.gz"]
    assert [row["file"] for row in found["parts"]["Others"]["per_volume"]] == ["two.nii.gz"]
    for words in ("Kept out: hit 100.0% of 7 levels in 1 volumes", "alarms 1.00 per volume (resolution gate off)"):
        assert words in ended.out
    assert "0% of volumes fine enough" in ended.out
    from matplotlib.image import imread

    picture = imread(sheet)
    assert picture.shape[0] > 350
    assert (picture[..., 0] - picture[..., 2] > 0.5).sum() > 100, "yellow names and red points are drawn"


def test_stress_tells_hits_and_silent_shifts_for_every_kind(capfd, marked):
    report = marked / "report.json"
    words = ("--data", marked, "--only", "one", "--kinds", "flip", "--kinds", "noise", "--seed", "3", "-o", report)
    ended = cspine_here(capfd, "evaluate", "stress", *words, *FAKE)
    assert ended.code == 0, ended.err
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["seed"] == 3
    assert found["unchanged"]["hit_rate"] == 1
    assert list(found["kinds"]) == ["flip", "noise-25hu", "noise-50hu"]
    assert found["kinds"]["noise-50hu"]["change_points"] == 0
    assert "noise-50hu: hit 100.0% of 7 levels in 1 copies (+0.0 points), confused 0" in ended.out


def test_stress_sees_that_a_profile_names_upside_down_what_is_stored_upside_down(capfd, marked):
    report, shifts = marked / "report.json", []
    for seed in range(6):
        words = ("--data", marked, "--only", "one", "--kinds", "flip", "--seed", seed, "-o", report)
        assert cspine_here(capfd, "evaluate", "stress", *words, *FAKE).code == 0
        shifts.append(json.loads(report.read_text(encoding="utf-8"))["kinds"]["flip"]["silent_shifts"])
    assert set(shifts) == {0, 6}, "all but C4, where the order of the slices is turned"


def test_pairs_of_coarse_ct_are_refused_in_one_sentence_that_offers_a_way(capfd, tmp_path):
    make_ct(tmp_path / "ct.nii.gz")
    report = tmp_path / "report.json"
    ended = cspine_here(capfd, "evaluate", "pairs", "--data", tmp_path, "-o", report, *FAKE)
    assert ended.code == 2
    assert "0 of 1 CT pass the resolution gate" in ended.err
    assert "--no-gate" in ended.err
    assert not report.exists()


def test_pairs_are_made_of_coarse_ct_where_asked_for(capfd, tmp_path):
    make_ct(tmp_path / "ct.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    report = tmp_path / "report.json"
    words = ("--data", tmp_path, "--no-gate", "--types", "burst", "--n", "2", "-o", report)
    ended = cspine_here(capfd, "evaluate", "pairs", *words, *FAKE)
    assert ended.code == 0, ended.err
    assert "Left out: 'broken.nii.gz'" in ended.out
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["pairs"] == 2
    assert {row["type"] for row in found["per_scan"][0]["inserted"]} == {"burst"}
    assert found["alarms_untouched"] == 1, "the profile alarms at C2 always"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("stress", "--data", "no-such-folder"), "no-such-folder"),
        (("pairs", "--data", "no-such-folder"), "no-such-folder"),
        (("stress", "--data", "{data}", "--kinds", "shear"), "--kinds shear"),
        (("stress", "--data", "{data}", "--only", "three"), "no marks"),
        (("stress", "--data", "{data}", "-o", "{data}/no-such/report.json"), "folder that exists"),
        (("pairs", "--data", "{data}", "--types", "sprain"), "--types sprain"),
        (("levels", "--data", "{data}", "--held-out", "{data}/levels/one.json"), "table of verdicts"),
        (("levels", "--data", "{data}", "--sheet", "{data}/no-such/sheet.png"), "folder that exists"),
    ],
)
def test_bad_input_ends_with_one_sentence(capfd, marked, words, told):
    ended = cspine_here(capfd, "evaluate", *(word.format(data=marked) for word in words), *FAKE)
    assert ended.code == 2
    assert told in ended.err
    assert "Traceback" not in ended.err


@pytest.fixture(scope="module")
def coarse() -> CTVolume:
    """The block study with pixels too large to judge fractures."""
    volume = picture_networks.block_study().volume
    matrix = volume.ijk_to_ras.copy()
    matrix[:2] *= 1.2
    return CTVolume(volume.hu, matrix)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    store = WeightsStore(tmp_path_factory.mktemp("store") / "models", tmp_path_factory.mktemp("bundled"))
    picture_networks.install_vertebra_detector(store, "two-stage")
    picture_networks.install_slice_classifier(store)
    picture_networks.install_fracture_detector(store, "two-stage")
    return Engine(store, device="cpu")


def test_the_gate_of_the_default_profile_is_switched_off_for_measuring(coarse, engine):
    assert "too coarse" in gate_of(coarse)
    gated, opened = (engine.run_study(coarse, thresholds=given)[1].result for given in (None, NO_GATE))
    assert [v.level for v in gated.vertebrae] == [v.level for v in opened.vertebrae] == list(LEVELS)
    assert not gated.fractures
    assert {v.fracture_assessable for v in gated.vertebrae} == {gate_of(coarse)}
    assert [f.level for f in opened.fractures] == ["C4"]
    assert opened.thresholds["resolution_gate"] == 0, "the result says that it was made without the gate"
    check_no_gate(opened, coarse)
    with pytest.raises(UserError, match="leave out --no-gate"):
        check_no_gate(gated, coarse)


def test_no_marked_real_ct_passes_the_gate(real_ct):
    assert isinstance(gate_of(read_volume(real_ct / "openkbp" / "pt_34_ct.nii.gz")), str)
    fine = CTVolume(np.zeros((5, 5, 5), np.int16), np.diag([0.5, 0.5, 1.0, 1.0]))
    assert gate_of(fine) is True
