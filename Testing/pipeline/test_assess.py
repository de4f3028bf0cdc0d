"""What can be judged at all, and what needs a second look."""

from __future__ import annotations

import pytest

from CSpineFractureLib.pipeline.assess import column_lean, fracture_assessable


@pytest.mark.parametrize(
    ("spacing", "words"),
    [((0.4, 0.4, 3.0), ["3.0 mm", "2.0 mm"]), ((0.94, 0.94, 1.0), ["0.94 mm", "0.90 mm"])],
)
def test_coarse_voxels_are_not_judged_and_the_reason_names_the_limit(spacing, words):
    reason = fracture_assessable(spacing)
    assert isinstance(reason, str)
    assert all(word in reason for word in words)


def test_fine_voxels_are_judged():
    assert fracture_assessable((0.35, 0.35, 0.6)) is True
    assert fracture_assessable((0.9, 0.9, 2.0)) is True


def test_lean_is_the_angle_to_the_body_axis_in_any_direction():
    assert column_lean([[0, 0, 0], [0, 0, -90]]) == pytest.approx(0)
    assert column_lean([[0, 0, 0], [0, -50, -50]]) == pytest.approx(45)
    assert column_lean([[30, 40, 0], [0, 0, -50]]) == pytest.approx(45)
    assert column_lean([[1, 2, 3]]) == 0
