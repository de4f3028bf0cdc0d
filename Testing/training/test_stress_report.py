"""Levels in changed copies against those of the unchanged volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_neck import a_neck

from CSpineFractureLib.findings.study_result import LEVELS, Box, StudyResult, VertebraFinding
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.training.level_hits import LevelMarks
from CSpineFractureLib.training.stress_report import stress_summary, stress_volume
from CSpineFractureLib.volume.ct_volume import CTVolume

VOLUME, MIDDLES = a_neck(levels=7)
MARKS = LevelMarks("neck.nii.gz", dict(zip(LEVELS, MIDDLES, strict=True)))


def result_of(volume: CTVolume, names: dict[str, int], confidence: float) -> StudyResult:
    """A result that puts each name onto the middle of the block of that number."""
    result = RunContext().new_result(volume)
    for level, block in names.items():
        centre = MIDDLES[block].tolist()
        result.vertebrae.append(
            VertebraFinding(
                level, level, "full", True, confidence, centre, Box(centre, [30, 30, 16]), [0, 1], None, True, 1
            )
        )
    return result


class Reader:
    """Names all levels rightly in a file, and one off in a copy of it."""

    def __init__(self, confidence: float = 0.9, wrong: tuple[str, ...] = LEVELS) -> None:
        self.confidence, self.wrong, self.seen = confidence, wrong, []

    def __call__(self, given: CTVolume | Path) -> tuple[CTVolume, StudyResult]:
        if not isinstance(given, CTVolume):
            return VOLUME, result_of(VOLUME, {level: n for n, level in enumerate(LEVELS) if level != "C7"}, 0.9)
        self.seen.append(given)
        names = {level: n - (level in self.wrong) for n, level in enumerate(LEVELS)}
        return given, result_of(given, {level: n for level, n in names.items() if n >= 0}, self.confidence)


def stress(run: Reader, *kinds: str, seed: int = 0) -> dict:
    unchanged, *copies = stress_volume(MARKS, Path("neck.nii.gz"), run, kinds, seed)
    return stress_summary([unchanged], copies, seed)


def test_levels_named_one_off_in_a_copy_shift_silently_where_they_are_sure():
    total = stress(Reader(), "flip")
    assert total["unchanged"]["hit_rate"] == pytest.approx(6 / 7)
    flip = total["kinds"]["flip"]
    assert flip["hit_rate"] == 0
    assert flip["change_points"] == pytest.approx(-600 / 7)
    assert flip["confused"] == 6
    assert flip["per_volume"][0]["missed"] == ["C7"]
    assert flip["per_volume"][0]["silent"] == list(LEVELS[:6])
    assert flip["silent_shifts"] == 6


def test_a_shift_that_confesses_its_doubt_is_not_silent():
    flip = stress(Reader(confidence=0.5), "flip")["kinds"]["flip"]
    assert flip["confused"] == 6
    assert flip["silent_shifts"] == 0


def test_a_level_that_was_wrong_before_is_no_silent_shift():
    flip = stress(Reader(wrong=("C7",)), "flip")["kinds"]["flip"]
    assert flip["per_volume"][0]["missed"] == ["C7"]
    assert flip["silent_shifts"] == 0
    assert flip["change_points"] == 0


def test_random_changes_give_as_many_different_copies_as_asked_for_and_others_one():
    reader, again = Reader(wrong=()), Reader(wrong=())
    unchanged, *copies = stress_volume(MARKS, Path("neck.nii.gz"), reader, ("noise-25hu", "crop-c3-c5"), 4, copies=3)
    assert [one.kind for one in copies] == ["noise-25hu"] * 3 + ["crop-c3-c5"]
    assert len({volume.hu.tobytes() for volume in reader.seen[:3]}) == 3
    stress(again, "noise-25hu", seed=5)
    assert np.array_equal(again.seen[0].hu, reader.seen[1].hu)
    noisy = stress_summary([unchanged], copies, 4)["kinds"]["noise-25hu"]
    assert (noisy["volumes"], noisy["marked"]) == (3, 3 * len(LEVELS))


def test_a_crop_is_compared_with_the_same_levels_of_the_whole():
    total = stress(Reader(wrong=()), "crop-c3-c5", "crop-top")
    middle = total["kinds"]["crop-c3-c5"]
    assert middle["marked"] == 3
    assert middle["hit_rate"] == middle["unchanged_hit_rate"] == 1
    top = total["kinds"]["crop-top"]
    assert top["hit_rate"] == 1, "C7 is found now"
    assert top["change_points"] == pytest.approx(100 / top["marked"])


def test_the_same_seed_makes_the_same_copies_whatever_other_kinds_there_are():
    first, again, other = Reader(), Reader(), Reader()
    stress(first, "crop-top", "noise-25hu")
    stress(again, "noise-25hu")
    stress(other, "noise-25hu", seed=1)
    np.testing.assert_array_equal(first.seen[1].hu, again.seen[0].hu)
    assert (first.seen[1].hu != other.seen[0].hu).any()


def test_kinds_that_do_not_apply_are_left_out_and_fractures_not_spoken_of():
    marks = LevelMarks("neck.nii.gz", {"C1": MIDDLES[0]})
    unchanged, *copies = stress_volume(marks, Path("neck.nii.gz"), Reader(), ["crop-top", "crop-c3-c5", "permute"])
    total = stress_summary([unchanged], copies)
    assert list(total["kinds"]) == ["permute"]
    assert "alarms_per_volume" not in total["unchanged"]
    assert "alarms" not in total["kinds"]["permute"]["per_volume"][0]
