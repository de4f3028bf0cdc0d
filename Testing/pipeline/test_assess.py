"""What can be judged at all, and what needs a second look."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.pipeline.assess import body_cut, column_lean, fracture_assessable
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


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


def test_thick_slices_that_overlap_are_not_judged_though_they_lie_close():
    reason = fracture_assessable((0.4, 0.4, 1.5), 5.0)
    assert isinstance(reason, str)
    assert "5.0 mm thick" in reason
    assert "every 3.0 mm" in fracture_assessable((0.4, 0.4, 3.0), 3.0)
    assert fracture_assessable((0.4, 0.4, 0.75), 1.5) is True


@pytest.mark.parametrize(
    ("slice_mm", "first", "cut"), [(1.0, 0, True), (1.0, 1, False), (3.0, 1, True), (3.0, 2, False)]
)
def test_a_vertebra_at_the_end_of_the_scan_is_cut_and_thick_slices_end_a_slice_earlier(slice_mm, first, cut):
    view = CanonicalView.of(CTVolume(np.zeros((20, 30, 30), np.int16), np.diag([-1.0, -1.0, slice_mm, 1.0])))
    assert body_cut(view, (slice(first, 8), slice(5, 20), slice(5, 20))) is cut
    assert body_cut(view, (slice(12, 20 - first), slice(5, 20), slice(5, 20))) is cut


def test_lean_is_the_angle_to_the_body_axis_in_any_direction():
    assert column_lean([[0, 0, 0], [0, 0, -90]]) == pytest.approx(0)
    assert column_lean([[0, 0, 0], [0, -50, -50]]) == pytest.approx(45)
    assert column_lean([[30, 40, 0], [0, 0, -50]]) == pytest.approx(45)
    assert column_lean([[1, 2, 3]]) == 0
