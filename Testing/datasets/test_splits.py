"""Studies are split by patient, evenly, and always the same way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_studies import make_record

from CSpineFractureLib.datasets.splits import RATIOS, check_groups, slice_splits, split_records
from CSpineFractureLib.errors import UserError


def make_many(count: int = 100, studies_each: int = 1) -> list:
    """Every fourth patient is fractured."""
    return [
        make_record(f"study{n}-{m}", "C5" if n % 4 == 0 else "", (1,) if n % 4 == 0 else (), group=f"patient{n}")
        for n in range(count)
        for m in range(studies_each)
    ]


@pytest.mark.parametrize("ratios", RATIOS)
def test_each_split_gets_its_share_of_fractured_and_of_sound_studies(ratios):
    records = split_records(make_many(), ratios, seed=4)
    for broken, total in ((True, 25), (False, 75)):
        counts = Counter(record.split for record in records if record.negative != broken)
        for split, share in RATIOS[ratios].items():
            assert abs(counts[split] - share * total / 100) <= 1


@pytest.mark.parametrize("ratios", RATIOS)
def test_studies_of_one_patient_share_a_split(ratios):
    records = split_records(make_many(40, studies_each=3), ratios, seed=1)
    splits = {}
    for record in records:
        splits.setdefault(record.group, set()).add(record.split)
    assert all(len(found) == 1 for found in splits.values())
    check_groups(records)


def test_the_order_of_the_studies_does_not_matter():
    records = make_many(30)
    shuffled = [records[n] for n in np.random.default_rng(7).permutation(len(records))]
    first, second = (
        {record.id: record.split for record in split_records(some, "70:20:10", 3)} for some in (records, shuffled)
    )
    assert first == second


def test_another_seed_gives_another_split():
    one, other = ([record.split for record in split_records(make_many(), "80:20", seed)] for seed in (0, 1))
    assert one != other


def test_few_studies_still_fill_every_split():
    for count in (5, 6, 7):
        for ratios, shares in RATIOS.items():
            assert {record.split for record in split_records(make_many(count), ratios)} == set(shares)


def test_strata_are_spread_within_the_fractured_studies():
    records = make_many(400)
    for record in records[::8]:
        record.strata = ("hairline",)
    split = split_records(records, "80:20")
    assert sum(record.split == "val" for record in split if record.strata) == 10


def test_fewer_patients_than_splits_are_refused():
    with pytest.raises(UserError, match="2 patients cannot be split 70:20:10"):
        split_records(make_many(2), "70:20:10")


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="'60:40' is no known split"):
        split_records(make_many(9), "60:40")


def test_a_patient_in_two_splits_is_noticed():
    records = split_records(make_many(5, studies_each=2), "80:20")
    records[0].split = "val" if records[0].split == "train" else "train"
    with pytest.raises(UserError, match="is in"):
        check_groups(records)


def test_the_leaking_split_spreads_one_study_over_the_splits():
    splits = Counter(slice_splits(2000, "70:20:10", np.random.default_rng(0)))
    assert set(splits) == {"train", "val", "test"}
    assert splits["train"] == pytest.approx(1400, abs=80)
    assert splits["test"] == pytest.approx(200, abs=50)
