from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.models.slice_input import SquareFit, square_image

SHAPES = [(512, 512), (300, 512), (512, 301), (60, 90), (97, 96)]


def marked(shape, x, y, radius):
    """A disc around the pixel edges (x, y)."""
    rows, columns = np.indices(shape) + 0.5
    return (np.hypot(columns - x, rows - y) < radius).astype(np.float32)


def centre(image):
    rows, columns = np.indices(image.shape) + 0.5
    return (columns * image).sum() / image.sum(), (rows * image).sum() / image.sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [96, 224, 640])
def test_what_lies_in_the_image_is_led_back_to_its_place_in_the_slice(shape, size):
    x, y = 0.7 * shape[1], 0.3 * shape[0]
    image = square_image(marked(shape, x, y, min(shape) / 6), size)
    assert image.shape == (size, size)
    back = SquareFit.of(*shape, size).to_slice(*centre(image))
    assert back == pytest.approx((x, y), abs=0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_stretched(shape):
    image = square_image(marked(shape, shape[1] / 2, shape[0] / 2, min(shape) / 4), 224)
    width, height = (np.sqrt(np.cov(np.arange(224), aweights=image.sum(axis))) for axis in (0, 1))
    assert width == pytest.approx(height, rel=0.01)
    assert width == pytest.approx(min(shape) / 8 * 224 / max(shape), rel=0.02)  # half the radius


def test_a_slice_that_is_not_square_gets_an_edge_of_the_fill_on_both_sides():
    image = square_image(np.ones((100, 200), np.float32), 200, fill=7)
    assert (image[:50] == 7).all()
    assert (image[50:150] == 1).all()
    assert (image[150:] == 7).all()


def test_a_square_of_the_right_size_stays_as_it_is_and_the_type_is_kept():
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    assert np.array_equal(square_image(picture, 96), picture)
    assert square_image(picture[:60], 224).dtype == np.uint8
    assert square_image(picture[:60], 224).shape == (224, 224, 3)


def test_shrinking_averages_so_that_thin_lines_stay_visible():
    image = np.zeros((512, 512), np.float32)
    image[:, 255] = 1
    shrunk = square_image(image, 128)
    assert shrunk.sum(1) == pytest.approx(np.full(128, 0.25))


def test_the_slice_given_is_not_changed_and_the_answer_is_contiguous():
    image = np.ones((128, 256), np.float32)[:, ::2]
    answer = square_image(image, 128)
    answer[:] = 5
    assert (image == 1).all()
    assert answer.flags.c_contiguous
