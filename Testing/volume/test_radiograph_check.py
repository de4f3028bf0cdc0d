"""What is plainly not a radiograph is warned of; synthetic radiographs never are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import ndimage

from CSpineFractureLib.phantom.radiograph import Body, make_radiograph
from CSpineFractureLib.volume.radiograph_check import CODE, look_of, radiograph_notice
from CSpineFractureLib.volume.radiograph_image import RadiographImage


def like_a_radiograph(seed):
    """A lateral neck, drawn: a soft outline that reaches all borders, a column of bright blocks, shoulder and skull."""
    rng = np.random.default_rng(seed)
    j, i = np.indices((460, 380))
    grey = 0.45 - 0.35 * np.clip((i - 300 + 40 * np.sin(j / 90)) / 60, 0, 1)
    for n in range(8):
        grey[(abs(j - 90 - 38 * n) < 15) & (abs(i - 190 + 3 * n) < 24)] += 0.25
    grey += 0.6 * np.clip((j - 380 + 0.3 * i) / 90, 0, 1) + 0.35 * (np.hypot(j, i - 150) < 80)
    grey = ndimage.gaussian_filter(grey, 2) + rng.normal(0, 0.03, grey.shape)
    return np.clip(grey, 0, 1)


def notice_of(pixels, colour=0.0):
    return radiograph_notice(RadiographImage(np.asarray(pixels, np.float32), None, "PNG", colour))


def smooth(seed=0, shape=(400, 300)):
    """Blurred noise: as soft as a radiograph, with all shades."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 15)
    return (noise - noise.min()) / np.ptp(noise)


def page_of_text():
    rng, page = np.random.default_rng(1), np.full((600, 450), 0.98)
    for top in range(30, 570, 16):
        page[top : top + 9, 40:400] = np.where(rng.random((9, 360)) < 0.4, 0.05, 0.98)
    return page


def screen():
    """A window with a bar, a side panel and a smooth picture in a corner."""
    page = np.full((600, 800), 0.93)
    page[:40], page[40:, :150] = 0.25, 0.6
    page[100:240, 500:640] = smooth(2, (140, 140))
    return page


def ct_slice():
    """An axial slice in a bone window: round soft tissue with a vertebra, in air."""
    j, i = np.indices((512, 512))
    away = np.hypot((j - 256) / 180, (i - 250) / 150)
    grey = np.where(away < 1, 0.35, 0) + 0.05 * smooth(3, (512, 512)) * (away < 1)
    grey[(np.hypot(j - 300, i - 250) < 40) & (np.hypot(j - 300, i - 250) > 25)] = 0.9
    grey[480:490, 60:450] = 0.3  # the table
    return grey


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.random.default_rng(0).random((400, 300)), "noise"),
        (np.ones((400, 300)), "next to nothing"),
        (np.zeros((400, 300)), "next to nothing"),
        (page_of_text(), "texture|few shades"),
        (screen(), "few shades"),
        (ct_slice(), "round section"),
        (smooth()[:80, :80], "80 x 80 pixels"),
        (smooth(shape=(900, 200)), "longer than wide"),
    ],
)
def test_what_is_plainly_no_radiograph_is_warned_of(pixels, reason):
    notice = notice_of(pixels)
    assert notice is not None
    assert notice.code == CODE
    assert re.search(reason, notice.message)


def test_a_colour_photo_is_warned_of_and_a_tinted_scan_is_not():
    assert "in colour" in notice_of(smooth(), colour=0.2).message
    assert notice_of(smooth(), colour=0.03) is None


@pytest.mark.parametrize("seed", range(3))
def test_a_drawn_radiograph_is_not_warned_of_with_or_without_a_black_border(seed):
    pixels = like_a_radiograph(seed)
    assert notice_of(pixels) is None, look_of(pixels)
    assert notice_of(np.pad(pixels, 40)) is None


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kind"), [(3, "normal"), (4, "fracture"), (5, "dislocation"), (11, "normal")])
def test_synthetic_radiographs_are_never_warned_of(seed, kind):
    pixels = make_radiograph(seed, kind, body=Body((5.0, 2.5, 2.5))).image / 255
    assert notice_of(pixels) is None, look_of(pixels)
    assert notice_of(np.pad(pixels, 40)) is None  # with the black border of a scanner


def test_the_measures_do_not_depend_on_the_number_of_pixels():
    small, large = look_of(smooth()), look_of(np.kron(smooth(), np.ones((3, 3))))
    assert small.shades == pytest.approx(large.shades, rel=0.05)
    assert small.rough == pytest.approx(large.rough, rel=0.1)
