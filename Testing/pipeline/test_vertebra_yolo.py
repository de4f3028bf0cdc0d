"""The ``vertebra-yolo`` profile with a detector that reads the picture itself, on blocks of known place."""

from __future__ import annotations

import csv

import numpy as np
import picture_networks
import pytest

from CSpineFractureLib.findings.csv_file import write_findings_csv
from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.result_rows import result_rows
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.pipeline.outputs import slicer_is_installed, write_outputs


@pytest.fixture(scope="module")
def study():
    return picture_networks.block_study()


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    store = WeightsStore(user=tmp_path_factory.mktemp("store") / "models")
    picture_networks.install_vertebra_detector(store, "vertebra-yolo")
    return Engine(store, device="cpu")


@pytest.fixture(scope="module")
def output(engine, study):
    return engine.run_study(study.volume, "vertebra-yolo")[1]


def test_every_level_has_a_box_where_its_block_is(study, output):
    assert [v.level for v in output.result.vertebrae] == list(LEVELS)
    for vertebra, block in zip(output.result.vertebrae, study.levels, strict=True):
        low, high = study.hull(block)
        found = np.array(vertebra.box_ras)
        np.testing.assert_allclose(found[0], low, atol=1.6)  # two pixels in the plane, one slice along the body
        np.testing.assert_allclose(found[1], high, atol=1.6)
        assert (low < vertebra.center_ras).all()
        assert (high > vertebra.center_ras).all()
        assert vertebra.visible == "full"
        assert vertebra.confidence > 0.5
        assert abs(np.array(vertebra.slice_range) - [block[0][0], block[0][1] - 1]).max() <= 1


def test_the_result_is_valid_and_says_that_fractures_were_not_judged(output):
    assert first_fault(output.result.to_dict()) is None
    assert not output.labels.any()
    assert output.cam is None
    assert output.result.study.fracture_probability is None
    assert output.result.fractures == []
    assert {v.fracture_probability for v in output.result.vertebrae} == {None}
    assert {row.assessment for row in result_rows(output.result)} == {
        "not assessed: this profile does not look for fractures"
    }


def test_slices_carry_the_scores_of_their_boxes(study, output):
    assert len(output.result.slices) == len(study.volume.hu)
    k = sum(study.levels[2][0]) // 2
    assert output.result.slices[k].vertebrae == {"C3": pytest.approx(0.9)}
    assert output.result.slices[k].fracture_probability is None
    assert output.result.slices[0].vertebrae == {}


def test_the_order_of_storage_does_not_change_the_boxes(engine, study, output):
    flipped = picture_networks.stored_otherwise(study.volume)
    other = engine.run_study(flipped, "vertebra-yolo")[1]
    last = len(study.volume.hu) - 1
    for one, two in zip(output.result.vertebrae, other.result.vertebrae, strict=True):
        np.testing.assert_allclose(one.box_ras, two.box_ras, atol=1e-6)
        np.testing.assert_allclose(one.center_ras, two.center_ras, atol=1e-6)
        assert one.slice_range == [last - k for k in two.slice_range[::-1]]
    assert [row.vertebrae for row in output.result.slices] == [row.vertebrae for row in other.result.slices[::-1]]


def test_a_level_at_the_end_of_the_scan_is_partly_visible(engine, study):
    low, high = study.levels[6][0]
    volume = study.volume
    cut = type(volume)(np.ascontiguousarray(volume.hu[(low + high) // 2 :]), volume.ijk_to_ras)
    vertebrae = engine.run_study(cut, "vertebra-yolo")[1].result.vertebrae
    assert vertebrae[-1].level == "C7"
    assert [v.visible for v in vertebrae] == ["full"] * 6 + ["partial"]


def test_air_gives_no_findings_but_says_so(engine, study):
    air = type(study.volume)(np.full((20, 40, 40), -1000, np.int16), study.volume.ijk_to_ras)
    result = engine.run_study(air, "vertebra-yolo")[1].result
    assert result.vertebrae == []
    assert [notice.code for notice in result.warnings] == ["no-cervical-spine"]


def test_the_table_leaves_no_cell_blank_and_invents_no_volume(output, tmp_path):
    write_findings_csv(output.result, tmp_path / "findings.csv")
    with open(tmp_path / "findings.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(cell for row in rows for cell in row.values())
    assert {row["volume_mm3"] for row in rows} == {"not assessed"}


@pytest.mark.skipif(not slicer_is_installed(), reason="needs the Slicer libraries (extra standalone)")
def test_a_study_without_segments_is_written_and_rendered(study, output, tmp_path):
    paths = write_outputs(study.volume, output, tmp_path / "out")
    assert {"scene.mrb", "boxes.mrk.json", "overview.png"} <= {path.name for path in paths}
