from __future__ import annotations

import csv

from sample_result import make_result, make_vertebra

from CSpineFractureLib.findings.csv_file import write_findings_csv
from CSpineFractureLib.findings.result_rows import result_rows


def rows_of(result, folder):
    write_findings_csv(result, folder / "findings.csv")
    with open(folder / "findings.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_there_is_one_row_per_level_and_one_per_suspected_fracture(tmp_path):
    rows = rows_of(make_result(), tmp_path)
    assert [row["level"] for row in rows] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C3"]
    assert [row["kind"] for row in rows] == ["level"] * 7 + ["suspected fracture"]


def test_no_cell_is_blank(tmp_path):
    empty = make_result(vertebrae=[make_vertebra("C1", visible="no", assessed=False)], fractures=[], slices=[])
    for result in (make_result(), empty):
        for row in rows_of(result, tmp_path):
            assert all(cell.strip() for cell in row.values()), row


def test_only_a_whole_and_assessed_vertebra_is_free_of_suspicion():
    assessments = {row.level: row.assessment for row in result_rows(make_result()) if row.kind == "level"}
    assert assessments["C1"] == "no fracture suspected"
    assert assessments["C3"] == "fracture suspected"
    assert assessments["C4"] == "not assessed: only part of C4 is in the scan"
    assert assessments["C5"] == "not assessed: motion artefact"
    assert assessments["C6"] == "not assessed: C6 was not found in the scan"


def test_a_fracture_is_suspected_in_a_vertebra_that_is_only_partly_visible():
    result = make_result(vertebrae=[make_vertebra("C7", visible="partial", fracture_probability=0.9)])
    assert result_rows(result)[6].assessment == "fracture suspected"


def test_a_rejected_box_raises_no_suspicion():
    result = make_result(vertebrae=[make_vertebra("C3")])
    result.fractures[0].status = "rejected"
    rows = result_rows(result)
    assert rows[2].assessment == "no fracture suspected"
    assert rows[-1].assessment == "rejected"


def test_positions_are_in_millimetres(tmp_path):
    row = rows_of(make_result(), tmp_path)[0]
    assert [row["center_r_mm"], row["center_a_mm"], row["center_s_mm"]] == ["1.00", "20.00", "-30.00"]
    assert [row["box_low_s_mm"], row["box_high_s_mm"]] == ["-39.00", "-21.00"]


def test_a_comment_cannot_become_a_formula(tmp_path):
    assert rows_of(make_result(), tmp_path)[-1]["comment"] == "'=1+1"
