"""Slices with maps of their vertebrae."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from small_studies import SHAPE, make_hu, make_levels, make_record

from CSpineFractureLib.datasets import mask_slices
from CSpineFractureLib.datasets.mask_slices import MaskOptions, chosen_slices, write_mask_slices
from CSpineFractureLib.datasets.slice_image import read_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import CTVolume
from CSpineFractureLib.volume.slice_stack import stack_painter


def studies(*splits: str):
    return [replace(make_record(f"study{n}"), split=split, strata=("mimics",)) for n, split in enumerate(splits)]


def table(root):
    with open(root / "slices.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_slice_lies_beside_its_map(tmp_path):
    write_mask_slices(studies("train", "val"), tmp_path / "out", MaskOptions())
    rows, levels = table(tmp_path / "out"), make_levels()
    for row in rows:
        k = int(row["k"])
        assert read_image(tmp_path / "out" / row["file"]).shape == (*SHAPE[1:], 3)
        labels = read_image(tmp_path / "out" / row["mask"])
        assert (labels == levels[k]).all()
        shown = {name for name in ("C1", "C3", "C4", "C5", "thoracic") if row[name] == "1"}
        names = {3: "C3", 4: "C4", 5: "C5", 8: "thoracic"}
        assert shown == {names[n] for n in np.unique(labels) if n}
    assert not (tmp_path / "out.part").exists()


def test_slices_to_learn_from_are_chosen_and_all_others_kept(tmp_path):
    write_mask_slices(studies("train", "val", "test"), tmp_path / "out", MaskOptions(empty=0.25))
    rows = table(tmp_path / "out")
    kept = {split: [int(row["k"]) for row in rows if row["split"] == split] for split in ("train", "val", "test")}
    assert kept["val"] == kept["test"] == list(range(SHAPE[0]))
    filled = [k for k in kept["train"] if make_levels()[k].any()]
    assert filled == [2, 3, 4, 5, 6, 7, 8, 9, 11]
    assert len(kept["train"]) - len(filled) == 2  # a quarter of nine


def test_few_slices_are_spread_over_the_vertebrae():
    labels = np.zeros((100, 4, 4), np.uint8)
    labels[10:90, 1, 1] = 1
    chosen = chosen_slices(labels, "a", MaskOptions(most_per_study=8, empty=0))
    assert np.diff(chosen).tolist() == [10] * 7
    assert 10 <= chosen[0] < 20
    assert chosen == chosen_slices(labels, "a", MaskOptions(most_per_study=8, empty=0))
    starts = {chosen_slices(labels, name, MaskOptions(most_per_study=8, empty=0))[0] for name in "abcdefgh"}
    assert len(starts) > 2


def test_the_table_tells_place_size_and_strata(tmp_path):
    rows = write_mask_slices(studies("val"), tmp_path / "out", MaskOptions())
    top = max(rows, key=lambda row: row["k"])
    assert (top["from_top_mm"], top["ratio"]) == (0, 0)
    assert (top["column_mm"], top["row_mm"], top["slice_mm"]) == (1, 1, 2)
    assert {row["strata"] for row in table(tmp_path / "out")} == {"mimics"}


def test_thoracic_vertebrae_share_the_class_8(tmp_path):
    record = replace(studies("val")[0], load_levels=lambda: np.where(make_levels() == 4, 12, make_levels()))
    write_mask_slices([record], tmp_path / "out", MaskOptions())
    assert read_image(tmp_path / "out" / "labels" / "val" / "study0_k0008.png").max() == 8


def test_neighbours_are_the_slice_above_the_slice_and_the_one_below():
    hu = np.stack([np.full((2, 2), value, np.int16) for value in (0, 500, 1000)])
    paint = stack_painter("neighbours:500/1000")
    assert paint(hu, 1, 1)[0, 0].tolist() == [255, 128, 0]
    assert paint(hu, 1, -1)[0, 0].tolist() == [0, 128, 255]
    assert paint(hu, 0, 1)[0, 0].tolist() == [128, 0, 0]


def test_a_study_stored_from_head_to_foot_gives_the_same_pictures(tmp_path):
    up = replace(studies("val")[0], id="up", group="up")
    down = replace(up, id="down", group="down", load_levels=lambda: make_levels()[::-1])
    volume = up.load_volume()
    flipped = volume.ijk_to_ras.copy()
    flipped[2, 2], flipped[2, 3] = -2, -50 + 2 * (SHAPE[0] - 1)
    down.load_volume = lambda: CTVolume(np.ascontiguousarray(volume.hu[::-1]), flipped)
    out = tmp_path / "out"
    options = MaskOptions(window="neighbours:500/2000")
    rows = write_mask_slices([up, down], out, options)
    above = {(row["study"], row["from_top_mm"]): row for row in rows}
    for place in range(0, 2 * SHAPE[0], 2):
        one, other = above["up", float(place)], above["down", float(place)]
        for key in ("file", "mask"):
            assert (read_image(out / one[key]) == read_image(out / other[key])).all()


def test_further_windows_have_pictures_of_their_own(tmp_path):
    options = MaskOptions(further=("neighbours:500/2000",))
    write_mask_slices(studies("val"), tmp_path / "out", options)
    files = sorted(path.name for path in (tmp_path / "out" / "images" / "val").iterdir())
    others = tmp_path / "out" / "images-neighbours-500-2000" / "val"
    assert sorted(path.name for path in others.iterdir()) == files
    grey = read_image(others / files[3])
    assert (grey[..., 1] == stack_painter("neighbours:500/2000")(make_hu(sum(b"study0")), 3, 1)[..., 1]).all()


def test_a_broken_off_writing_goes_on(tmp_path, monkeypatch):
    records, whole = studies("train", "val", "val"), tmp_path / "whole"
    write_mask_slices(records, whole, MaskOptions())
    reads = []

    def fault(volume):
        raise RuntimeError

    for record in records:
        load = record.load_volume
        record.load_volume = lambda load=load, name=record.id: (reads.append(name), load())[1]
    third = records[2].load_levels
    records[2].load_levels = lambda: fault(None)
    with pytest.raises(RuntimeError):
        write_mask_slices(records, tmp_path / "out", MaskOptions())
    assert not (tmp_path / "out").exists()
    records[2].load_levels = third
    write_mask_slices(records, tmp_path / "out", MaskOptions())
    assert reads == ["study0", "study1", "study2", "study2"]
    assert table(tmp_path / "out") == table(whole)


def refused(tmp_path, records, options=None):
    with pytest.raises(UserError) as caught:
        write_mask_slices(records, tmp_path / "out", options or MaskOptions())
    assert not (tmp_path / "out").exists()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_studies_without_masks_are_one_sentence(tmp_path):
    assert "None of the 1 studies has a vertebra mask" in refused(
        tmp_path, [replace(make_record("a", masked=False), split="train")]
    )


def test_a_mask_of_another_size_is_one_sentence(tmp_path):
    record = replace(studies("val")[0], load_levels=lambda: make_levels()[1:])
    assert "mask of 48 x 40 x 11 voxels for a CT of 48 x 40 x 12" in refused(tmp_path, [record])


def test_empty_masks_are_one_sentence(tmp_path):
    record = replace(studies("val")[0], load_levels=lambda: np.zeros(SHAPE, np.uint8))
    assert "are empty of C1-C7" in refused(tmp_path, [record])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": "minmax"}, "'minmax' is no window of a segmentation"),
        ({"window": "neighbours:three"}, "'neighbours:three' is no window of a segmentation"),
        ({"further": ("neighbours:bone",)}, "'bone' is no window"),
        ({"most_per_study": 0}, "data.most_per_study is 0"),
        ({"empty": -1}, "data.empty is -1"),
    ],
)
def test_options_that_cannot_be_used_are_one_sentence(options, said):
    with pytest.raises(UserError, match=said):
        MaskOptions(**options)


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="is not an empty folder"):
        write_mask_slices(studies("val"), tmp_path / "out", MaskOptions())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_disk_that_is_full_is_one_sentence(tmp_path, monkeypatch):
    def full(image, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mask_slices, "write_image", full)
    assert "cannot be written (No space left on device)" in refused(tmp_path, studies("val"))
