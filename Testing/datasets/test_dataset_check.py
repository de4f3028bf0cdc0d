"""Every fault of a data set gets a sentence of its own; sound ones get none."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_studies import make_hu, make_levels, make_phantom_set, make_records, write_nifti

from CSpineFractureLib.datasets.check import check_dataset
from CSpineFractureLib.datasets.coco import write_coco
from CSpineFractureLib.datasets.corrections import write_corrections
from CSpineFractureLib.datasets.dicom_write import write_dicom_series
from CSpineFractureLib.datasets.image_folder import ClassImage, write_image_folder
from CSpineFractureLib.datasets.phantoms import read_phantoms
from CSpineFractureLib.datasets.record import SliceBox
from CSpineFractureLib.datasets.slice_folders import write_slice_folders
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.datasets.yolo import write_yolo
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyFinding, StudyResult, VolumeInfo
from CSpineFractureLib.volume import read_volume


def only(root) -> str:
    """The one fault found."""
    faults = check_dataset(root)
    assert len(faults) == 1, faults
    return faults[0]


@pytest.fixture
def yolo(tmp_path):
    write_yolo(split_records(make_records(), "80:20", 1), tmp_path / "yolo")
    return tmp_path / "yolo"


@pytest.fixture
def coco(tmp_path):
    write_coco(split_records(make_records(), "80:20", 1), tmp_path / "coco")
    return tmp_path / "coco"


@pytest.fixture
def phantoms(tmp_path):
    return make_phantom_set(tmp_path / "phantoms", 6)


@pytest.fixture
def radiographs(tmp_path):
    items = [
        ClassImage(lambda n=n: np.full((9, 9), n, np.uint8), ("normal", "fracture")[n % 2], f"p{n}") for n in range(10)
    ]
    write_image_folder(items, tmp_path / "radiographs", "80:20")
    return tmp_path / "radiographs"


def a_label(root):
    return sorted((root / "labels" / "train").glob("*.txt"))[0]


def image_of(label):
    return label.parents[2] / "images" / label.parent.name / f"{label.stem}.png"


def test_sound_sets_have_no_faults(yolo, coco, phantoms, radiographs, tmp_path):
    records = split_records(make_records(), "5-fold", 1)
    write_slice_folders(records, tmp_path / "classes")
    write_slice_folders(records, tmp_path / "levels", ImageOptions(classes="vertebrae"))
    write_yolo(records, tmp_path / "folds", ImageOptions(classes="both", image_format="jpeg", negatives=0.5))
    for name in ("classes", "levels", "folds", "yolo", "coco", "phantoms", "radiographs"):
        assert check_dataset(tmp_path / name) == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("7 0.5 0.5 0.1 0.1", "class id 7 is out of range 0-6"),
        ("-1 0.5 0.5 0.1 0.1", "class id -1 is out of range 0-6"),
        ("0 0.5 0.5 0.1", "not a class id and four numbers"),
        ("0 0.98 0.5 0.1 0.1", "reaches outside the image of 48 x 40 pixels"),
        ("0 0.5 0.5 0.1 0", "the box has no size"),
    ],
)
def test_a_wrong_label_line_is_told(line, sentence, yolo):
    path = a_label(yolo)
    path.write_text(f"{line}\n")
    fault = only(yolo)
    assert fault.startswith(f"labels/train/{path.name}, line 1: ")
    assert sentence in fault


def test_a_label_file_without_image_is_told(yolo):
    image_of(a_label(yolo)).unlink()
    assert only(yolo) == f"labels/train/{a_label(yolo).name}: a label file without image; remove it or its image."


def test_an_image_without_label_file_is_told(yolo):
    image = image_of(a_label(yolo))
    a_label(yolo).unlink()
    assert only(yolo).startswith(f"images/train/{image.name}: an image without label file")


def test_a_damaged_picture_is_told(yolo):
    image = image_of(a_label(yolo))
    image.write_bytes(image.read_bytes()[:-40])
    assert only(yolo).startswith(f"images/train/{image.name}: cannot be read as a picture")


def test_a_study_in_two_splits_is_told(yolo):
    label = a_label(yolo)
    for path in (label, image_of(label)):
        path.rename(path.parents[1] / "val" / path.name)
    assert only(yolo) == f"Study or patient '{label.stem[:-6]}' is in the splits train and val; keep it in one."


def test_a_patient_with_two_studies_in_two_splits_is_told(yolo):
    table = (yolo / "slices.csv").read_text()
    images = {line.split("/")[1]: line.split(",")[1] for line in table.splitlines()[1:]}
    (yolo / "slices.csv").write_text(
        "\n".join(
            line.replace(f",{images['train']},{images['train']},", f",{images['train']},{images['val']},")
            for line in table.splitlines()
        )
    )
    assert f"'{images['val']}' is in the splits train and val" in only(yolo)


def test_a_set_split_by_slice_is_told_to_leak(tmp_path):
    records = split_records(make_records(), "80:20", 1)
    write_yolo(records, tmp_path / "out", ImageOptions(slice_ratios="80:20"))
    faults = check_dataset(tmp_path / "out")
    assert len(faults) > 5
    assert all("is in the splits train and val" in fault for fault in faults)


def test_a_missing_data_file_is_told(yolo):
    (yolo / "data.yaml").unlink()
    assert "data.yaml' does not exist" in only(yolo)


@pytest.mark.parametrize("text", ["names: [C1\n", "train: a\nval: b\n", "[]", "names: {1: C1}\ntrain: a\nval: b\n"])
def test_a_wrong_data_file_is_told(text, yolo):
    (yolo / "data.yaml").write_text(text)
    assert "does not name train, val and the classes" in only(yolo)


def test_a_data_file_that_names_other_folders_is_told(yolo):
    text = (yolo / "data.yaml").read_text().replace("images/val", "images/valid")
    (yolo / "data.yaml").write_text(text)
    assert only(yolo) == "data.yaml: 'images/valid', named for val, is no folder of the data set; correct it."


def change(root, edit):
    path = root / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda d: d["annotations"][0].update(category_id=9), "category id 9 is out of range"),
        (lambda d: d["annotations"][0].update(image_id=999), "there is no image 999"),
        (lambda d: d["annotations"][0].update(bbox=[40, 2, 20, 3]), "outside the image of 48 x 40"),
        (lambda d: d["annotations"][0].update(bbox=[4, 2, 3]), "a bbox of four numbers"),
        (lambda d: d["images"][0].update(width=50), "is 48 x 40 pixels, but"),
        (lambda d: d.pop("categories"), "no COCO instances file"),
    ],
)
def test_a_wrong_coco_file_is_told(edit, sentence, coco):
    change(coco, edit)
    assert any(sentence in fault for fault in check_dataset(coco))


def test_a_coco_image_without_file_and_a_file_without_entry_are_told(coco):
    image = sorted((coco / "images" / "train").iterdir())[0]
    image.rename(image.with_name("other_k0001.png"))
    missing, unlisted = check_dataset(coco)
    assert f"has no file 'images/train/{image.name}'" in missing
    assert unlisted.startswith("images/train/other_k0001.png: no annotation file lists this image")


def test_a_coco_study_in_two_splits_is_told(coco):
    other = json.loads((coco / "annotations" / "instances_val.json").read_text())["images"][0]["group"]
    change(coco, lambda d: d["images"][0].update(group=other))
    assert f"'{other}' is in the splits train and val" in only(coco)


@pytest.mark.parametrize("name", ["ct.nii.gz", "vertebrae.nii.gz", "fractures.nii.gz", "truth.json"])
def test_a_missing_file_of_a_phantom_is_told(name, phantoms):
    (phantoms / "phantom_000003" / name).unlink()
    assert only(phantoms).startswith(f"phantom_000003: {name} is missing")


def test_a_mask_of_another_size_is_told(phantoms):
    write_nifti(make_levels()[:, :-2], phantoms / "phantom_000003" / "vertebrae.nii.gz")
    assert "phantom_000003: vertebrae.nii.gz has 48 x 38 x 12 voxels, the CT 48 x 40 x 12" in only(phantoms)


def test_missing_slices_are_told(phantoms):
    write_nifti(make_hu(1)[:-3], phantoms / "phantom_000005" / "ct.nii.gz")
    faults = check_dataset(phantoms)
    assert len(faults) == 2
    assert all("3 slices are missing" in fault for fault in faults)


def test_a_mask_that_lies_elsewhere_is_told(phantoms):
    path = phantoms / "phantom_000003" / "vertebrae.nii.gz"
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    assert "lies elsewhere in the patient" in only(phantoms)


def test_labels_out_of_range_are_told(phantoms):
    levels = make_levels()
    levels[0, 0, 0] = 30
    write_nifti(levels, phantoms / "phantom_000003" / "vertebrae.nii.gz")
    assert "holds the label 30" in only(phantoms)


@pytest.mark.parametrize(
    ("box", "sentence"), [([3, 45, 9, 10, 8], "outside the image"), ([12, 5, 9, 10, 8], "slice 12, but the CT has 12")]
)
def test_a_fracture_box_outside_the_image_is_told(box, sentence, phantoms):
    path = phantoms / "phantom_000000" / "truth.json"
    truth = json.loads(path.read_text())
    truth["fractures"][0]["slice_boxes"][1] = box
    path.write_text(json.dumps(truth))
    assert sentence in only(phantoms)


def test_a_broken_truth_and_a_broken_ct_are_told(phantoms):
    (phantoms / "phantom_000000" / "truth.json").write_text('{"fractures": [{}]}')
    (phantoms / "phantom_000001" / "ct.nii.gz").write_bytes(b"nothing")
    broken_truth, broken_ct = check_dataset(phantoms)
    assert "is no truth of a synthetic study" in broken_truth
    assert broken_ct.startswith("phantom_000001: ")


def test_strata_and_boxes_of_phantoms_are_read(phantoms):
    records = {record.id: record for record in read_phantoms(phantoms)}
    assert records["phantom_000000"].strata == ("displaced", "mimics")
    assert records["phantom_000001"].strata == ("hairline",)
    assert records["phantom_000005"].strata == ()
    assert records["phantom_000000"].boxes == [SliceBox(k, 15, 9, 10, 8, "C3", "displaced") for k in (3, 4)]
    assert records["phantom_000005"].negative
    assert np.array_equal(records["phantom_000002"].load_levels(), make_levels())
    assert np.array_equal(records["phantom_000002"].load_volume().hu, make_hu(sum(b"phantom_000002")))


def test_a_phantom_whose_boxes_were_never_written_is_not_annotated(phantoms):
    path = phantoms / "phantom_000000" / "truth.json"
    truth = json.loads(path.read_text())
    truth["fractures"][0]["slice_boxes"] = []
    path.write_text(json.dumps(truth))
    record = read_phantoms(phantoms)[0]
    assert record.boxes is None
    assert not record.slices_are_labelled


def as_dicom(folder, tilt_deg: float = 0.0):
    """Turns a study into one whose CT is a folder of DICOM files."""
    volume = read_volume(folder / "ct.nii.gz")
    write_dicom_series(folder / "dicom", volume.hu, volume.ijk_to_ras, folder.name, gantry_tilt_deg=tilt_deg)
    (folder / "ct.nii.gz").unlink()
    truth = json.loads((folder / "truth.json").read_text())
    (folder / "truth.json").write_text(json.dumps({**truth, "gantry_tilt_deg": tilt_deg}))


def test_phantoms_of_dicom_files_are_read_and_checked(phantoms):
    for n, tilt in ((0, 0.0), (1, 12.0)):
        as_dicom(phantoms / f"phantom_{n:06d}", tilt)
    assert check_dataset(phantoms) == []
    upright, tilted = read_phantoms(phantoms)[:2]
    assert np.array_equal(upright.load_volume().hu, make_hu(sum(b"phantom_000000")))
    assert np.array_equal(upright.load_levels(), make_levels())
    assert {box.k for box in upright.boxes} == {3, 4}
    assert tilted.boxes is None
    assert tilted.load_levels().shape == tilted.load_volume().shape_kji
    (phantoms / "phantom_000000" / "dicom" / "6.dcm").unlink()
    assert only(phantoms).startswith("phantom_000000: ")


def test_corrections_are_checked(tmp_path):
    (ct,) = (record.load_volume() for record in make_records()[:1])
    info = VolumeInfo(list(ct.shape_kji), list(ct.spacing_mm), ct.ijk_to_ras.tolist())
    result = StudyResult(
        "a", "2026-11-21T10:00:00Z", "1", "complete", info, "default", "cpu", StudyFinding(None, "rule")
    )
    for name in ("one", "two", "three", "four"):
        write_corrections(tmp_path / name, ct, make_levels(), result)
    assert check_dataset(tmp_path) == []
    (tmp_path / "one" / "ct.nii.gz").unlink()
    (tmp_path / "two" / "result.json").write_text("{}")
    write_nifti(make_levels()[:, 1:], tmp_path / "three" / "vertebrae.nii.gz")
    (tmp_path / "four" / "correction.json").write_text("[]")
    faults = check_dataset(tmp_path)
    assert len(faults) == 4
    for sentence in ("one: ct.nii.gz is missing", "is not a valid cspine-result", "48 x 39 x 12", "does not name the"):
        assert any(sentence in fault for fault in faults)


def test_a_patient_in_two_splits_of_class_folders_is_told(radiographs):
    path = sorted((radiographs / "train" / "normal").iterdir())[0]
    shutil.copy(path, radiographs / "val" / "normal")
    assert f"'{path.name.split('__')[0]}' is in the splits train and val" in only(radiographs)


def test_an_unknown_class_and_an_unreadable_radiograph_are_told(radiographs):
    (radiographs / "train" / "tumour").mkdir()
    (radiographs / "train" / "normal" / "new__0.png").write_text("no picture")
    unknown, unreadable = check_dataset(radiographs)
    assert unknown.startswith("train/tumour: an unknown class")
    assert unreadable.startswith("train/normal/new__0.png: cannot be read as a picture")


def test_a_row_without_picture_and_a_picture_without_row_are_told(tmp_path):
    records = split_records(make_records(), "80:20", 1)
    write_slice_folders(records, tmp_path / "out", ImageOptions(classes="vertebrae"))
    image = sorted((tmp_path / "out" / "images" / "train").iterdir())[0]
    image.rename(image.with_name("new_k0001.png"))
    assert [fault.split(":")[0] for fault in check_dataset(tmp_path / "out")] == [
        "images/train/new_k0001.png",
        "slices.csv",
    ]


def test_an_rsna_tree_is_given_to_its_own_check(tmp_path):
    (tmp_path / "train_images").mkdir()
    (tmp_path / "train.csv").write_text("StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7\n1.2,0,0,0,0,0,0,0,0\n")
    assert any("1.2" in fault for fault in check_dataset(tmp_path))


def test_an_unknown_folder_is_refused_with_what_was_expected(tmp_path):
    with pytest.raises(UserError, match="expected are RSNA-2022"):
        check_dataset(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        check_dataset(tmp_path / "absent")
