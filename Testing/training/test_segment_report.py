"""Dice by level and surface distance of a profile's segments, over studies."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from CSpineFractureLib.datasets.record import LEVELS, StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.segment_report import dice_by_level, evaluate_segments
from CSpineFractureLib.volume.ct_volume import CTVolume

SHAPE = (40, 16, 16)
MATRIX = np.diag([-1.0, -1.0, 2.0, 1.0])


def blocks(numbers=range(1, 8), drop=0, thorax=True) -> np.ndarray:
    """Blocks of 4 slices, 8 x 8 pixels, C1 on top; ``drop`` rows are taken from each."""
    labels = np.zeros(SHAPE, np.uint8)
    for number in numbers:
        labels[36 - 5 * number : 40 - 5 * number, 4 : 12 - drop, 4:12] = number
    if thorax:
        labels[0, 4:12, 4:12] = 8
    return labels


class Answers:
    """An engine that gives prepared labels, in order."""

    def __init__(self, *labels):
        self.labels, self.asked = list(labels), []

    def run_study(self, volume, profile, models=None):
        self.asked.append((profile, models))
        result = SimpleNamespace(timings_s={"segment": 2.0})
        return volume, SimpleNamespace(labels=self.labels[len(self.asked) - 1], result=result)


def record(name, truth, strata=()):
    volume = CTVolume(np.zeros(SHAPE, np.int16), MATRIX)
    return StudyRecord(name, lambda: volume, None if truth is None else lambda: truth, strata=strata)


def test_dice_is_by_level_and_leaves_the_thorax_out():
    dice = dice_by_level(blocks(range(1, 7), drop=4), blocks(range(2, 8)))
    assert dice["C2"] == pytest.approx(2 * 4 / 12)
    assert (dice["C1"], dice["C7"]) == (0.0, 0.0)
    assert dice_by_level(blocks([3]), blocks([3]))["C1"] is None
    assert dice_by_level(np.where(blocks() == 8, 0, blocks()), blocks()) == dict.fromkeys(LEVELS, 1.0)


def test_the_report_has_figures_intervals_strata_and_each_study():
    truth = blocks()
    engine = Answers(blocks(thorax=False), blocks(drop=2, thorax=False), blocks(range(1, 7), thorax=False))
    records = [record("a", truth), record("b", truth, ("mimics",)), record("c", truth, ("mimics",))]
    events = []
    report = evaluate_segments(records, engine, "some", events.append, n=200, models={"segmentation": "mine"})
    assert engine.asked == [("some", {"segmentation": "mine"})] * 3
    shrunk = 2 * 6 / 14
    assert report["figures"]["dice_C1"] == pytest.approx((1 + shrunk + 1) / 3, abs=1e-6)
    assert report["figures"]["dice_C7"] == pytest.approx((1 + shrunk + 0) / 3, abs=1e-6)
    assert report["figures"]["missed"] == pytest.approx(1 / 21, abs=1e-6)
    low, high = report["intervals"]["dice_C7"]
    assert low < report["figures"]["dice_C7"] < high
    assert report["figures"]["surface_mm"] > 0
    assert report["strata"]["mimics"]["studies"] == 2
    assert report["strata"]["mimics"]["figures"]["dice_C1"] == pytest.approx((shrunk + 1) / 2, abs=1e-6)
    assert [row["study"] for row in report["per_study"]] == ["a", "b", "c"]
    assert report["per_study"][2]["dice"]["C7"] == 0
    assert report["per_study"][2]["invented"] == []
    assert len(events) == 3


def test_a_shrunk_level_has_a_surface_distance_in_mm():
    report = evaluate_segments([record("a", blocks())], Answers(blocks(drop=2, thorax=False)), "some", n=0)
    assert 0 < report["figures"]["surface_mm"] < 2
    assert report["figures"]["hd95_mm"] == pytest.approx(2.0)  # two rows of 1 mm
    assert report["intervals"] == {}


def test_an_invented_level_is_named():
    engine = Answers(blocks(thorax=False))
    report = evaluate_segments([record("a", blocks(range(2, 8)))], engine, "some", n=0)
    assert report["per_study"][0]["invented"] == ["C1"]
    assert report["figures"]["dice_C1"] is None


def test_studies_without_masks_are_left_out_and_none_left_is_an_error():
    report = evaluate_segments([record("a", None), record("b", blocks())], Answers(blocks(thorax=False)), "some", n=0)
    assert report["studies"] == 1
    with pytest.raises(UserError, match="mask"):
        evaluate_segments([record("a", None)], Answers(), "some")


def test_a_mask_of_another_ct_is_an_error():
    with pytest.raises(UserError, match="'a'"):
        evaluate_segments([record("a", blocks()[:-1])], Answers(blocks()), "some")
