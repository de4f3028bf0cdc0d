from __future__ import annotations

import json

import numpy as np
import pytest
from sample_result import make_result

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import read_result, write_result


def test_a_result_survives_writing_and_reading(tmp_path):
    result = make_result()
    write_result(result, tmp_path / "result.json")

    again = read_result(tmp_path / "result.json")

    before, after = result.to_dict(), again.to_dict()
    for old, new in zip(before["vertebrae"], after["vertebrae"], strict=True):
        assert np.allclose(old.pop("box_ras"), new.pop("box_ras"), atol=1e-4)  # made anew from rounded axes
    assert after == before


def test_the_file_names_its_schema_and_the_hull_of_each_box(tmp_path):
    write_result(make_result(), tmp_path / "result.json")
    document = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert document["schema"] == "cspine-result/1"
    low, high = document["fractures"][0]["box_ras"]
    assert low == [-2.0, 1.0, -58.0]
    assert high == [8.0, 9.0, -52.0]


def test_a_result_that_breaks_the_schema_is_not_written(tmp_path):
    result = make_result()
    result.vertebrae[0].confidence = 1.5
    with pytest.raises(ValueError, match="vertebrae/0/confidence"):
        write_result(result, tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    result = make_result()
    result.vertebrae[0].center_ras[0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        write_result(result, tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "file" / "result.json"
    path.parent.write_text("in the way")
    with pytest.raises(UserError, match="could not be written"):
        write_result(make_result(), path)
    assert path.parent.read_text() == "in the way"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "not a JSON file"),
        ("[1, 2]", "not a JSON object"),
        ('{"schema": "cspine-result/9"}', "cspine-result/9"),
        ('{"schema": "cspine-result/1"}', "required"),
    ],
)
def test_a_file_that_is_no_result_is_refused_with_its_name_and_cause(tmp_path, text, cause):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UserError, match=cause) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json"):
        read_result(tmp_path / "absent.json")


@pytest.mark.parametrize("key", ["id", "volume", "study", "vertebrae", "timings_s"])
def test_no_part_of_the_result_may_be_missing(tmp_path, key):
    document = make_result().to_dict()
    del document[key]
    (tmp_path / "result.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=key):
        read_result(tmp_path / "result.json")
