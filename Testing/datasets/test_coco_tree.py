"""COCO data sets: what is read is what was written, and other readers understand it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_studies import make_levels, make_records

from CSpineFractureLib.datasets.coco import read_coco, write_coco
from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.datasets.yolo import write_yolo
from CSpineFractureLib.errors import UserError


@pytest.fixture
def records():
    return split_records(make_records(), "70:20:10", seed=2)


@pytest.mark.parametrize("classes", ["vertebrae", "fracture", "both"])
def test_what_is_read_is_what_was_written(classes, records, tmp_path):
    written = write_coco(records, tmp_path / "out", ImageOptions(classes=classes))
    assert read_coco(tmp_path / "out") == written


def test_the_boxes_are_those_of_the_yolo_tree(records, tmp_path):
    options = ImageOptions(classes="both")
    assert write_coco(records, tmp_path / "coco", options) == write_yolo(records, tmp_path / "yolo", options)


def test_a_box_covers_exactly_its_vertebra(records, tmp_path):
    write_coco(records, tmp_path / "out")
    levels = make_levels()
    for image in read_coco(tmp_path / "out"):
        for box in image.boxes:
            mask = levels[image.k] == LEVELS.index(box.name) + 1
            inside = mask[box.y : box.y + box.height, box.x : box.x + box.width]
            assert inside.sum() == mask.sum()
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()


def test_ids_are_unique_over_the_splits_and_each_image_names_its_study(records, tmp_path):
    write_coco(records, tmp_path / "out", ImageOptions(classes="fracture"))
    documents = [json.loads(path.read_text()) for path in sorted((tmp_path / "out/annotations").iterdir())]
    assert len(documents) == 3
    for key in ("images", "annotations"):
        ids = [entry["id"] for document in documents for entry in document[key]]
        assert len(ids) == len(set(ids))
    studies = [{entry["study"] for entry in document["images"]} for document in documents]
    assert not studies[0] & studies[1]
    assert documents[0]["categories"] == [{"id": 1, "name": "fracture", "supercategory": "injury"}]
    assert all(entry["file_name"] == f"{entry['study']}_k{entry['k']:04d}.png" for entry in documents[0]["images"])


def test_the_sizes_are_those_of_the_pictures(records, tmp_path):
    write_coco(records, tmp_path / "out")
    for image in read_coco(tmp_path / "out"):
        assert read_image(tmp_path / "out" / image.file).shape == (image.height, image.width)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text('{"images": [')
    with pytest.raises(UserError, match="no COCO instances file"):
        read_coco(tmp_path)


def test_an_annotation_without_image_is_refused(records, tmp_path):
    write_coco(records, tmp_path / "out")
    path = tmp_path / "out" / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["image_id"] = 9999
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="unknown image or category"):
        read_coco(tmp_path / "out")


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(UserError, match="COCO"):
        read_coco(tmp_path)


def test_numpy_numbers_in_boxes_are_written(records, tmp_path):
    for record in records:
        record.boxes = [type(box)(box.k, np.int64(box.k), np.float64(box.y), 3, 4, box.level) for box in record.boxes]
    written = write_coco(records, tmp_path / "out", ImageOptions(classes="fracture"))
    assert read_coco(tmp_path / "out") == written
