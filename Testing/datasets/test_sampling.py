"""Which slices become images: all with a box, and as many of those known to be free of fractures as asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_studies import SHAPE, make_record, make_records

from CSpineFractureLib.datasets.sampling import draw_slices, plan_slices, shared_out
from CSpineFractureLib.datasets.slice_folders import write_slice_folders
from CSpineFractureLib.datasets.splits import split_records
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.errors import UserError


def counts_by_split(images) -> dict[str, tuple[int, int]]:
    splits = sorted({image.split for image in images})
    own = {split: [image for image in images if image.split == split] for split in splits}
    return {s: (sum(bool(i.boxes) for i in some), sum(not i.boxes for i in some)) for s, some in own.items()}


def write(records, out, **options):
    return write_slice_folders(records, out, ImageOptions(classes="fracture", **options))


def test_there_are_as_many_negatives_as_positives_in_each_split(tmp_path):
    images = write(split_records(make_records(), "80:20", 1), tmp_path / "out")
    counts = counts_by_split(images)
    assert sum(boxed for boxed, _ in counts.values()) == 35
    assert all(boxed == free for boxed, free in counts.values())


def test_another_ratio_is_kept(tmp_path):
    images = write(split_records(make_records(), "80:20", 1), tmp_path / "out", negatives=2.0)
    assert all(free == 2 * boxed for boxed, free in counts_by_split(images).values())


def test_a_number_of_added_slices_is_met(tmp_path):
    images = write(split_records(make_records(), "80:20", 1), tmp_path / "out", added=5)
    assert sum(not image.boxes for image in images) == 5


def test_slices_of_a_fractured_study_without_boxes_are_never_negative(tmp_path):
    records = [*make_records(), *(make_record(f"unannotated{n}", "C6", None) for n in range(5))]
    images = write(split_records(records, "80:20"), tmp_path / "out")
    assert not any(image.study.startswith("unannotated") for image in images)


def test_the_flaw_of_the_papers_can_be_asked_for(tmp_path):
    records = [*make_records(), *(make_record(f"unannotated{n}", "C6", None) for n in range(5))]
    images = write(split_records(records, "80:20"), tmp_path / "out", unannotated_as_negative=True)
    flawed = [image for image in images if image.study.startswith("unannotated")]
    assert flawed
    assert not any(image.boxes for image in flawed)


def test_studies_of_which_nothing_is_known_give_nothing_even_then():
    unknown = replace(make_record("test", slices=None), fractured=None)
    plans = plan_slices([unknown, *make_records()], unannotated_as_negative=True)
    assert "test" not in {plan.record.id for plan in plans}


def test_what_one_study_cannot_give_the_next_ones_do(tmp_path):
    full = make_record("full", "C3", tuple(range(SHAPE[0])))
    records = [replace(record, split="train") for record in (full, make_record("sound0"), make_record("sound1"))]
    images = write(records, tmp_path / "out")
    assert counts_by_split(images) == {"train": (SHAPE[0], SHAPE[0])}


def test_the_drawn_slices_depend_on_seed_and_study_alone():
    drawn = draw_slices(range(100), 10, "study", 5)
    assert drawn == draw_slices(reversed(range(100)), 10, "study", 5)
    assert drawn != draw_slices(range(100), 10, "study", 6)
    assert drawn != draw_slices(range(100), 10, "other", 5)
    assert len(set(drawn)) == 10


def test_the_order_of_the_studies_does_not_change_the_plan():
    records = split_records(make_records(), "80:20")
    plans, reverse = (
        [(plan.record.id, plan.positives, plan.negatives) for plan in plan_slices(some, seed=2)]
        for some in (records, records[::-1])
    )
    assert plans == reverse


def test_largest_remainders_share_out_the_whole():
    assert shared_out(10, [1, 1, 1]) == [4, 3, 3]
    assert shared_out(1000, [70, 20, 10]) == [700, 200, 100]
    assert shared_out(3, [0, 0]) == [0, 0]


def test_a_box_in_a_slice_that_is_not_there_is_refused(tmp_path):
    record = replace(make_record("bad", "C3", (40,)), split="train")
    with pytest.raises(UserError, match="'bad' has a fracture box in slice 40, but 12 slices"):
        write([record], tmp_path / "out")
