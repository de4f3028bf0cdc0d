"""Class folders of radiographs and of slices."""

from __future__ import annotations

import numpy as np
import pytest
from small_studies import make_records

from CSpineFractureLib.datasets.image_folder import CLASSES, ClassImage, read_image_folder, write_image_folder
from CSpineFractureLib.datasets.labelled_image import read_slice_table
from CSpineFractureLib.datasets.slice_folders import write_slice_folders
from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.errors import UserError


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (12, 10), dtype=np.uint8)


def make_items(patients: int = 40, each: int = 3) -> list[ClassImage]:
    """Each patient has a few radiographs of one class; a fifth each are fracture and dislocation."""
    kinds = ("normal", "fracture", "normal", "dislocation", "normal")
    return [
        ClassImage(lambda n=p * each + m: picture(n), kinds[p % 5], f"patient/{p}")
        for p in range(patients)
        for m in range(each)
    ]


def test_radiographs_of_one_patient_share_a_split(tmp_path):
    images = write_image_folder(make_items(), tmp_path / "out", "70:15:15", seed=1)
    splits = {}
    for image in images:
        splits.setdefault(image.group, set()).add(image.split)
    assert len(splits) == 40
    assert all(len(found) == 1 for found in splits.values())
    for split in ("train", "val", "test"):
        assert {image.kind for image in images if image.split == split} == set(CLASSES)


def test_pictures_are_read_back_as_they_were(tmp_path):
    images = write_image_folder(make_items(10), tmp_path / "out", "80:20")
    assert read_image_folder(tmp_path / "out") == images
    pixels = {read_image(image.path).tobytes() for image in images}
    assert pixels == {picture(n).tobytes() for n in range(30)}


def test_torchvision_reads_the_folders(tmp_path):
    write_image_folder(make_items(10), tmp_path / "out", "80:20")
    from torchvision.datasets import ImageFolder

    assert ImageFolder(tmp_path / "out" / "train").classes == sorted(CLASSES)


def test_an_unknown_class_is_refused(tmp_path):
    with pytest.raises(UserError, match="'tumour' is no class"):
        write_image_folder([ClassImage(lambda: picture(1), "tumour", "a")], tmp_path / "out", "80:20")


def test_a_fault_while_writing_leaves_nothing(tmp_path):
    def broken():
        message = "no picture"
        raise ValueError(message)

    items = [*make_items(5), ClassImage(broken, "normal", "z")]
    with pytest.raises(ValueError, match="no picture"):
        write_image_folder(items, tmp_path / "out", "80:20")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no pictures in <split>/<class>"):
        read_image_folder(tmp_path)


def test_slices_go_to_the_folder_of_what_they_show(tmp_path):
    records = split_records(make_records(), "80:20", 1)
    images = write_slice_folders(records, tmp_path / "out")
    kinds = {image.path.stem: image.kind for image in read_image_folder(tmp_path / "out")}
    assert kinds == {f"{i.study}_k{i.k:04d}": "fracture" if i.boxes else "normal" for i in images}
    assert {image.group for image in read_image_folder(tmp_path / "out")} == {image.group for image in images}


def test_the_table_tells_which_levels_a_slice_shows(tmp_path):
    records = split_records(make_records(), "80:20", 1)
    write_slice_folders(records, tmp_path / "out", ImageOptions(classes="vertebrae"))
    table = read_slice_table(tmp_path / "out")
    shown = {
        tuple(level for level in ("C2", "C3", "C4", "C5") if row[level] == "1"): row["k"] for row in table.values()
    }
    assert set(shown) == {("C3",), ("C3", "C4"), ("C4",), ("C4", "C5")}
    assert shown["C4", "C5"] == "9"
    assert all((tmp_path / "out" / file).is_file() for file in table)
