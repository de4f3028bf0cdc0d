"""Corrections of findings as plain data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scene_study import GRIDS, make_study

pytest.importorskip("slicer", reason="the Slicer libraries (extra standalone) are not installed")

from CSpineFractureLib.findings.study_result import BY_CAM, Box
from CSpineFractureLib.scene.correct_findings import with_box


@pytest.mark.parametrize(("comment", "after"), [(BY_CAM, ""), ("old fracture?", "old fracture?")])
def test_a_box_that_a_reader_moved_is_no_longer_said_to_be_placed_by_grad_cam(comment, after):
    result = make_study(GRIDS["axial"])[1].result
    result.fractures[0] = replace(result.fractures[0], comment=comment)
    moved = with_box(result, result.fractures[0].id, Box([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]))
    assert moved.fractures[0].comment == after
    assert moved.fractures[0].box.center_ras == [1.0, 2.0, 3.0]
