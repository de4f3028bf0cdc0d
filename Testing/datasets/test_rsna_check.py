"""Each fault of an RSNA-2022 tree gets a sentence of its own, and a sound tree none."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from block_study import make_block_study
from pydicom import dcmread

from CSpineFractureLib.datasets import rsna_write
from CSpineFractureLib.datasets.nifti_mask import write_mask
from CSpineFractureLib.datasets.rsna_check import check_rsna
from CSpineFractureLib.datasets.rsna_write import make_rsna_tree, study_uid
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.plan import StudyPlan

BOXED, PLAIN = study_uid(0), study_uid(1)
"""Seed 0 has a mask, boxes and its files from top to bottom; seed 1 has neither and is free of fractures."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("rsna")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rsna_write, "make_study", lambda seed, plan: make_block_study(seed, () if seed else ("C3", "C6")))
        make_rsna_tree(root, [0, 1], lambda seed: StudyPlan())
    return root


@pytest.fixture
def tree(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "tree")


def the_only_fault(tree):
    (sentence,) = check_rsna(tree)
    assert sentence.endswith(".")
    assert ";" in sentence  # cause; remedy
    return sentence


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def add_box(tree, uid, x, y, width, height, number):
    with open(tree / "train_bounding_boxes.csv", "a") as stream:
        stream.write(f"{uid},{x},{y},{width},{height},{number}\n")


def test_a_sound_tree_has_no_fault_and_progress_is_told(sound):
    seen = []
    assert check_rsna(sound, lambda *step: seen.append(step)) == []
    assert seen == [(1, 2), (2, 2)]


def test_a_missing_slice_is_reported_once(tree):
    (tree / "train_images" / BOXED / "25.dcm").unlink()
    sentence = the_only_fault(tree)
    assert f"train_images/{BOXED} lacks 1 slice (number 25)" in sentence


def test_a_gap_in_the_positions_of_well_numbered_files_is_reported(tree):
    folder = tree / "train_images" / PLAIN
    (folder / "8.dcm").unlink()
    for number in range(9, 31):
        (folder / f"{number}.dcm").rename(folder / f"{number - 1}.dcm")
    sentence = the_only_fault(tree)
    assert "7.dcm and 8.dcm lie 6.0 mm apart, others 3.0 mm" in sentence


def test_a_row_without_a_folder_and_a_folder_without_a_row_are_reported(tree):
    (tree / "train_images" / PLAIN).rename(tree / "train_images" / "1.2.3")
    first, second = check_rsna(tree)
    assert f"train.csv, line 3: train_images/{PLAIN} does not exist" in first
    assert "train_images/1.2.3 has no row in train.csv" in second


def test_masks_and_boxes_without_a_study_are_reported(tree):
    (tree / "segmentations" / f"{BOXED}.nii").rename(tree / "segmentations" / "1.2.4.nii")
    add_box(tree, "1.2.5", 1, 1, 5, 5, 3)
    first, second = check_rsna(tree)
    assert "segmentations/1.2.4.nii has no folder train_images/1.2.4" in first
    assert "train_bounding_boxes.csv, line 6: train_images/1.2.5 does not exist" in second


def test_a_mask_of_another_size_is_reported(tree):
    study = make_block_study(0)
    write_mask(study.labels[:-1], study.ijk_to_ras, tree / "segmentations" / f"{BOXED}.nii", "PIR")
    sentence = the_only_fault(tree)
    assert f"segmentations/{BOXED}.nii has " in sentence
    assert "29" in sentence
    assert "30 x 36 x 40" in sentence


def test_a_mask_that_lies_elsewhere_is_reported(tree):
    study = make_block_study(0)
    moved = np.array(study.ijk_to_ras)
    moved[0, 3] += 1.0
    write_mask(study.labels, moved, tree / "segmentations" / f"{BOXED}.nii", "PIR")
    assert "lies elsewhere in the patient" in the_only_fault(tree)


def test_labels_beyond_19_an_empty_and_a_broken_mask_are_reported(tree):
    study, path = make_block_study(0), tree / "segmentations" / f"{BOXED}.nii"
    write_mask(study.labels * 5, study.ijk_to_ras, path, "PIR")
    assert "has label 40, but RSNA-2022 has 0 to 19" in the_only_fault(tree)
    write_mask(study.labels * 0, study.ijk_to_ras, path, "PIR")
    assert "is empty" in the_only_fault(tree)
    whole = sitk.GetImageFromArray((study.labels + 0.5).astype(np.float32))
    sitk.WriteImage(whole, str(path))
    assert "no whole numbers" in check_rsna(tree)[-1]
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut off or damaged" in the_only_fault(tree)


@pytest.mark.parametrize("box", [(-3, 5, 10, 10), (35, 5, 6, 4), (5, 30, 5, 7), (5, 5, 0, 5)])
def test_a_box_outside_its_image_is_reported(tree, box):
    add_box(tree, BOXED, *box, 12)
    assert "line 6: the box lies outside its image of 40 x 36 pixels" in the_only_fault(tree)


def test_a_box_that_ends_at_the_edge_is_no_fault(tree):
    add_box(tree, BOXED, 30, 26, 10, 10, 12)
    assert check_rsna(tree) == []


def test_a_box_on_a_slice_that_does_not_exist_is_reported(tree):
    add_box(tree, BOXED, 5, 5, 5, 5, 31)
    assert "has no readable slice 31" in the_only_fault(tree)


def test_a_box_in_a_study_free_of_fractures_is_reported(tree):
    add_box(tree, PLAIN, 5, 5, 5, 5, 3)
    assert f"{PLAIN} has no fracture in train.csv" in the_only_fault(tree)


def test_an_overall_label_against_the_levels_is_reported(tree):
    edit(tree / "train.csv", f"{PLAIN},0", f"{PLAIN},1")
    assert "patient_overall is 1" in the_only_fault(tree)
    edit(tree / "train.csv", f"{PLAIN},1,0", f"{PLAIN},0,1")
    assert "C1 fractured" in the_only_fault(tree)


def test_unreadable_slices_are_reported_and_not_called_missing(tree):
    folder = tree / "train_images" / PLAIN
    whole = (folder / "6.dcm").read_bytes()
    (folder / "6.dcm").write_bytes(whole[:-200])
    (folder / "14.dcm").write_bytes(b"no DICOM at all")
    first, second = check_rsna(tree)
    assert f"train_images/{PLAIN}/6.dcm cannot be read" in first
    assert f"train_images/{PLAIN}/14.dcm cannot be read" in second


def test_pixels_are_not_read(tree):
    path = tree / "train_images" / PLAIN / "5.dcm"
    slice_ = dcmread(path)
    slice_.PixelData = b"\xff" * len(slice_.PixelData)
    slice_.save_as(path)
    assert check_rsna(tree) == []


def test_rows_that_cannot_be_read_are_reported(tree):
    edit(tree / "train.csv", f"{PLAIN},0", f"{PLAIN},x")
    add_box(tree, BOXED, "wide", 5, 5, 5, 3)
    sentences = check_rsna(tree)
    assert any(sentence.startswith("train.csv, line 3: a value is missing or wrong") for sentence in sentences)
    assert any(sentence.startswith("train_bounding_boxes.csv, line 6: a value") for sentence in sentences)


def test_a_study_twice_in_the_table_is_reported(tree):
    with open(tree / "train.csv", "a") as stream:
        stream.write(f"{PLAIN},0,0,0,0,0,0,0,0\n")
    assert f"train.csv, line 4: {PLAIN} is in line 3 too" in the_only_fault(tree)


def test_a_tree_without_its_table_says_so_and_still_looks_at_the_slices(tree):
    (tree / "train.csv").unlink()
    (tree / "train_images" / PLAIN / "9.dcm").unlink()
    sentences = check_rsna(tree)
    assert "train.csv' does not exist" in sentences[0]
    assert "number 9" in sentences[-1]


def test_a_folder_that_is_no_tree_is_refused(tmp_path):
    with pytest.raises(UserError, match="no folder 'train_images'"):
        check_rsna(tmp_path)
