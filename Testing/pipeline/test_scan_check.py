"""What is said of volumes that lie outside what the networks have seen."""

from __future__ import annotations

import re

import numpy as np
import pytest

from CSpineFractureLib.phantom.scanner import METAL_HU as PHANTOM_METAL_HU
from CSpineFractureLib.phantom.varied import scans_plan
from CSpineFractureLib.pipeline.scan_check import (
    COARSEST_PIXEL_MM,
    METAL_HU,
    THICKEST_SLICE_MM,
    around_column,
    edge_distance_mm,
    marrow_hu,
    noise_hu,
    scan_warnings,
)
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

SPACING = (0.8, 0.8, 2.0)


def neck(spacing=SPACING, noise=10.0, width_mm=140.0):
    """A block of muscle 120 mm high with noise (SD, HU), and the middles of seven levels down its axis (RAS mm)."""
    size = [round(mm / s) for mm, s in zip((120.0, width_mm, width_mm), spacing[::-1], strict=True)]
    hu = 50 + noise * np.random.default_rng(0).standard_normal(size)
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    middles = [[-width_mm / 2, -width_mm / 2, s] for s in np.linspace(10, 110, 7)]
    return np.rint(hu).astype(np.int16), matrix, np.array(middles)


def codes(hu, matrix, middles):
    return [one.code for one in scan_warnings(CanonicalView.of(CTVolume(hu, matrix)), middles)]


def sentence(hu, matrix, middles):
    (notice,) = scan_warnings(CanonicalView.of(CTVolume(hu, matrix)), middles)
    assert notice.message.endswith(".")
    return notice.message


def test_an_ordinary_neck_gives_no_warning():
    assert codes(*neck()) == []


def test_the_limits_are_those_of_the_phantoms():
    plans = [scans_plan(seed).spacing_mm for seed in range(200)]
    assert max(max(p[:2]) for p in plans) == pytest.approx(COARSEST_PIXEL_MM, abs=0.02)
    assert max(p[2] for p in plans) == THICKEST_SLICE_MM
    assert METAL_HU == PHANTOM_METAL_HU


@pytest.mark.parametrize(
    ("spacing", "words"),
    [((4.0, 4.0, 2.5), ["pixels of 4.00 mm", "1.0 mm"]), ((0.8, 0.8, 6.0), ["slices of 6.00 mm", "5.0 mm"])],
)
def test_voxels_coarser_than_any_phantoms_are_named_with_both_numbers(spacing, words):
    text = sentence(*neck(spacing, noise=0))
    assert all(word in text for word in words)


@pytest.mark.parametrize("noise", [8.0, 25.0, 70.0])
def test_noise_is_measured_as_drawn_although_fat_and_bone_lie_near(noise):
    hu, matrix, middles = neck(noise=noise)
    hu[:, :40] -= 150
    hu[:, 80:100, 60:110] += 700
    part, near, _ = around_column(CanonicalView.of(CTVolume(hu, matrix)), middles)
    assert noise_hu(part, near, SPACING) == pytest.approx(noise, rel=0.1, abs=1)


def test_noise_beyond_that_of_the_phantoms_is_reported_in_hu():
    text = sentence(*neck(noise=75.0))
    assert "HU (SD in soft tissue)" in text
    assert "42 HU at slices of 2.0 mm" in text


def test_no_noise_is_claimed_where_there_is_no_soft_tissue():
    hu, matrix, middles = neck()
    part, near, _ = around_column(CanonicalView.of(CTVolume(np.full_like(hu, -1000), matrix)), middles)
    assert noise_hu(part, near, SPACING) is None


def test_a_column_near_a_side_of_the_volume_is_reported_in_mm():
    hu, matrix, middles = neck()
    cut = round(55 / 0.8)
    matrix[:3, 3] += matrix[:3, 0] * cut
    volume = (np.ascontiguousarray(hu[:, :, cut:]), matrix, middles)
    assert edge_distance_mm(CanonicalView.of(CTVolume(*volume[:2])), middles) == pytest.approx(15.4, abs=0.5)
    assert "within 15 mm of a side" in sentence(*volume)


def test_blanked_tissue_beside_the_column_is_reported_as_a_share():
    hu, matrix, middles = neck()
    hu[:, : hu.shape[1] // 2 - 8] = -1024
    assert codes(hu, matrix, middles) == ["cropped-tissue"]
    share = int(re.search(r"fill (\d+) %", sentence(hu, matrix, middles)).group(1))
    off = 7 / 30  # the blanked part ends 7 mm in front of the middles: a segment of a circle
    assert share == pytest.approx(50 - 100 * (np.arcsin(off) + off * np.sqrt(1 - off**2)) / np.pi, abs=1.5)


def test_a_windpipe_is_no_cropped_tissue():
    hu, matrix, middles = neck()
    hu[:, 60:82, 76:98] = -990
    assert codes(hu, matrix, middles) == []


def test_metal_at_the_column_is_reported_and_metal_in_teeth_is_not():
    hu, matrix, middles = neck()
    near, far = hu.copy(), hu.copy()
    near[20:30, 80:88, 80:88] = 3000
    far[20:30, 10:18, 80:88] = 3000
    assert "0.8 cm³ above 2500 HU within 30 mm" in sentence(near, matrix, middles)
    assert codes(far, matrix, middles) == []


def test_metal_weighs_the_same_in_thin_slices_of_which_some_are_skipped():
    hu, matrix, middles = neck((0.8, 0.8, 0.5))
    hu[80:120, 80:88, 80:88] = 3000
    assert "0.8 cm³" in sentence(hu, matrix, middles)


def test_without_levels_only_the_voxels_are_judged():
    hu, matrix, _ = neck((4.0, 4.0, 2.0), noise=90)
    assert codes(hu, matrix, np.empty((0, 3))) == ["outside-resolution"]


def test_the_order_of_storage_changes_nothing():
    hu, matrix, middles = neck(noise=75)
    hu[20:30, 80:88, 80:88] = 3000
    turned = matrix.copy()
    turned[:3, 3] += turned[:3, 0] * (hu.shape[2] - 1)
    turned[:3, 0] *= -1
    plain = scan_warnings(CanonicalView.of(CTVolume(hu, matrix)), middles)
    assert len(plain) == 2
    assert scan_warnings(CanonicalView.of(CTVolume(np.ascontiguousarray(hu[:, :, ::-1]), turned)), middles) == plain


def test_metal_below_the_last_level_that_was_found_is_told_too():
    hu, matrix, middles = neck()
    hu[8:12, 85:95, 85:95] = 3000  # 20 mm above the lowest slice
    upper = middles[middles[:, 2] > 40]
    view = CanonicalView.of(CTVolume(hu, matrix))
    assert [one.code for one in scan_warnings(view, upper, whole=False)] == ["metal-at-column"]
    assert scan_warnings(view, upper) == []


@pytest.mark.parametrize(("marrow", "said"), [(120, ["outside-density"]), (400, [])])
def test_bone_of_low_density_is_told(marrow, said):
    hu, matrix, middles = neck()
    view = CanonicalView.of(CTVolume(hu, matrix))
    for i, j, k in np.rint(view.ijk_of(middles)).astype(int):
        hu[k - 4 : k + 5, j - 8 : j + 9, i - 8 : i + 9] = marrow
    view = CanonicalView.of(CTVolume(hu, matrix))
    assert [one.code for one in scan_warnings(view, middles, bodies_ras=middles[:5])] == said
    assert scan_warnings(view, middles) == []
    assert marrow_hu(view, middles[:5]) == marrow


def test_density_is_judged_of_bodies_alone_and_at_the_faces():
    hu, matrix, middles = neck()
    view = CanonicalView.of(CTVolume(hu, matrix))
    assert scan_warnings(view, middles, bodies_ras=np.zeros((0, 3))) == []
    assert marrow_hu(view, middles[:1] - np.array([0, 0, 200])) is None
    assert abs(marrow_hu(view, view.ras_of(np.zeros((1, 3)))) - 50) < 10
