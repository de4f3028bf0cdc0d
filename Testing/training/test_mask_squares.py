"""A segmentation that learns from squares around the column: where they lie, and figures in the slices' own pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from broken_off import CPU, one_thread
from made_masks import HEIGHT, MODEL, WIDTH, a_mask_run, make_mask_tree, segmentation_networks

from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import from_metadata
from CSpineFractureLib.models.weights_file import read_metadata
from CSpineFractureLib.pipeline.unet_segment import SegmentationInput
from CSpineFractureLib.training.mask_augment import MaskAugmentation
from CSpineFractureLib.training.mask_pictures import MaskPictures
from CSpineFractureLib.training.run_folder import open_run
from CSpineFractureLib.training.segmentation_export import spacing_of
from CSpineFractureLib.training.segmentation_run import fit, look, measure

SIZE, MM = 32, 0.7
"""22.4 mm: wider than a disc (8 mm), narrower than a slice (20 x 24 mm) in its wide direction."""


@pytest.fixture(autouse=True, scope="module")
def networks():
    with one_thread(), segmentation_networks():
        yield


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_mask_tree(tmp_path_factory.mktemp("tree") / "images", train=6)


def with_squares(run, path, spacing_mm):
    system = replace(run.setup.system, input={**run.setup.system.input, "spacing_mm": spacing_mm})
    return open_run(path, replace(run.setup, system=system))


def test_the_bone_lies_in_the_middle_and_slices_without_it_take_the_nearest_middle(tree):
    pictures = MaskPictures(tree, "val", SIZE, spacing_mm=MM)
    middles = {}
    for index, row in enumerate(pictures.rows):
        _picture, labels = pictures[index]
        truth = pictures.truth(index)
        j, i = np.nonzero(truth)
        square = pictures.square(index)
        assert square.shape == (HEIGHT, WIDTH)
        if len(j):
            assert square.centre == ((j.min() + j.max()) / 2, (i.min() + i.max()) / 2)
            assert set(np.unique(labels)) == set(np.unique(truth))
            assert np.abs(np.argwhere(labels.numpy() > 0).mean(axis=0) - (SIZE - 1) / 2).max() < 1
            middles[row["study"], int(row["k"])] = square.centre
    for index, row in enumerate(pictures.rows):
        own = [(abs(k - int(row["k"])), middle) for (study, k), middle in middles.items() if study == row["study"]]
        nearest = min(own)[0]
        assert pictures.square(index).centre in [middle for away, middle in own if away == nearest]


def test_moved_squares_have_no_black_edge_where_the_slice_goes_on(tree):
    change = MaskAugmentation(move=1.0, shift=0.05)
    small = MaskPictures(tree, "train", 16, augmentation=change, spacing_mm=0.5)
    pictures = [small[(0, index)][0] for index in range(len(small)) if small.truth(index).any()]
    assert all(picture.shape == (3, 16, 16) for picture in pictures)
    assert min(float(picture.min()) for picture in pictures) > 0


def test_it_learns_from_squares_and_is_measured_on_whole_slices(tmp_path, tree):
    usual = a_mask_run(tmp_path / "whole", training__epochs=9, training__batch=4)
    run = with_squares(usual, tree.parent / MODEL, [MM, MM])
    fit(run, CPU, lambda event: None)
    look(run, "val", "cpu")
    metrics = measure(run, "val")
    assert metrics.figures["dice"].value > 0.4
    entry = from_metadata(read_metadata(run.weights), run.weights)
    seen = SegmentationInput.of(entry)
    assert (seen.size, seen.spacing_mm) == (SIZE, MM)
    pictures = MaskPictures(run.images, "val", SIZE, spacing_mm=MM)
    found = read_image(run.path / "segments-val" / pictures.rows[0]["mask"].split("/")[-1])
    assert found.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("wrong", [[1.0, 0.5], [0, 0], ["a", "a"], [True, True]])
def test_pixels_that_cannot_be_are_one_sentence(tmp_path, wrong):
    run = with_squares(a_mask_run(tmp_path), tmp_path / "other" / MODEL, wrong)
    with pytest.raises(UserError, match=r"input\.spacing_mm is"):
        spacing_of(run.setup)
