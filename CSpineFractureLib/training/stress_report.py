"""How well levels are found in changed copies of marked CT, against the unchanged volumes, as one report."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CSpineFractureLib.training.level_hits import LevelMarks, LevelReport, compare, others_at, summary
from CSpineFractureLib.training.metrics_file import plain
from CSpineFractureLib.training.stress_changes import CHANGES, Changed

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_result import StudyResult
    from CSpineFractureLib.volume.ct_volume import CTVolume

    Run = Callable[[CTVolume | str | Path], tuple[CTVolume, StudyResult]]

SURE = 0.5
"""A wrong name with more confidence than this shifts silently."""
LEVELS_ONLY = {"fracture": 1.0, "gradcam": 1.0}
"""Thresholds of a run of which only the levels matter: no slice is explained, which takes much of the time."""


@dataclass
class StressCopy:
    """One changed copy: its level report, and of its marked levels those ``right`` in the unchanged volume.

    ``silent``: levels right before whose place another level has now, with a confidence above 0.5.
    """

    kind: str
    report: LevelReport
    right: list[str]
    silent: list[str]


def stress_volume(
    marks: LevelMarks, path: Path, run: Run, kinds: Sequence[str], seed: int = 0, copies: int = 1
) -> Iterator[LevelReport | StressCopy]:
    """The report of the unchanged volume, then one copy after another; kinds that do not apply give none.

    Parameters
    ----------
    run
        Analyses a file or a volume; gives the volume and its result.
    kinds
        Names in ``stress_changes.CHANGES``.
    seed
        Same seed, same copies, whatever other files and kinds there are.
    copies
        Of each kind that is random, with this seed and the next ones.
    """
    volume, result = run(path)
    unchanged = compare(marks, result, volume)
    yield unchanged
    for kind in kinds:
        for copied, middles in _copies(kind, marks, volume, range(seed, seed + copies)):
            _, result = run(copied)
            yield compare_copy(kind, LevelMarks(marks.file, middles), result, copied, unchanged)


def _copies(kind: str, marks: LevelMarks, volume: CTVolume, seeds: Iterable[int]) -> Iterator[Changed]:
    """The copies that show a marked level, one per seed; a change that is not random gives the first alone."""
    for seed in seeds:
        rng = np.random.default_rng([seed, zlib.crc32(f"{kind} {marks.file}".encode())])
        before = rng.bit_generator.state
        changed = CHANGES[kind](volume, marks.middles, rng)
        if changed is not None and changed[1]:
            yield changed
        if rng.bit_generator.state == before:
            return


def compare_copy(
    kind: str, marks: LevelMarks, result: StudyResult, volume: CTVolume, unchanged: LevelReport
) -> StressCopy:
    """Score a copy by the marks that lie in it."""
    report = compare(marks, result, volume)
    right = [level for level in marks.middles if level in unchanged.hit]
    silent = [
        level
        for level in report.confused
        if level in right and any(v.confidence > SURE for v in others_at(result, level, marks.middles[level]))
    ]
    return StressCopy(kind, report, right, silent)


def stress_summary(unchanged: Sequence[LevelReport], copies: Iterable[StressCopy], seed: int = 0) -> dict:
    """Totals of the unchanged volumes, and per kind those of ``level_hits.summary`` and more.

    ``unchanged_hit_rate`` is that of the same levels in the unchanged volumes, ``change_points`` the difference in
    percentage points, ``silent_shifts`` the number of levels, ``silent`` (per volume) which ones.
    """
    by_kind: dict[str, list[StressCopy]] = {}
    for copy in copies:
        by_kind.setdefault(copy.kind, []).append(copy)
    return plain(
        {
            "seed": seed,
            "unchanged": _levels_only(summary(list(unchanged))),
            "kinds": {kind: _of_kind(by_kind[kind]) for kind in CHANGES if kind in by_kind},
        }
    )


def _of_kind(copies: list[StressCopy]) -> dict:
    total = summary([copy.report for copy in copies])
    before = sum(len(copy.right) for copy in copies) / max(total["marked"], 1)
    for row, copy in zip(total["per_volume"], copies, strict=True):
        row.update(right_unchanged=copy.right, silent=copy.silent)
    return {
        **_levels_only(total),
        "unchanged_hit_rate": before,
        "change_points": 100 * (total["hit_rate"] - before),
        "confused": sum(len(copy.report.confused) for copy in copies),
        "silent_shifts": sum(len(copy.silent) for copy in copies),
    }


def _levels_only(total: dict) -> dict:
    """A summary without what it says of fractures, which were not looked for."""
    for part in (total, *total["per_volume"]):
        for key in ("alarms", "assessable", "alarms_per_volume", "assessable_share"):
            part.pop(key, None)
    return total
