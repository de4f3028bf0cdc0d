"""Pictures of an image tree as training takes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_pictures import make_tree

from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.slice_input import square_image
from CSpineFractureLib.training.epoch_data import EpochSampler
from CSpineFractureLib.training.picture_augment import Augmentation
from CSpineFractureLib.training.slice_pictures import SlicePictures

AUGMENTATION = Augmentation(flip=0.5, rotation_deg=15, blur=0.5, shift=0.05, scale=0.1)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("discs"), 48, train=10, val=4)


@pytest.fixture(scope="module")
def levels(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("levels"), 48, train=14, val=7, levels=True)


def test_a_picture_is_the_square_image_that_the_pipeline_makes(discs):
    pictures = SlicePictures(discs, "train", "slice-classifier", 32)
    picture, metadata, target = pictures[1]
    expected = square_image(read_image(discs / pictures.rows[1]["file"]), 32)
    assert picture.shape == (1, 32, 32)
    np.testing.assert_array_equal((picture[0] * 255).round().numpy(), expected)
    assert metadata.tolist() == [75.0, 0.5]
    assert target == 1
    assert [int(pictures[index][2]) for index in range(4)] == [0, 1, 0, 1]


def test_levels_are_seven_zeros_and_ones(levels):
    pictures = SlicePictures(levels, "val", "level-presence", 32)
    targets = torch.stack([pictures[index][2] for index in range(len(pictures))])
    assert targets.shape == (7, 7)
    assert targets.dtype == torch.float32
    assert targets.argmax(dim=1).tolist() == list(range(7))
    assert pictures[3][1].tolist() == pytest.approx([150 * 3 / 7, 3 / 7], abs=1e-3)


def test_pictures_kept_in_memory_are_the_same(discs):
    kept, fresh = (SlicePictures(discs, "train", "slice-classifier", 32) for _ in range(2))
    kept.read_all()
    for index in range(len(kept)):
        assert torch.equal(kept[index][0], fresh[index][0])


def test_a_set_that_is_too_large_for_memory_is_read_again_and_again(discs, monkeypatch):
    monkeypatch.setattr("CSpineFractureLib.training.slice_pictures.MOST_BYTES", 100)
    pictures = SlicePictures(discs, "train", "slice-classifier", 32)
    pictures.read_all()
    assert pictures._kept is None
    assert pictures[0][0].max() > 0.5


def test_augmentation_depends_on_seed_epoch_and_index_alone(discs):
    def picture(key, seed=0):
        return SlicePictures(discs, "train", "slice-classifier", 48, AUGMENTATION, seed)[key][0]

    assert torch.equal(picture((2, 5)), picture((2, 5)))
    assert not torch.equal(picture((2, 5)), picture((3, 5)))
    assert not torch.equal(picture((2, 5)), picture((2, 5), seed=1))
    assert torch.equal(picture(5), picture(5, seed=1))  # not augmented


def test_a_sure_flip_mirrors_and_nothing_else():
    picture = torch.rand(1, 20, 20)
    rng = np.random.default_rng(0)
    assert torch.equal(Augmentation(flip=1)(picture, rng), picture.flip(-1))
    assert torch.equal(Augmentation()(picture, rng), picture)


def test_blur_takes_fine_detail_away_and_rotation_keeps_the_mean():
    rng = np.random.default_rng(0)
    fine = torch.rand(1, 40, 40)
    assert Augmentation(blur=1)(fine, rng).std() < 0.7 * fine.std()
    disc = torch.zeros(1, 41, 41)
    disc[0, 15:26, 10:31] = 1
    turned = Augmentation(rotation_deg=90)(disc, rng)
    assert not torch.equal(turned, disc)
    assert float(turned.sum()) == pytest.approx(float(disc.sum()), rel=0.05)


@pytest.mark.parametrize(
    "values", [{"flop": 1}, {"flip": 2}, {"rotation_deg": -1}, {"blur": "yes"}, {"scale": 1}, {"shift": True}]
)
def test_augmentation_that_cannot_be_is_one_sentence(values):
    with pytest.raises(UserError, match=next(iter(values))):
        Augmentation.of(values)


def test_each_epoch_has_an_order_of_its_own_which_a_restart_repeats(discs):
    pictures = SlicePictures(discs, "train", "slice-classifier", 32)
    sampler = EpochSampler(pictures, seed=3)
    first = list(sampler)
    assert sorted(first) == [(0, index) for index in range(10)]
    sampler.set_epoch(1)
    second = list(sampler)
    assert [index for _, index in second] != [index for _, index in first]
    assert list(EpochSampler(pictures, seed=3, epoch=1)) == second


def test_a_restart_inside_an_epoch_leaves_out_what_was_seen_once(discs):
    pictures = SlicePictures(discs, "train", "slice-classifier", 32)
    whole = list(EpochSampler(pictures, epoch=1))
    sampler = EpochSampler(pictures, epoch=1, skip=4)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole
    assert len(sampler) == len(whole)


def test_two_processes_share_the_pictures(discs):
    pictures = SlicePictures(discs, "train", "slice-classifier", 32)
    shares = [list(EpochSampler(pictures, processes=2, rank=rank)) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == [(0, index) for index in range(10)]


def test_a_missing_picture_is_one_sentence(tmp_path):
    root = make_tree(tmp_path / "tree", 32, train=4, val=2)
    pictures = SlicePictures(root, "train", "slice-classifier", 32)
    (root / pictures.rows[2]["file"]).unlink()
    with pytest.raises(UserError, match=r"study002\.png' is missing"):
        pictures.read_all()


def test_a_damaged_picture_is_one_sentence(tmp_path):
    root = make_tree(tmp_path / "tree", 32, train=4, val=2)
    path = root / SlicePictures(root, "train", "slice-classifier", 32).rows[1]["file"]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"study001\.png' cannot be read"):
        SlicePictures(root, "train", "slice-classifier", 32).read_all()


def test_an_empty_split_is_one_sentence(discs, tmp_path):
    with pytest.raises(UserError, match="no image of the split 'test'"):
        SlicePictures(discs, "test", "slice-classifier", 32)
    with pytest.raises(UserError, match="no image of the split 'train'"):
        SlicePictures(tmp_path, "train", "slice-classifier", 32)


def test_a_tree_of_another_task_is_one_sentence(discs, levels):
    with pytest.raises(UserError, match="'C1'"):
        SlicePictures(discs, "train", "level-presence", 32)
    with pytest.raises(UserError, match="'fracture'"):
        SlicePictures(levels, "train", "slice-classifier", 32)
