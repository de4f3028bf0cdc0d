"""Studies as training samples: where crops lie, which slices count, what a box holds."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.augment import coarsen
from CSpineFractureLib.training.bank import TrainingStudy, boxes_of, load_studies, split_studies, warp
from CSpineFractureLib.training.classifier import PATCH, SIZE, SliceIndex
from CSpineFractureLib.training.detector import sample_slice


def a_training_study(name: str = "a", fractured: bool = True) -> TrainingStudy:
    """A square column of bone, C1 to C4, with a gap in slices 20 to 24."""
    hu = np.full((48, 120, 120), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    fracture = np.zeros(hu.shape, np.uint8)
    for level in range(1, 5):
        labels[48 - 12 * level : 60 - 12 * level, 50:80, 30:70] = level
    hu[labels > 0] = 500
    if fractured:
        fracture[20:25, 60:64, 40:60] = 1
        hu[fracture > 0] = 20
    return TrainingStudy(name, hu, labels, fracture, 0.8, 1.0, np.tile([50.0, 65.0], (48, 1)))


def test_slices_near_a_gap_are_neither_positive_nor_negative():
    index = SliceIndex([a_training_study(), a_training_study("b", fractured=False)])
    assert {k for n, k in index.positive if n == 0} == set(range(20, 25))
    assert {k for n, k in index.negative if n == 0} == set(range(48)) - set(range(18, 27))
    assert {n for n, _ in index.positive} == {0}
    assert sum(n == 1 for n, _ in index.negative) == 48


def test_a_crop_is_centred_on_the_column_and_its_mask_on_the_gap():
    index = SliceIndex([a_training_study()])
    image, mask = index.crop(0, 22, None)
    assert image.shape == (1, SIZE, SIZE)
    assert 0 <= image.min() <= image.max() <= 1
    rows, columns = np.nonzero(mask)
    middle = (SIZE - 1) / 2
    pixel = 0.8 / (128 / 224)
    assert rows.mean() == pytest.approx(middle + (61.5 - 65) * pixel, abs=1)
    assert columns.mean() == pytest.approx(middle + (49.5 - 50) * pixel, abs=1)
    inside = image[0][mask > 0].mean()
    assert inside < image[0][rows.min() - 8, columns.min() : columns.max()].mean() - 0.1


def test_a_positive_patch_holds_its_gap_and_a_negative_one_none():
    index, rng = SliceIndex([a_training_study()]), np.random.default_rng(0)
    for _ in range(20):
        image, mask = index.draw_patch(rng, positive=True)
        assert image.shape == (1, PATCH, PATCH)
        assert mask.any()
        assert not index.draw_patch(rng, positive=False)[1].any()


@pytest.mark.parametrize("flip", [False, True])
def test_image_and_mask_move_together(flip):
    image = np.zeros((40, 40), np.float32)
    image[10:14, 25:30] = 1
    turn = {"angle_deg": 20, "flip": flip, "scale": 1.2}
    moved = warp(image, np.array([20.0, 20.0]), 1.0, 0.5, 80, fill=0, **turn)
    mask = warp(image.astype(np.uint8), np.array([20.0, 20.0]), 1.0, 0.5, 80, nearest=True, fill=0, **turn)
    overlap = ((moved > 0.5) & (mask > 0)).sum() / ((moved > 0.5) | (mask > 0)).sum()
    assert overlap > 0.85
    assert bool(np.nonzero(mask)[1].mean() < 40) is flip


def test_detector_samples_hold_a_box_for_each_vertebra_in_the_slice():
    image, boxes, labels = sample_slice(a_training_study(), np.random.default_rng(3), augment=False)
    assert image.shape == (3, 192, 192)
    assert len(boxes) == len(labels) <= 1
    for seed in range(10):
        image, boxes, labels = sample_slice(a_training_study(), np.random.default_rng(seed))
        assert boxes.shape == (len(labels), 4)
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert set(labels) <= set(range(8))


def test_boxes_reach_the_far_edge_of_the_last_pixel():
    mask = np.zeros((10, 10), np.uint8)
    mask[2:5, 3:9] = 4
    mask[9, 9] = 2
    boxes, labels = boxes_of(mask, least_pixels=2)
    assert boxes.tolist() == [[3, 2, 9, 5]]
    assert labels.tolist() == [4]


def test_no_study_is_on_both_sides_of_the_split():
    studies = [a_training_study(str(n)) for n in range(11)]
    fit, held = split_studies(studies)
    assert len(held) == 3
    assert {s.name for s in fit} | {s.name for s in held} == {str(n) for n in range(11)}
    assert not {s.name for s in fit} & {s.name for s in held}


def test_a_folder_without_studies_is_refused(tmp_path):
    with pytest.raises(UserError, match="cspine phantom"):
        load_studies(tmp_path)


def test_a_damaged_study_is_named_in_one_sentence(tmp_path):
    folder = tmp_path / "phantom_000001"
    folder.mkdir()
    (folder / "truth.json").write_text("{}", encoding="utf-8")
    (folder / "ct.nii.gz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"phantom_000001.*missing or damaged"):
        load_studies(tmp_path)


def test_coarse_pixels_hide_a_gap_and_leave_the_bone():
    image = np.full((1, 96, 96), 40, np.float32)
    image[0, 20:76, 20:76] = 600
    image[0, 47:49, 20:76] = 40
    for seed in range(8):
        coarse = coarsen(image, np.random.default_rng(seed), 0.571)[0]
        assert coarse.shape == (96, 96)
        assert coarse[47:49, 30:66].min() > 150
        assert abs(coarse.mean() - image.mean()) < 15
        rows, columns = np.nonzero(coarse > 320)
        assert np.hypot(rows.mean() - 47.5, columns.mean() - 47.5) < 3
