"""Samples of single vertebrae, made from small studies."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CSpineFractureLib.datasets.crop_table import read_crop_table
from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.datasets.vertebra_crops import CropOptions, read_crop, write_crops
from CSpineFractureLib.datasets.vertebra_places import LyingStudy, places_of, read_level_boxes
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import CTVolume
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.itk_image import itk_image
from CSpineFractureLib.volume.vertebra_crop import VertebraPlace

SHAPE = (32, 40, 48)
MATRIX = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 1.0, -50], [0, 0, 0, 1]])
SMALL = CropOptions(slices=4, size=32)


def hu_and_levels() -> tuple[np.ndarray, np.ndarray]:
    """C3, C4 and C5 (8 slices each), and the lowest two slices of C6, in noise."""
    hu = np.random.default_rng(0).normal(300, 200, SHAPE).astype(np.int16)
    levels = np.zeros(SHAPE, np.uint8)
    for number, k0 in ((3, 22), (4, 12), (5, 3), (6, -6)):
        levels[max(0, k0) : k0 + 8, 12:28, 14:36] = number
    return hu, levels


def record_of(name: str, fractured: str = "", turned: bool = False, masked: bool = True, **more) -> StudyRecord:
    hu, levels = hu_and_levels()
    matrix = MATRIX
    if turned:  # stored upside down, from left to right
        hu, levels = hu[::-1, :, ::-1], levels[::-1, :, ::-1]
        matrix = MATRIX @ np.array([[-1.0, 0, 0, 47], [0, 1, 0, 0], [0, 0, -1, 31], [0, 0, 0, 1]])
    boxes = [SliceBox(5, 10, 10, 4, 4, fractured, "hairline")] if fractured else []
    return StudyRecord(
        id=name,
        load_volume=partial(CTVolume, np.ascontiguousarray(hu), matrix),
        load_levels=(lambda: np.ascontiguousarray(levels)) if masked else None,
        fractured={level: level == fractured for level in LEVELS},
        boxes=boxes,
        split="train",
        strata=("hairline", "mimics") if fractured else (),
        **more,
    )


def crops_of(root: Path) -> dict[tuple[str, str], np.ndarray]:
    return {(row.study, row.level): read_crop(root / row.file, "crop", (4, 4, 32, 32)) for row in read_crop_table(root)}


def test_every_visible_vertebra_of_known_state_is_a_sample(tmp_path) -> None:
    rows = write_crops([record_of("b", "C4"), record_of("a")], tmp_path / "crops", SMALL)
    assert rows == read_crop_table(tmp_path / "crops")
    assert [(row.study, row.level, row.label) for row in rows] == [
        *(("a", level, 0) for level in ("C3", "C4", "C5")),
        *(("b", level, int(level == "C4")) for level in ("C3", "C4", "C5")),
    ], "C6 is cut by the scan"
    assert [row.strata for row in rows[3:]] == ["mimics", "hairline+mimics", "mimics"]
    assert (rows[0].k0, rows[0].k1, rows[0].visible) == (22, 29, 1.0)
    crop = crops_of(tmp_path / "crops")["a", "C3"]
    assert crop[:, :3].std() > 5
    assert 0.2 < (crop[:, 3] == 255).mean() < 0.8


def test_a_study_stored_the_other_way_round_gives_the_same_crops(tmp_path) -> None:
    rows = write_crops([record_of("a", "C4"), record_of("b", "C4", turned=True)], tmp_path / "crops", SMALL)
    crops = crops_of(tmp_path / "crops")
    for level in ("C3", "C4", "C5"):
        assert np.array_equal(crops["a", level], crops["b", level])
    assert [(row.k0, row.k1) for row in rows if row.level == "C3"] == [(22, 29), (2, 9)]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_study_lies_as_in_the_pipeline(order, flip) -> None:
    hu, levels = hu_and_levels()
    matrix = MATRIX.copy()
    matrix[:3, :3] = MATRIX[:3, :3][:, [2 - order[2 - axis] for axis in range(3)]]
    hu, levels = hu.transpose(order), levels.transpose(order)
    if flip:  # the stored slices run the other way
        hu, levels = hu[::-1], levels[::-1]
        matrix[:3, 3] += matrix[:3, 2] * (len(hu) - 1)
        matrix[:3, 2] *= -1
    volume, levels = CTVolume(np.ascontiguousarray(hu), matrix), np.ascontiguousarray(levels)
    study = LyingStudy.of(StudyRecord("s", lambda: volume, lambda: levels))
    assert np.array_equal(study.hu, CanonicalView.of(volume).hu)
    for ours, stored in ((study.hu, volume.hu), (study.labels, levels)):
        by_itk = sitk.DICOMOrient(itk_image(stored, matrix), "LPS")
        assert np.array_equal(ours, sitk.GetArrayFromImage(by_itk))
        assert study.spacing_mm == pytest.approx(by_itk.GetSpacing())
    assert study.hu.dtype == np.int16
    assert study.labels.dtype == np.uint8
    slices = {False: (3, 5), True: (26, 28)}[flip] if order[0] == 0 else (-1, -1)
    assert study.stored_slices(3, 5) == slices
    middle = np.array([[5.0, 6.0, 7.0]])
    point = itk_image(volume.hu, matrix).TransformContinuousIndexToPhysicalPoint(middle[0])
    assert study.from_stored(middle)[0] == pytest.approx(by_itk.TransformPhysicalPointToContinuousIndex(point))


def test_boxes_of_a_detector_give_the_place_where_there_are_some(tmp_path) -> None:
    images = [
        {"study": name, "k": k, "found": [[0, 0.9, x0, 14, x1, 26], [0, 0.4, 0, 0, 5, 5], [1, 0.1, 3, 3, 4, 4]]}
        for name, k, x0, x1 in (("a", 12, 16, 30), ("a", 15, 18, 33), ("b", 16, 15, 30), ("b", 19, 18, 32))
    ]
    file = tmp_path / "detections-val.json"
    file.write_text(json.dumps({"classes": ["C4", "C5"], "images": images}), encoding="utf-8")
    boxes = read_level_boxes(file)
    assert list(boxes["a"]) == ["C4"], "a low score does not count"
    for name, turned in (("a", False), ("b", True)):
        study = LyingStudy.of(record_of(name, turned=turned))
        places = places_of(study, boxes[name])
        assert places["C4"] == VertebraPlace(12, 15, 9, 31, 11, 38)
        assert places["C3"].k0 == 22
    rows = write_crops([record_of("a", masked=False)], tmp_path / "crops", replace(SMALL, boxes=str(file)))
    assert [row.level for row in rows] == ["C4"]


def test_normal_vertebrae_of_the_training_split_can_be_limited(tmp_path) -> None:
    records = [record_of("a", "C4"), record_of("b"), replace(record_of("c"), split="val")]
    for seed in (0, 1):
        rows = write_crops(records, tmp_path / str(seed), replace(SMALL, normals=3, seed=seed))
        assert sum(row.label for row in rows) == 1
        assert sum(row.split == "val" for row in rows) == 3
    assert len([row for row in rows if row.split == "train"]) <= 4
    again = write_crops(records[::-1], tmp_path / "again", replace(SMALL, normals=3, seed=1))
    assert again == rows


def test_what_was_finished_is_not_made_again(tmp_path) -> None:
    asked = []
    records = [record_of("a", "C4"), record_of("b"), record_of("c")]

    def broken() -> CTVolume:
        message = "unreadable"
        raise UserError(message)

    def counted(record: StudyRecord) -> StudyRecord:
        load = record.load_volume
        return replace(record, load_volume=lambda: asked.append(record.id) or load())

    with pytest.raises(UserError):
        write_crops([counted(records[0]), replace(records[1], load_volume=broken)], tmp_path / "crops", SMALL)
    assert not (tmp_path / "crops").exists()
    write_crops([counted(record) for record in records[:2]], tmp_path / "crops", SMALL)
    assert asked == ["a", "b"]
    assert not list(tmp_path.glob("**/*.part"))
    write_crops(records[:2], tmp_path / "other", SMALL)
    files = [{p.name: p.read_bytes() for p in (tmp_path / x).rglob("*.*")} for x in ("crops", "other")]
    assert files[0] == files[1]


def test_whole_slices_are_kept_where_asked_for(tmp_path) -> None:
    rows = write_crops([record_of("a")], tmp_path / "crops", replace(SMALL, whole=True))
    file = tmp_path / "crops" / rows[0].file
    whole = read_crop(file, "whole", (4, 4, 32, 32))
    assert (whole[:, 3] == 255).mean() < (read_crop(file, "crop", (4, 4, 32, 32))[:, 3] == 255).mean()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 50}, "input.size"),
        ({"slices": 0}, "input.slices"),
        ({"normals": -1}, "data.normals"),
        ({"least_visible": "much"}, "data.least_visible"),
    ],
)
def test_options_that_do_not_serve_are_refused(change, words) -> None:
    with pytest.raises(UserError, match=words):
        CropOptions(**change)


def test_bad_samples_and_tables_are_one_sentence(tmp_path) -> None:
    rows = write_crops([record_of("a")], tmp_path / "crops", SMALL)
    file, table = tmp_path / "crops" / rows[0].file, tmp_path / "crops" / "crops.csv"
    for words, act in (
        ("no pictures of the kind 'whole'", lambda: read_crop(file, "whole", (4, 4, 32, 32))),
        ("instead of", lambda: read_crop(file, "crop", (5, 4, 32, 32))),
        ("is missing", lambda: read_crop(file.with_name("x.npz"), "crop", (4, 4, 32, 32))),
        ("cannot be read", lambda: read_crop_table(tmp_path)),
        ("no boxes", lambda: read_level_boxes(table)),
        ("not an empty folder", lambda: write_crops([record_of("a")], tmp_path / "crops", SMALL)),
        ("None of the 1 studies", lambda: write_crops([record_of("a", masked=False)], tmp_path / "none", SMALL)),
    ):
        with pytest.raises(UserError, match=words) as caught:
            act()
        assert "\n" not in str(caught.value)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match="damaged"):
        read_crop(file, "crop", (4, 4, 32, 32))
    table.write_text(table.read_text(encoding="utf-8").replace(",C3,", ",C9,"), encoding="utf-8")
    with pytest.raises(UserError, match="no table of vertebra crops"):
        read_crop_table(tmp_path / "crops")
