"""YOLO trees: boxes are exactly those of the masks, studies stay in one split, broken runs go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml
from small_studies import make_hu, make_levels, make_record, make_records

from CSpineFractureLib.datasets.labelled_image import ClassBox
from CSpineFractureLib.datasets.record import LEVELS, SliceBox
from CSpineFractureLib.datasets.slice_image import painter, read_image
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.datasets.vertebra_boxes import vertebra_boxes
from CSpineFractureLib.datasets.yolo import label_text, read_yolo, read_yolo_boxes, write_yolo
from CSpineFractureLib.errors import UserError


@pytest.fixture
def records():
    return split_records(make_records(), "80:20", seed=1)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_boxes_read_back_have_exactly_the_extents_of_the_masks(records, tmp_path):
    write_yolo(records, tmp_path / "out")
    images, levels = read_yolo(tmp_path / "out"), make_levels()
    assert {image.k for image in images} == set(range(2, 10))
    for image in images:
        expected = {}
        for label in range(1, 8):
            rows, columns = np.nonzero(levels[image.k] == label)
            if len(rows):
                expected[LEVELS[label - 1]] = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert {box.name: (box.x, box.y, box.width, box.height) for box in image.boxes} == expected


@pytest.mark.parametrize("size", [(512, 512), (511, 333), (48, 40), (1999, 7)])
def test_any_box_is_read_back_to_the_digit(size, tmp_path):
    rng = np.random.default_rng(3)
    written = []
    for _ in range(300):
        edges = np.sort(rng.uniform(0, size, (2, 2)), axis=0).round(4)
        x, y, right, lower = (float(v) for v in (*edges[0], *edges[1]))
        box = ClassBox("C4", x, y, right - x, lower - y).clipped(*size)
        written += [box] if box else []
    image = replace(write_one(tmp_path), width=size[0], height=size[1], boxes=tuple(written))
    (tmp_path / "label.txt").write_text(label_text(image, LEVELS))
    assert read_yolo_boxes(tmp_path / "label.txt", size, list(LEVELS)) == written


def write_one(tmp_path):
    return write_yolo([replace(make_record("one"), split="train")], tmp_path / "one")[0]


def test_what_is_read_is_what_was_written(records, tmp_path):
    for classes in ("vertebrae", "fracture", "both"):
        out = tmp_path / classes
        written = write_yolo(records, out, ImageOptions(classes=classes))
        assert read_yolo(out) == written
        assert {name for image in written for name in image.names} >= {"vertebrae": {"C3"}}.get(classes, {"fracture"})


def test_images_show_the_slice_as_it_is_stored(records, tmp_path):
    write_yolo(records, tmp_path / "out")
    image = next(image for image in read_yolo(tmp_path / "out") if image.k == 4)
    hu = make_hu(sum(image.study.encode()))[4]
    assert np.array_equal(read_image(tmp_path / "out" / image.file), np.rint(np.clip((hu + 500) / 2000, 0, 1) * 255))


def test_the_data_file_is_what_ultralytics_wants(records, tmp_path):
    write_yolo(records, tmp_path / "out", ImageOptions(classes="both"))
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(tmp_path / "out" / "data.yaml"), autodownload=False)
    assert data["names"] == dict(enumerate((*LEVELS, "fracture")))
    assert data["train"] == str(tmp_path / "out" / "images" / "train")
    assert data["val"] == str(tmp_path / "out" / "images" / "val")


def test_each_fold_validates_once(records, tmp_path):
    write_yolo(split_records(records, "5-fold"), tmp_path / "out")
    for n in range(5):
        data = yaml.safe_load((tmp_path / "out" / f"fold{n}.yaml").read_text())
        assert data["val"] == f"images/fold{n}"
        assert data["train"] == [f"images/fold{m}" for m in range(5) if m != n]


def test_no_study_is_in_two_splits(records, tmp_path):
    images = write_yolo(records, tmp_path / "out")
    splits = {}
    for image in images:
        splits.setdefault(image.study, set()).add(image.split)
    assert all(len(found) == 1 for found in splits.values())


def test_the_leak_of_the_papers_must_be_asked_for(records, tmp_path):
    images = write_yolo(records, tmp_path / "out", ImageOptions(slice_ratios="80:20"))
    assert any({image.split for image in images if image.study == r.id} == {"train", "val"} for r in records)


def test_small_parts_of_a_vertebra_may_be_left_out():
    assert [box.name for box in vertebra_boxes(make_levels()[9])] == ["C4", "C5"]
    assert [box.name for box in vertebra_boxes(make_levels()[9], least_pixels=2)] == ["C4"]


def test_slices_that_show_nothing_have_an_empty_label_file(records, tmp_path):
    images = write_yolo(records, tmp_path / "out", ImageOptions(negatives=0.25))
    empty = [image for image in images if not image.boxes]
    assert len(empty) == 2 * len(records)
    assert {image.k for image in empty} <= {0, 1, 10, 11}
    assert all((tmp_path / f"out/labels/{i.split}/{i.study}_k{i.k:04d}.txt").read_bytes() == b"" for i in empty)


def test_a_box_over_the_edge_is_cut_to_the_image(tmp_path):
    record = replace(make_record("edge", "C3"), boxes=[SliceBox(3, -2.5, 30, 10, 20, "C3")], split="train")
    image = write_yolo([record], tmp_path / "out", ImageOptions(classes="fracture", negatives=0))[0]
    assert image.boxes == (ClassBox("fracture", 0, 30, 7.5, 10),)


@pytest.mark.parametrize(("window", "shape"), [("three", (40, 48, 3)), ("minmax", (40, 48)), ("40/400", (40, 48))])
def test_windows_of_the_papers(window, shape):
    hu = make_hu()[3]
    picture = painter(window)(hu)
    assert picture.shape == shape
    assert picture.dtype == np.uint8
    if window == "three":
        assert np.array_equal(picture[..., 2], np.rint(np.clip((hu + 500) / 1800, 0, 1) * 255))
    if window == "minmax":
        assert (picture.min(), picture.max()) == (0, 255)


def test_an_even_slice_can_be_stretched():
    assert not painter("minmax")(np.full((4, 4), 7, np.int16)).any()


def test_jpeg_pictures_are_in_colour_and_close(records, tmp_path):
    options = ImageOptions(window="three", image_format="jpeg")
    image = write_yolo(records, tmp_path / "out", options)[0]
    picture = read_image(tmp_path / "out" / image.file)
    truth = painter("three")(make_hu(sum(image.study.encode()))[image.k])
    assert image.file.endswith(".jpg")
    assert np.abs(picture.astype(int) - truth).mean() < 8


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, order in (("one", 1), ("two", -1)):
        records = split_records(make_records()[::order], "80:20", 5)
        write_yolo(records, tmp_path / name, ImageOptions(classes="fracture", seed=5))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_broken_run_goes_on_where_it_stopped(records, tmp_path):
    options = ImageOptions(classes="fracture")
    write_yolo(records, tmp_path / "whole", options)
    loaded = []

    def counted(record, fail):
        def load():
            loaded.append(record.id)
            if fail and len(loaded) == 4:
                message = "the disk is out"
                raise UserError(message)
            return record.load_volume()

        return replace(record, load_volume=load)

    with pytest.raises(UserError, match="the disk is out"):
        write_yolo([counted(record, True) for record in records], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    first = loaded[:3]
    loaded.clear()
    write_yolo([counted(record, False) for record in records], tmp_path / "out", options)
    assert not set(first) & set(loaded)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.part").exists()


def test_other_options_do_not_mix_with_an_unfinished_run(records, tmp_path):
    def fail():
        message = "gone"
        raise UserError(message)

    broken = [*records[:-1], replace(records[-1], load_volume=fail)]
    with pytest.raises(UserError, match="gone"):
        write_yolo(broken, tmp_path / "out", ImageOptions(image_format="jpeg"))
    assert (tmp_path / "out.part").exists()
    write_yolo(records, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.jpg"))


def test_nothing_stays_where_no_study_was_finished(tmp_path):
    wrong = replace(make_record("one"), load_levels=lambda: make_levels()[:-1], split="train")
    with pytest.raises(UserError, match="'one' has a mask of 48 x 40 x 11 voxels for a CT of 48 x 40 x 12"):
        write_yolo([wrong], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(records, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        write_yolo(records, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_foreign_folder_named_part_is_not_touched(records, tmp_path):
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        write_yolo(records, tmp_path / "out")
    assert (tmp_path / "out.part" / "thesis.txt").read_text() == "mine"


def test_a_set_without_masks_is_refused(tmp_path):
    records = split_records([make_record(f"s{n}", masked=False) for n in range(4)], "80:20")
    with pytest.raises(UserError, match="None of the 4 studies"):
        write_yolo(records, tmp_path / "out")


def test_a_split_without_images_is_refused(tmp_path):
    records = [replace(make_record("a"), split="train"), replace(make_record("b", masked=False), split="val")]
    with pytest.raises(UserError, match="'val' would have no images, for none of its studies has the masks"):
        write_yolo(records, tmp_path / "out")


@pytest.mark.parametrize(("broken", "sound"), [("train", "val"), ("val", "train")])
@pytest.mark.parametrize("counts", [{}, {"added": 6}])
def test_a_split_without_a_fracture_is_refused(tmp_path, broken, sound, counts):
    records = [replace(make_record("a", "C3", (3, 4)), split=broken)]
    records += [replace(make_record(f"s{n}"), split=split) for n, split in enumerate((broken, sound, sound))]
    sentence = f"'{sound}' would have no images, for none of its studies has a slice known to show a fracture: add"
    with pytest.raises(UserError, match=sentence):
        write_yolo(records, tmp_path / "out", ImageOptions(classes="fracture", **counts))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"classes": "bones"}, "'bones' is not known"),
        ({"window": "500"}, "is no window"),
        ({"window": "500/0"}, "is no window"),
        ({"image_format": "gif"}, "'gif' is not known"),
        ({"added": 5}, "goes with the class fracture"),
        ({"slice_ratios": "1:1"}, "no known split"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        ImageOptions(**options)


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1", "x 0.5 0.5 0.1 0.1", "0 nan 0.5 0.1 0.1", "7 0.5 0.5 0.1 0.1", ""])
def test_a_malformed_label_names_its_line(line, tmp_path):
    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(UserError, match=r"a.txt', line 2"):
        read_yolo_boxes(tmp_path / "a.txt", (40, 40), list(LEVELS))
