"""The part of a result that a radiograph has and a CT has not."""

from __future__ import annotations

import json

import pytest
from sample_result import make_result

from CSpineFractureLib.findings.result_file import first_fault, read_result, write_result
from CSpineFractureLib.findings.study_result import RadiographFinding

CHANCES = {"normal": 0.1, "fracture": 0.7, "dislocation": 0.2}


def test_a_class_survives_writing_and_reading(tmp_path):
    result = make_result()
    result.radiograph = RadiographFinding("fracture", CHANCES)
    write_result(result, tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["radiograph"] == {
        "class": "fracture",
        "probabilities": CHANCES,
    }
    assert read_result(tmp_path / "result.json").radiograph == result.radiograph


def test_results_of_ct_have_no_such_part_and_older_ones_can_be_read(tmp_path):
    document = make_result().to_dict()
    assert "radiograph" not in document
    (tmp_path / "result.json").write_text(json.dumps(document))
    assert read_result(tmp_path / "result.json").radiograph is None


@pytest.mark.parametrize(
    "part",
    [
        {"class": "sprain", "probabilities": CHANCES},
        {"class": "normal", "probabilities": {"normal": 1.0}},
        {"class": "normal", "probabilities": CHANCES | {"normal": 1.2}},
        {"class": "normal"},
    ],
)
def test_a_wrong_part_breaks_the_schema(part):
    assert first_fault(make_result().to_dict() | {"radiograph": part})
