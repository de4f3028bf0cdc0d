"""Radiographs by class folder, and their split by person."""

from __future__ import annotations

import pytest

from CSpineFractureLib.datasets.radiographs import (
    CLASSES,
    RadiographRecord,
    read_radiographs,
    read_table,
    split_radiographs,
    write_table,
)
from CSpineFractureLib.errors import UserError


def folder_of(root, count=4, names=CLASSES):
    for name in names:
        (root / name).mkdir(parents=True)
        for n in range(count):
            (root / name / f"{n}.png").write_bytes(f"{name} {n}".encode())
    return root


def records_of(persons=40, each=2):
    """Two radiographs per person, of different classes for every second person."""
    return [
        RadiographRecord(f"{n}-{m}.png", CLASSES[(n + m * (n % 2)) % 3], f"person {n}")
        for n in range(persons)
        for m in range(each)
    ]


def test_the_folders_name_the_classes(tmp_path):
    folder_of(tmp_path, names=("Spine normal", "spine fracture", "DISLOCATION"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.png").write_bytes(b"x")
    (tmp_path / "DISLOCATION" / "notes.txt").write_bytes(b"x")
    records = read_radiographs(tmp_path)
    assert len(records) == 12
    assert {record.kind for record in records} == set(CLASSES)


def test_the_same_content_is_the_same_person(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "normal" / "copy.png").write_bytes(b"normal 0")
    groups = {record.file: record.group for record in read_radiographs(tmp_path)}
    assert groups["normal/copy.png"] == groups["normal/0.png"] != groups["normal/1.png"]


def test_a_table_tells_persons_and_mimics(tmp_path):
    folder_of(tmp_path)
    lines = ["file,class,seed,mimics", "normal/0.png,normal,7,C4 fissure", "fracture/0.png,fracture,7,"]
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    records = {record.file: record for record in read_radiographs(tmp_path)}
    assert records["normal/0.png"].group == records["fracture/0.png"].group == "7"
    assert records["normal/0.png"].strata == {"mimics"}
    assert records["fracture/0.png"].strata == {"no mimics"}
    assert records["dislocation/0.png"].strata == set()


def test_a_table_that_contradicts_the_folders_is_refused(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "truth.csv").write_text("file,class\nnormal/0.png,fracture\n")
    with pytest.raises(UserError, match=r"calls 'normal/0.png' 'fracture'"):
        read_radiographs(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"name\nx\n"])
def test_a_table_that_cannot_be_read_is_refused(tmp_path, content):
    folder_of(tmp_path)
    (tmp_path / "truth.csv").write_bytes(content)
    with pytest.raises(UserError, match="column 'file'"):
        read_radiographs(tmp_path)


def test_a_folder_without_radiographs_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no radiographs"):
        read_radiographs(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_radiographs(tmp_path / "none")


def test_a_split_keeps_persons_together_and_classes_even():
    split = split_radiographs(records_of(), "70:15:15", seed=3)
    sides: dict[str, set[str]] = {}
    for record in split:
        sides.setdefault(record.group, set()).add(record.split)
    assert all(len(side) == 1 for side in sides.values())
    counts = {name: sum(record.split == name for record in split) for name in ("train", "val", "test")}
    assert abs(counts["train"] - 56) <= 4
    assert min(counts["val"], counts["test"]) >= 8
    assert all({r.kind for r in split if r.split == name} == set(CLASSES) for name in counts)
    assert split == split_radiographs(records_of()[::-1], "70:15:15", seed=3)
    assert split != split_radiographs(records_of(), "70:15:15", seed=4)


def test_the_folds_hold_every_person_once():
    parts = [split_radiographs(records_of(), "70:15:15", 0, 4, fold) for fold in range(4)]
    held = [{record.group for record in part if record.split == "val"} for part in parts]
    assert sorted(name for group in held for name in group) == sorted({r.group for r in records_of()})
    assert all(
        not group & {r.group for r in part if r.split == "train"} for part, group in zip(parts, held, strict=True)
    )


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (4, 4), (4, -1), (41, 0)])
def test_folds_that_cannot_be_are_refused(folds, fold):
    with pytest.raises(UserError, match=r"data\.folds"):
        split_radiographs(records_of(), "70:15:15", 0, folds, fold)


def test_other_ratios_are_refused():
    with pytest.raises(UserError, match="use 80:20"):
        split_radiographs(records_of(), "5-fold")
    with pytest.raises(UserError, match="no known split"):
        split_radiographs(records_of(), "1:1")


def test_the_table_of_a_split_comes_back(tmp_path):
    split = split_radiographs(records_of(), "80:20")
    write_table(split, tmp_path / "images")
    assert read_table(tmp_path / "images") == split
    assert {record.split for record in read_table(tmp_path / "images", "val")} == {"val"}
    (tmp_path / "images" / "radiographs.csv").write_text("file,class\nx,y\n")
    with pytest.raises(UserError, match="missing or damaged"):
        read_table(tmp_path / "images")
