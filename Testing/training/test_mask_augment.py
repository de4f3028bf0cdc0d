"""Changes of a slice and its map alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.mask_augment import MaskAugmentation
from CSpineFractureLib.training.systems import load_system

SIZE = 96
GEOMETRY = {
    "flip": {"flip": 1.0},
    "flip_vertical": {"flip_vertical": 1.0},
    "move": {"move": 1.0, "shift": 0.1, "scale": 0.2, "rotation_deg": 30},
    "grid": {"distort": 1.0, "grid": 0.4},
    "optical": {"distort": 1.0, "optical": 0.3},
    "elastic": {"distort": 1.0, "elastic": 0.04},
}


def blobs():
    """A picture whose brightness is 30 times the class, and its map: classes 1-4 in unlike places."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    for n, (row, column) in enumerate(((30, 34), (34, 66), (60, 30), (62, 58)), start=1):
        labels[row - 9 : row + 7, column - 7 : column + 9] = n
    labels[20:26, 44:48] = 5
    return torch.tensor(labels).float()[None].repeat(3, 1, 1) * 30 / 255, torch.tensor(labels)


@pytest.mark.parametrize("kind", GEOMETRY)
def test_picture_and_map_stay_together(kind):
    picture, labels = blobs()
    change = MaskAugmentation(**GEOMETRY[kind])
    for seed in range(5):
        seen, map_ = change(picture, labels, np.random.default_rng(seed))
        assert seen.shape == picture.shape
        assert map_.dtype == torch.uint8
        inner = map_.numpy() == ndimage.minimum_filter(map_.numpy(), 5)
        inner &= map_.numpy() == ndimage.maximum_filter(map_.numpy(), 5)
        shown = np.rint(seen[0].numpy() * 255 / 30)
        assert (shown == map_.numpy())[inner].all()
        assert not torch.equal(map_, labels)
        assert {1, 2, 3, 4} <= set(map_.unique().tolist())


def test_mirroring_is_exact():
    picture, labels = blobs()
    seen, map_ = MaskAugmentation(flip=1.0)(picture, labels, np.random.default_rng(0))
    assert torch.equal(map_, labels.flip(1))
    torch.testing.assert_close(seen, picture.flip(2), atol=1e-5, rtol=0)
    assert torch.equal(
        MaskAugmentation(flip_vertical=1.0)(picture, labels, np.random.default_rng(0))[1], labels.flip(0)
    )


def test_a_rotation_turns_by_its_angle():
    places = [
        MaskAugmentation(move=1.0, rotation_deg=40).coordinates(SIZE, np.random.default_rng(s)) for s in range(40)
    ]
    angles = [np.degrees(np.arctan2(*(one[48, 90] - one[48, 5])[::-1])) for one in places]
    assert max(np.abs(angles)) <= 40
    assert max(angles) > 25
    assert min(angles) < -25
    lengths = [np.linalg.norm(one[48, 90] - one[48, 5]) * SIZE / 2 for one in places]
    np.testing.assert_allclose(lengths, 85, rtol=1e-6)


def test_only_one_distortion_is_taken_at_a_time():
    values = {"distort": 1.0, "grid": 0.4, "optical": 0.3, "elastic": 0.08}
    seen = set()
    for seed in range(40):
        found = MaskAugmentation(**values).coordinates(SIZE, np.random.default_rng(seed))
        separable = np.allclose(found[..., 0], found[:1, :, 0]) and np.allclose(found[..., 1], found[:, :1, 1])
        corners = np.abs(found[[0, 0, -1, -1], [0, -1, 0, -1]])
        seen.add("grid" if separable else "optical" if np.allclose(corners, corners[0, 0]) else "elastic")
    assert seen == {"grid", "optical", "elastic"}


def test_holes_are_black_and_background():
    picture, labels = blobs()
    change = MaskAugmentation(dropout=1.0, holes=5, hole=0.3)
    seen, map_ = change(picture + 0.01, labels, np.random.default_rng(3))
    hidden = seen[0] == 0
    assert 0 < hidden.sum() <= 5 * (0.3 * SIZE + 1) ** 2
    assert (map_[hidden] == 0).all()
    assert torch.equal(map_[~hidden], labels[~hidden])


def test_the_same_stream_changes_alike_and_the_given_ones_stay():
    change = MaskAugmentation.of(load_system("002-segmentation").augmentation)
    picture, labels = blobs()
    before = labels.clone()
    results = [change(picture, labels, np.random.default_rng([0, 1, 2])) for _ in range(2)]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert torch.equal(labels, before)
    others = [change(picture, labels, np.random.default_rng([0, 1, n]))[1] for n in range(3, 9)]
    assert len({tuple(one.flatten().tolist()) for one in others}) > 3


def test_nothing_switched_on_changes_nothing():
    picture, labels = blobs()
    seen, map_ = MaskAugmentation()(picture, labels, np.random.default_rng(0))
    assert torch.equal(seen, picture)
    assert torch.equal(map_, labels)


@pytest.mark.parametrize("values", [{"bright": 0.1}, {"flip": 2}, {"holes": 1.5}, {"scale": -0.1}, {"move": True}])
def test_settings_that_cannot_be_used_are_one_sentence(values):
    with pytest.raises(UserError, match=f"augmentation.{next(iter(values))} is"):
        MaskAugmentation.of(values)
