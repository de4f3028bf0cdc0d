"""The scanner does to a plain body what a CT does."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import ndimage

from CSpineFractureLib.phantom.scanner import Scanner, acquire, average_slices, middle_slices, sample_scanner

IDEAL = Scanner(
    blur_mm=0.5, edge_enhancement=0.0, noise_hu=0.0, shoulder_strength=0.0, metal_strength=0.0, cupping_hu=0.0
)
SOFT, SHARP = replace(IDEAL, blur_mm=0.65), replace(IDEAL, blur_mm=0.32, edge_enhancement=0.9)


def body(half_i_mm: float, half_j_mm: float, slices: int = 8, mm: float = 1.0, size: tuple = (160, 160)) -> np.ndarray:
    """Slices of an ellipse of 40 HU in air, float32 ``[k, j, i]``."""
    j, i = (np.arange(n) * mm - (n - 1) * mm / 2 for n in size)
    inside = np.hypot(*np.meshgrid(j / half_j_mm, i / half_i_mm, indexing="ij")) < 1
    return np.repeat(np.where(inside, 40, -1000).astype(np.float32)[None], slices, axis=0)


def shoulders() -> np.ndarray:
    """A body 380 mm wide and 150 mm deep with a humeral head on either side."""
    hu = body(190, 75, slices=6, mm=2.0, size=(100, 210))
    for side in (25, 185):
        j, i = np.mgrid[:100, :210]
        hu[:, np.hypot(j - 50, i - side) < 11] = 700
    return hu


def scan(hu: np.ndarray, scanner: Scanner, seed: int = 1, spacing: tuple = (1.0, 1.0, 1.0), **more) -> np.ndarray:
    return acquire(hu, spacing, scanner, np.random.default_rng(seed), **more).astype(np.float32)


def middle(image: np.ndarray, half: int = 15) -> np.ndarray:
    j, i = image.shape[1] // 2, image.shape[2] // 2
    return image[:, j - half : j + half, i - half : i + half]


def streak_ratio(noise: np.ndarray) -> float:
    """SD that is left after smoothing along i, over what is left after smoothing along j."""
    along = [middle(ndimage.gaussian_filter1d(noise, 3.0, axis=axis)).std() for axis in (2, 1)]
    return float(along[0] / along[1])


@pytest.mark.parametrize("noise_hu", [8.0, 30.0])
@pytest.mark.parametrize("kernel", [SOFT, SHARP])
@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.5), (0.4, 0.4, 2.0)])
def test_the_noise_is_as_asked_in_the_middle_of_a_neck(noise_hu, kernel, spacing):
    hu = body(65, 65, slices=16, mm=spacing[0], size=(round(140 / spacing[0]),) * 2)
    scanner = replace(kernel, noise_hu=noise_hu, shoulder_strength=1.0)
    noise = scan(hu, scanner, spacing=spacing) - scan(hu, replace(scanner, noise_hu=0.0), spacing=spacing)
    assert middle(noise, 25).std() == pytest.approx(noise_hu, rel=0.1)


def test_noise_is_larger_in_a_thicker_body():
    sd = []
    for half in (50, 65, 80):
        hu = body(half, half)
        scanner = replace(IDEAL, noise_hu=15.0, shoulder_strength=1.0)
        sd.append(middle(scan(hu, scanner) - scan(hu, replace(scanner, noise_hu=0.0))).std())
    assert sd[0] < 0.95 * sd[1] < 0.9 * sd[2]


def test_thin_slices_share_noise_and_thick_ones_do_not():
    def likeness(slice_mm: float) -> float:
        noise = scan(body(65, 65, slices=12), replace(IDEAL, noise_hu=15.0), spacing=(1.0, 1.0, slice_mm))
        return float(np.corrcoef(middle(noise)[:-1].ravel(), middle(noise)[1:].ravel())[0, 1])

    assert likeness(0.6) == pytest.approx(0.4, abs=0.06)
    assert abs(likeness(2.0)) < 0.05


def test_a_sharper_kernel_has_a_narrower_edge_and_finer_noise():
    hu = np.where(np.arange(128) < 64, 40, 1000).astype(np.float32) * np.ones((2, 128, 1), np.float32)

    def edge_mm(kernel: Scanner) -> float:
        profile = scan(hu, kernel, spacing=(0.3, 0.3, 1.0))[0, 64]
        return float(0.3 * np.diff(np.interp([40 + 0.1 * 960, 40 + 0.9 * 960], profile[50:78], np.arange(28)))[0])

    def fine_share(kernel: Scanner) -> float:
        noise = scan(np.full((6, 128, 128), 40, np.float32), replace(kernel, noise_hu=15.0), spacing=(0.6, 0.6, 1.0))
        power = (np.abs(np.fft.fft2(noise - noise.mean())) ** 2).mean(axis=0)
        f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128, 0.6)] * 2, indexing="ij"))
        return float(power[f > 0.4].sum() / power.sum())

    assert edge_mm(SHARP) < 0.6 * edge_mm(SOFT)
    assert fine_share(SHARP) > 2 * fine_share(SOFT)


def test_noise_has_less_power_at_low_than_at_middle_frequency():
    noise = scan(np.full((12, 128, 128), 40, np.float32), replace(IDEAL, noise_hu=20.0))
    power = (np.abs(np.fft.fft2(noise - noise.mean())) ** 2).mean(axis=0)
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128)] * 2, indexing="ij"))
    low, mid = power[(f > 0.01) & (f < 0.04)].mean(), power[(f > 0.15) & (f < 0.25)].mean()
    assert low < 0.6 * mid


def test_shoulders_bring_streaks_along_i_and_a_dark_band_between_them():
    hu, spacing = shoulders(), (2.0, 2.0, 2.0)
    quiet = replace(IDEAL, shoulder_strength=1.0)
    clean = scan(hu, quiet, spacing=spacing)
    noise = scan(hu, replace(quiet, noise_hu=15.0), spacing=spacing) - clean
    neck = body(65, 65, slices=6, mm=2.0, size=(100, 210))
    neck_noise = scan(neck, replace(quiet, noise_hu=15.0), spacing=spacing) - scan(neck, quiet, spacing=spacing)
    assert middle(noise).std() > 1.3 * middle(neck_noise).std()
    assert streak_ratio(noise) > 1.5
    assert 0.85 < streak_ratio(neck_noise) < 1.15
    band, behind = clean[:, 46:54, 80:130].mean(), clean[:, 76:82, 80:130].mean()
    assert band < behind - 5
    assert band > 40 - 150


def test_a_body_cut_by_the_border_is_taken_to_go_on():
    whole, spacing = shoulders(), (2.0, 2.0, 2.0)
    quiet = replace(IDEAL, noise_hu=15.0, shoulder_strength=1.0)
    cut = whole[:, :, 55:155]
    noise = scan(cut, quiet, spacing=spacing) - scan(cut, replace(quiet, noise_hu=0.0), spacing=spacing)
    assert streak_ratio(noise) > 1.4


def test_metal_streaks_its_own_slices_only():
    hu = body(70, 80, slices=30)
    for at in (50, 110):
        hu[14:17, 50:56, at : at + 6] = 3000
    streaked = scan(hu, replace(IDEAL, metal_strength=1.0)) - scan(hu, IDEAL)
    changed = np.flatnonzero(np.abs(streaked).max(axis=(1, 2)) > 0)
    assert changed.tolist() == [14, 15, 16]
    between, beside = streaked[14:17, 51:55, 75:90].mean(), streaked[14:17, 58:62, 75:90].mean()
    assert between < beside - 50
    far = streaked[15, 100:120, 60:100]
    assert 3 < far.std() < 200


def test_metal_may_be_given_as_a_mask():
    hu = body(70, 80, slices=4)
    mask = np.zeros(hu.shape, bool)
    mask[1, 60:65, 70:75] = True
    marked = scan(hu, replace(IDEAL, metal_strength=1.0), metal=mask) - scan(hu, IDEAL)
    assert np.flatnonzero(np.abs(marked).max(axis=(1, 2)) > 0).tolist() == [1]


def test_the_same_rng_gives_the_same_voxels_and_another_does_not():
    hu = body(65, 70, slices=30)
    hu[10, 50:54, 80:84] = 3000
    before, scanner = hu.copy(), replace(Scanner(), motion_mm=1.0)
    first = scan(hu, scanner, seed=4)
    assert np.array_equal(first, scan(hu, scanner, seed=4))
    assert not np.array_equal(first, scan(hu, scanner, seed=5))
    assert np.array_equal(hu, before)


def test_with_every_strength_zero_the_scan_is_the_blurred_anatomy():
    hu = body(60, 60)
    hu[:, 70:90, 75:85] = 900
    blurred = ndimage.gaussian_filter(hu, [0, 1.0, 1.0], mode="reflect", truncate=6)
    assert np.abs(scan(hu, replace(IDEAL, blur_mm=1.0)) - blurred).max() <= 1.5


def test_motion_doubles_contours_in_some_slices_and_keeps_their_middle():
    hu = np.full((60, 100, 100), -1000, np.float32)
    hu[:, 40:60, 40:60] = 1000
    moved, still = scan(hu, replace(IDEAL, motion_mm=2.0)), scan(hu, IDEAL)
    changed = np.abs(moved - still).max(axis=(1, 2)) > 20
    assert 3 <= changed.sum() <= 40
    for k in np.flatnonzero(changed):
        assert ndimage.center_of_mass(moved[k] + 1000) == pytest.approx((49.5, 49.5), abs=0.05)
    assert np.array_equal(moved[~changed], still[~changed])


def test_cupping_darkens_the_middle_by_what_is_asked():
    hu = body(80, 80, size=(200, 200))
    cupped = scan(hu, replace(IDEAL, cupping_hu=30.0)) - scan(hu, IDEAL)
    rim = cupped[4, 100, 100 + 74 : 100 + 77].mean()
    assert rim - middle(cupped, 4).mean() == pytest.approx(30 * (1 - np.sqrt(1 - (75.5 / 80) ** 2)), rel=0.25)


def test_calibration_drifts_and_values_are_clipped():
    hu = np.stack([np.full((64, 64), value, np.float32) for value in (-1000, 40, 1040, 5000)])
    drifted = scan(hu, replace(IDEAL, hu_gain=1.02, hu_offset=-50.0))
    assert drifted[:, 0, 0].tolist() == [-1024, 11, 1031, 3071]


def test_sampled_scanners_are_plain_realistic_and_wider_when_randomised():
    usual = [sample_scanner(np.random.default_rng(n)) for n in range(200)]
    wild = [sample_scanner(np.random.default_rng(n), randomise=True) for n in range(200)]
    assert json.loads(json.dumps(asdict(usual[0]))) == asdict(usual[0])
    assert sample_scanner(np.random.default_rng(3)) == usual[3]
    sharp = [s.noise_hu for s in usual if s.blur_mm < 0.4]
    soft = [s.noise_hu for s in usual if s.blur_mm > 0.58]
    assert np.median(sharp) > 1.7 * np.median(soft)
    assert 5 < np.percentile([s.noise_hu for s in usual], 5) < np.percentile([s.noise_hu for s in usual], 95) < 45
    for name in ("blur_mm", "edge_enhancement", "noise_hu", "shoulder_strength", "hu_offset", "cupping_hu"):
        assert np.std([getattr(s, name) for s in wild]) > 1.3 * np.std([getattr(s, name) for s in usual]), name
    thick = sample_scanner(np.random.default_rng(3), slice_mm=4.0)
    assert thick.noise_hu == pytest.approx(usual[3].noise_hu / 2)


def test_thick_slices_average_thin_ones_and_labels_keep_whole_numbers():
    fine = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    assert average_slices(fine, 3)[:, 0, 0].tolist() == [1.0, 4.0]
    labels = np.array([1, 1, 2, 2, 7, 7], np.uint8)[:, None, None]
    assert middle_slices(labels, 3).ravel().tolist() == [1, 7]
    assert middle_slices(labels, 3).dtype == np.uint8
