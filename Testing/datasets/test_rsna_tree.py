"""A tree with every trap of RSNA-2022 reads back as the truth it was written from."""

from __future__ import annotations

import csv
import json
import pickle
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from block_study import make_block_study
from pydicom import dcmread
from pydicom.uid import JPEGLosslessSV1

from CSpineFractureLib.datasets import rsna_write
from CSpineFractureLib.datasets.dicom_write import write_dicom_series
from CSpineFractureLib.datasets.nifti_mask import MaskGrid, onto_grid, write_mask
from CSpineFractureLib.datasets.rsna_check import check_rsna
from CSpineFractureLib.datasets.rsna_read import RsnaBoxes, read_rsna, rsna_levels
from CSpineFractureLib.datasets.rsna_tables import BoxRow
from CSpineFractureLib.datasets.rsna_write import make_rsna_tree, study_uid, traps_of
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.volume import read_volume

TINY = StudyPlan(spacing_mm=(4, 4, 4), width_mm=80, depth_mm=80, above_mm=0, below_mm=0, fractures=(("C5", "burst"),))
SEEDS = list(range(12, 18))
FRACTURED = {12: ("C3", "C6"), 13: ("C2",), 14: ("C5",), 15: ("C1", "C7"), 16: ("C2", "C4"), 17: ()}


@pytest.fixture(scope="module")
def studies():
    return {seed: make_block_study(seed, FRACTURED[seed]) for seed in SEEDS}


@pytest.fixture(scope="module")
def tree(tmp_path_factory, studies):
    """A tree of six block studies; the plan is only noted."""
    root = tmp_path_factory.mktemp("rsna")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rsna_write, "make_study", lambda seed, plan: studies[seed])
        folders = make_rsna_tree(root, SEEDS, lambda seed: TINY)
    assert [folder.name for folder in folders] == [study_uid(seed) for seed in SEEDS]
    return root


@pytest.fixture(scope="module")
def records(tree):
    return dict(zip(SEEDS, read_rsna(tree), strict=True))


def table(path):
    with open(path, newline="") as stream:
        return list(csv.reader(stream))


def files_of(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def copied(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "copy")


def test_six_studies_hold_every_trap(tree):
    up, down, plain, jpeg = 0, 0, 0, 0
    for seed in SEEDS:
        slices = {
            int(path.stem): dcmread(path, stop_before_pixels=True)
            for path in (tree / "train_images" / study_uid(seed)).iterdir()
        }
        assert sorted(slices) == list(range(1, 31))
        rising = slices[2].ImagePositionPatient[2] > slices[1].ImagePositionPatient[2]
        up, down = up + rising, down + (not rising)
        packed = sum(one.file_meta.TransferSyntaxUID == JPEGLosslessSV1 for one in slices.values())
        assert packed < 30
        plain, jpeg = plain + (packed == 0), jpeg + (packed > 0)
    assert min(up, down, plain, jpeg) >= 1
    masks = [sitk.ReadImage(str(path)) for path in (tree / "segmentations").iterdir()]
    assert 0 < len(masks) < 6
    straight = np.eye(3).ravel()
    assert all(mask.GetSize() != (40, 36, 30) for mask in masks)
    assert all(np.abs(np.array(mask.GetDirection()) - straight).max() > 0.5 for mask in masks)
    boxed = {row[0] for row in table(tree / "train_bounding_boxes.csv")[1:]}
    fractured = {study_uid(seed) for seed in SEEDS if FRACTURED[seed]}
    assert boxed
    assert boxed < fractured


def test_any_six_seeds_in_a_row_hold_every_trap():
    for first in range(6):
        traps = [traps_of(seed) for seed in range(first, first + 6)]
        for values in zip(*((t.descending, t.jpeg_every > 0, t.mask_order != "", t.boxes) for t in traps), strict=True):
            assert set(values) == {False, True}
        assert {traps_of(seed).boxes for seed in range(6) if traps_of(seed).mask_order} == {False, True}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_voxel_of_ct_and_mask_comes_back(seed, records, studies):
    record, study = records[seed], studies[seed]
    volume = record.load_volume()
    np.testing.assert_array_equal(volume.hu, study.hu)
    np.testing.assert_allclose(volume.ijk_to_ras, study.ijk_to_ras, atol=1e-9)
    assert (record.load_levels is None) == (not traps_of(seed).mask_order)
    if record.load_levels:
        levels = record.load_levels()
        assert levels.dtype == np.uint8
        np.testing.assert_array_equal(levels, study.labels)


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_and_boxes_come_back(seed, records, studies):
    record, study = records[seed], studies[seed]
    assert record.fractured == {f"C{n}": f"C{n}" in FRACTURED[seed] for n in range(1, 8)}
    if not (traps_of(seed).boxes and FRACTURED[seed]):
        assert record.boxes is None
        assert record.slices_are_labelled == (seed == 17)
        return
    truth = sorted((k, f.level, *box) for f in study.fractures for k, *box in f.slice_boxes)
    known = record.load_levels is not None or len(FRACTURED[seed]) == 1
    found = sorted((b.k, b.level or "?", b.x, b.y, b.width, b.height) for b in record.boxes)
    assert len(found) == len(truth)
    for have, want in zip(found, truth, strict=True):
        assert have[0] == want[0]
        assert have[1] == (want[1] if known else "?")
        np.testing.assert_allclose(have[2:], want[2:], atol=0.5)


def test_the_order_of_the_files_does_not_turn_the_boxes_upside_down(tree, records, studies):
    assert traps_of(12).descending
    rows = [row for row in table(tree / "train_bounding_boxes.csv") if row[0] == study_uid(12)]
    lowest = min(box[0] for fracture in studies[12].fractures for box in fracture.slice_boxes)
    assert max(int(row[5]) for row in rows) == 30 - lowest
    assert min(box.k for box in records[12].boxes) == lowest


def test_the_tables_have_the_columns_and_rows_of_the_competition(tree):
    labels = table(tree / "train.csv")
    assert ",".join(labels[0]) == "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7"
    assert labels[1] == [study_uid(12), "1", "0", "0", "1", "0", "0", "1", "0"]
    assert labels[6] == [study_uid(17), *"00000000"]
    assert ",".join(table(tree / "train_bounding_boxes.csv")[0]) == "StudyInstanceUID,x,y,width,height,slice_number"
    test, submission = table(tree / "test.csv"), table(tree / "sample_submission.csv")
    assert test[0] == ["row_id", "StudyInstanceUID", "prediction_type"]
    assert test[8] == [f"{study_uid(12)}_patient_overall", study_uid(12), "patient_overall"]
    assert submission[0] == ["row_id", "fractured"]
    assert [row[0] for row in submission[1:]] == [row[0] for row in test[1:]]
    assert len(test) == 1 + 6 * 8


def test_the_truth_beside_the_tree_names_the_traps_and_is_not_needed(tree, tmp_path):
    truth = json.loads((tree / "phantom_truth" / f"{study_uid(14)}.json").read_text())
    assert truth["seed"] == 14
    assert truth["traps"]["mask_order"] == "ASL"
    assert truth["fractures"][0]["level"] == "C5"
    bare = copied(tree, tmp_path)
    shutil.rmtree(bare / "phantom_truth")
    records = read_rsna(bare)
    assert len(records) == 6
    assert [box.level for box in records[2].boxes] == ["C5"] * len(records[2].boxes)


def test_a_tree_without_masks_boxes_and_some_folders_is_read(tree, tmp_path):
    bare = copied(tree, tmp_path)
    shutil.rmtree(bare / "segmentations")
    (bare / "train_bounding_boxes.csv").unlink()
    shutil.rmtree(bare / "train_images" / study_uid(13))
    records = read_rsna(bare)
    assert [record.id for record in records] == [study_uid(seed) for seed in SEEDS if seed != 13]
    assert all(record.load_levels is None and record.boxes is None for record in records)


def test_opening_a_tree_reads_no_slice_and_records_travel_to_other_processes(tree, tmp_path):
    hollow = copied(tree, tmp_path)
    for path in (hollow / "train_images").rglob("*.dcm"):
        path.write_bytes(b"")
    records = read_rsna(hollow)
    assert len(records) == 6
    assert len(records[0].boxes) == 4
    with pytest.raises(UserError):
        records[0].load_volume()
    again = pickle.loads(pickle.dumps(read_rsna(tree)[0]))
    assert again.boxes[0].level == "C3"
    assert again.load_levels().max() == 8


def test_the_same_bytes_from_one_process_and_from_two(tmp_path):
    seen = []
    for jobs in (1, 2):
        make_rsna_tree(tmp_path / str(jobs), [0, 1], lambda seed: TINY, jobs, lambda *step: seen.append(step))
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")
    assert seen == [(0, 2), (1, 2), (2, 2)] * 2


def test_phantoms_come_back_with_their_truth(tmp_path):
    (folder,) = make_rsna_tree(tmp_path, [2], lambda seed: TINY)
    study, (record,) = make_study(2, TINY), read_rsna(tmp_path)
    assert record.id == folder.name
    np.testing.assert_array_equal(record.load_volume().hu, study.hu)
    np.testing.assert_array_equal(record.load_levels(), study.labels)
    truth = sorted((*box, f.level) for f in study.fractures for box in f.slice_boxes)
    assert sorted((b.k, b.x, b.y, b.width, b.height, b.level) for b in record.boxes) == truth
    assert truth
    assert check_rsna(tmp_path) == []


def test_finished_studies_are_kept_changed_plans_made_anew_and_tables_hold_all(tmp_path, studies, monkeypatch):
    made = []
    monkeypatch.setattr(rsna_write, "make_study", lambda seed, plan: made.append(seed) or studies[seed])
    make_rsna_tree(tmp_path, [12, 13], lambda seed: TINY)
    before = files_of(tmp_path)
    make_rsna_tree(tmp_path, [12, 13], lambda seed: TINY)
    assert made == [12, 13]
    assert files_of(tmp_path) == before
    make_rsna_tree(tmp_path, [13], lambda seed: StudyPlan())
    assert made == [12, 13, 13]
    make_rsna_tree(tmp_path, [14], lambda seed: TINY)
    assert [row[0] for row in table(tmp_path / "train.csv")[1:]] == [study_uid(seed) for seed in (12, 13, 14)]
    (tmp_path / "segmentations" / f"{study_uid(12)}.nii").unlink()
    make_rsna_tree(tmp_path, [12], lambda seed: TINY)
    assert made[4:] == [12]
    assert not list(tmp_path.rglob("*.part*"))


def test_a_box_in_no_bone_belongs_to_the_nearest_fractured_level(tree, studies):
    series, mask = (tree / "train_images" / study_uid(12), tree / "segmentations" / f"{study_uid(12)}.nii")
    number = 30 - 7  # slice 7, in C6 alone; descending
    fractured = {f"C{n}": n in (3, 6) for n in range(1, 8)}
    for box, level in (((1, 1, 3, 3), "C6"), ((10, 8, 20, 20), "C6")):
        (found,) = RsnaBoxes([BoxRow("x", *box, number, 2)], series, mask, fractured)
        assert found.level == level
    high = RsnaBoxes([BoxRow("x", 1, 1, 3, 3, 30 - 27, 2)], series, mask, fractured)
    assert high[0].level == "C3"
    unknown = dict.fromkeys(fractured, False)
    (found,) = RsnaBoxes([BoxRow("x", 12, 8, 14, 14, number, 2)], series, mask, unknown)
    assert found.level == "C6"


def test_boxes_of_a_tilted_series_follow_its_slices(tmp_path, studies):
    study = studies[14]
    write_dicom_series(tmp_path / "s", study.hu, study.ijk_to_ras, "x", gantry_tilt_deg=15)
    (box,) = RsnaBoxes([BoxRow("x", 10, 12, 6, 8, 20, 2)], tmp_path / "s", None, {"C5": True})
    header = dcmread(tmp_path / "s" / "20.dcm")
    across, down = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    middle = np.array(header.ImagePositionPatient, float) + across * 12.5 * header.PixelSpacing[1]
    middle += down * 15.5 * header.PixelSpacing[0]
    volume = read_volume(tmp_path / "s")
    assert volume.grid == "resampled"
    i, j, k = volume.ijk_of(middle * [-1, -1, 1])
    np.testing.assert_allclose([box.x + 2.5, box.y + 3.5], [i, j], atol=0.5)
    assert abs(box.k - k) <= 0.51


@pytest.mark.parametrize("order", ["", "PIR", "ASL", "RSA", "IRA", "LAS"])
def test_a_mask_in_any_storage_order_lands_on_its_voxels(tree, studies, tmp_path, order):
    study = studies[13]
    write_mask(study.labels, study.ijk_to_ras, tmp_path / "m.nii", order)
    levels = rsna_levels(tree / "train_images" / study_uid(13), tmp_path / "m.nii")
    np.testing.assert_array_equal(levels, study.labels)


def test_a_mask_on_another_grid_gives_the_nearest_voxels(studies):
    study = studies[13]
    fine = np.array(study.ijk_to_ras)
    fine[:3, :3] /= 2
    fine[:3, 3] -= np.array([-1.5, -2.0, 3.0]) / 4
    doubled = study.labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    grid = MaskGrid(doubled.shape, fine)
    back = onto_grid(doubled, grid, study.ijk_to_ras, study.labels.shape)
    assert (back == study.labels).mean() == 1.0
    moved = np.array(study.ijk_to_ras)
    moved[:3, 3] += moved[:3, 0] * 2
    shifted = onto_grid(study.labels, MaskGrid(study.labels.shape, study.ijk_to_ras), moved, study.labels.shape)
    np.testing.assert_array_equal(shifted[:, :, :-2], study.labels[:, :, 2:])
    assert (shifted[:, :, -2:] == 0).all()


def test_masks_that_cannot_belong_to_the_series_are_refused(tree, studies, tmp_path):
    series, study = tree / "train_images" / study_uid(13), studies[13]
    away = np.array(study.ijk_to_ras)
    away[2, 3] += 40
    cases = {
        "does not cover": lambda path: write_mask(study.labels, away, path, "PIR"),
        "too small|does not cover": lambda path: write_mask(study.labels[:20], study.ijk_to_ras, path),
        "label 20": lambda path: write_mask(study.labels + 12, study.ijk_to_ras, path),
        "cut off or damaged": lambda path: path.write_bytes(b"no mask"),
        "does not exist": lambda path: None,
    }
    for n, (words, write) in enumerate(cases.items()):
        write(tmp_path / f"{n}.nii")
        with pytest.raises(UserError, match=words):
            rsna_levels(series, tmp_path / f"{n}.nii")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("train.csv", None, "does not exist"),
        ("train.csv", "StudyInstanceUID,C1\n", "no column patient_overall"),
        ("train.csv", "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7\n1.2,1,0,0,0,0,0,0,0\n", "no level"),
        ("train.csv", "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7\n1.2,0,0,0,0,0,0,0,2\n", "line 2"),
        ("train.csv", "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7\n../x,0,0,0,0,0,0,0,0\n", "line 2"),
        ("train.csv", "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7\n1.2,0,0,0,0,0,0,0,0\n", "no folder"),
        ("train_bounding_boxes.csv", "StudyInstanceUID,x,y,width,height,slice_number\n1.2,1,nan,3,4,5\n", "line 2"),
    ],
)
def test_wrong_tables_are_told_in_a_sentence(tree, tmp_path, name, text, words):
    root = copied(tree, tmp_path)
    (root / name).unlink()
    if text is not None:
        (root / name).write_text(text)
    with pytest.raises(UserError, match=words):
        read_rsna(root)


def test_a_box_on_a_slice_that_does_not_exist_is_told_when_it_is_asked_for(tree, tmp_path):
    root = copied(tree, tmp_path)
    with open(root / "train_bounding_boxes.csv", "a") as stream:
        stream.write(f"{study_uid(12)},1,1,5,5,31\n")
    record = read_rsna(root)[0]
    with pytest.raises(UserError, match="no readable slice 31"):
        list(record.boxes)


def test_files_without_modality_and_class_are_read_as_ct(tree, studies, tmp_path):
    """De-identified archives may keep the class of the object in the file's meta header only."""
    root = copied(tree, tmp_path)
    (record,) = (r for r in read_rsna(root) if r.id == study_uid(12))
    for path in (root / "train_images" / record.id).glob("*.dcm"):
        dataset = dcmread(path)
        for name in ("Modality", "SOPClassUID", "FrameOfReferenceUID", "ImageType", "PatientPosition"):
            if name in dataset:
                delattr(dataset, name)
        dataset.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(record.load_volume().hu, studies[12].hu)
