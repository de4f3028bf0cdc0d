"""The same CT with and without a fracture, seen by a reader who knows, and by one who sees nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import Box, FractureFinding, VertebraFinding
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.training.pair_report import broken_copies, pair_scan, pair_summary, scans_below, whole_levels
from CSpineFractureLib.volume.ct_volume import CTVolume

PLAN = StudyPlan(
    spacing_mm=(1.2, 1.2, 1.5), fractures=(), mimics=(), width_mm=90, depth_mm=100, above_mm=-50, below_mm=2
)


class Reader:
    """Finds the levels of the mask, and what differs from the untouched CT where ``sees``; alarms at every level where
    ``nervous``."""

    def __init__(self, study, sees: bool = True, nervous: bool = False) -> None:
        self.study, self.sees, self.nervous = study, sees, nervous

    def __call__(self, volume: CTVolume) -> StudyOutput:
        result = RunContext().new_result(volume)
        changed = np.argwhere(volume.hu != self.study.hu)
        broken = np.bincount(self.study.labels[tuple(changed.T)], minlength=9)[1:8] if self.sees else np.zeros(7)
        for n in np.unique(self.study.labels[self.study.labels > 0]):
            if n > 7:
                continue
            level, box = f"C{n}", Box([0, 0, 0], [30, 30, 15])
            p = 0.9 if broken.any() and broken.argmax() == n - 1 else 0.1
            if self.nervous:
                centre = volume.ras_of(np.argwhere(self.study.labels == n).mean(axis=0)[::-1]).tolist()
                result.fractures.append(FractureFinding(f"n-{level}", level, 0.7, Box(centre, [9, 9, 9])))
            visible = "partial" if level == "C6" else "full"
            result.vertebrae.append(
                VertebraFinding(level, level, visible, True, 0.9, [0, 0, 0], box, [0, 1], p, True, 9000.0)
            )
        if broken.any():
            middle = volume.ras_of(changed.mean(axis=0)[::-1]).tolist()
            result.fractures.append(FractureFinding("f", f"C{broken.argmax() + 1}", 0.9, Box(middle, [9, 9, 9])))
        return StudyOutput(result, self.study.labels)


@pytest.fixture(scope="module")
def study():
    return make_study(31, PLAN)


@pytest.fixture(scope="module")
def volume(study):
    return CTVolume(study.hu, study.ijk_to_ras)


def test_a_reader_who_sees_finds_what_was_inserted_and_nothing_without(study, volume):
    total = pair_summary([pair_scan("ct", volume, Reader(study), count=2)])
    assert total["scans"] == 1
    assert total["pairs"] == 2
    assert total["box_sensitivity"] == total["level_sensitivity"] == total["study_sensitivity"] == 1
    assert total["level_specificity"] == total["study_specificity"] == 1
    assert total["alarms_untouched"] == total["already_marked"] == 0
    (row,) = total["per_scan"]
    assert all(inserted["found"] for inserted in row["inserted"])
    assert row["level_auc"] == 1


def test_a_blind_reader_finds_nothing(study, volume):
    pairs = pair_scan("ct", volume, Reader(study, sees=False), count=2)
    assert pairs.of(found=True) == []
    assert len(pairs.of(found=False)) == 2
    total = pair_summary([pairs])
    assert total["box_sensitivity"] == total["level_sensitivity"] == 0
    assert total["per_scan"][0]["level_auc"] == 0.5


def test_an_alarm_that_was_there_before_is_no_proof_of_sight(study, volume):
    pairs = pair_scan("ct", volume, Reader(study, sees=False, nervous=True), types=("burst",), count=2)
    total = pair_summary([pairs])
    assert total["box_sensitivity"] == 1
    assert total["already_marked"] == total["pairs"] == 2
    assert total["alarms_untouched"] == len(np.unique(study.labels[(study.labels > 0) & (study.labels < 8)]))


def test_copies_have_one_displaced_fracture_in_a_whole_level_and_repeat_with_the_seed(study, volume):
    output = Reader(study)(volume)
    whole = whole_levels(volume, output)
    assert "C6" not in whole, "only part of it is seen"
    made, again = ([*broken_copies(volume, output, ["burst"], 2, seed=5)] for _ in range(2))
    for (copy, truth), (same, _) in zip(made, again, strict=True):
        assert truth.type == "burst"
        assert truth.level in whole
        assert not truth.hairline
        assert (copy.hu != volume.hu).any()
        np.testing.assert_array_equal(copy.hu, same.hu)


def test_types_that_no_level_here_can_have_make_no_pairs(study, volume):
    assert pair_scan("ct", volume, Reader(study), types=("jefferson",)) is None


def test_scans_are_files_and_dicom_folders(tmp_path: Path):
    (tmp_path / "series" / "deep").mkdir(parents=True)
    for name in ("a.nii.gz", "series/deep/1.dcm", "series/deep/2.dcm", "b.zip", "levels.json"):
        (tmp_path / name).write_bytes(b"x")
    found = [path.relative_to(tmp_path).as_posix() for path in scans_below(tmp_path)]
    assert found == ["a.nii.gz", "b.zip", "series/deep"]
    assert scans_below(tmp_path, ["deep"]) == [tmp_path / "series" / "deep"]
    with pytest.raises(UserError, match="no CT that fits"):
        scans_below(tmp_path, ["c.nii"])
